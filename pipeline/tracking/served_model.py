"""The model as a standard MLflow model, logged *from code*: MLflow stores this file, not a pickle of an object.

Run by MLflow only, when a version is saved and when it is loaded (`mlflow.pyfunc.load_model("models:/NAME@champion")`
or `mlflow models serve`). The contract of its input and output is in `serving.py`; `pipeline` travels with the
version (`code_paths`), so that a version keeps forecasting as it did when the checkout has moved on.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class AlmanacModel(PythonModel):  # type: ignore[misc]  # MLflow is read without its types
    """History in, forecast quantiles out."""

    def load_context(self, context: Any) -> None:
        """Load weights and serving context from the version's folders."""
        from pipeline.models import registry
        from pipeline.tracking.serving import ServingContext

        folder = Path(context.artifacts["forecaster"])
        self._fitted = registry.load(folder)
        self._trained = registry.members_in(folder)
        self._context = ServingContext.load(Path(context.artifacts["context"]))

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Forecast the days after the night that the frame ends on.

        Args:
            model_input: long frame of history.
            params: `horizon`: days ahead.

        Raises:
            ModelError: a member of the model cannot answer here: without it this would not be the version's forecast.
        """
        from pipeline.errors import ModelError
        from pipeline.tracking.serving import DEFAULT_HORIZON, forecast_frame

        horizon = int((params or {}).get("horizon", DEFAULT_HORIZON))
        panel = self._context.panel(model_input, horizon)
        forecast = self._fitted.forecast(panel, horizon)
        if missing := {name: why for name, why in forecast.failed.items() if name in self._trained}:
            raise ModelError(f"served model: members that cannot answer here: {missing}")
        return forecast_frame(panel, forecast)


set_model(AlmanacModel())
