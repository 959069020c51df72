"""How a fitted forecaster becomes a stored MLflow model: from code, with its folders, without pickles or the network.

Kept apart from `tracking.py` because it knows MLflow's model format and nothing of runs or champions.
"""

import shutil
import tempfile
import warnings
from collections.abc import Mapping
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import pipeline
from pipeline.models.base import Fitted
from pipeline.models.panel import Panel
from pipeline.settings import QUANTILE_COLUMNS
from pipeline.tracking.serving import DEFAULT_HORIZON, PROMOTION, ServingContext

_PACKAGE = Path(pipeline.__file__).parent
_SHIPPED_ROOMS = ("models", "tracking")
_REQUIRED = (
    "duckdb", "lightgbm", "mlflow", "numpy", "pandas", "peft", "pyarrow", "pydantic", "PyYAML", "safetensors", "statsforecast",
    "torch", "transformers",
)  # fmt: skip
"""What any member may compute with, the extra for Chronos aside."""


def save_served_version(
    client: Any,
    experiment_id: str,
    run_id: str,
    name: str,
    *,
    fitted: Fitted,
    panel: Panel,
    tags: Mapping[str, str],
) -> str:
    """Save a fitted forecaster as a logged model of a run.

    Args:
        client: MLflow client of the store.
        experiment_id: experiment of the run.
        run_id: the run that made it.
        name: name of the logged model.
        fitted: the forecaster.
        panel: the panel it was trained on, for the serving context.
        tags: tags of the logged model.

    Returns:
        Id of the logged model; a model that could not be saved is marked FAILED.
    """
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    logged = client.create_logged_model(experiment_id, name=name, source_run_id=run_id, tags=dict(tags))
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            fitted.save(folder / "forecaster")
            ServingContext.of(panel).save(folder / "context")
            _save_model(
                path=folder / "model",
                mlflow_model=Model(
                    artifact_path=logged.artifact_location,
                    run_id=run_id,
                    model_uuid=logged.model_id,
                    model_id=logged.model_id,
                ),
                python_model=str(_PACKAGE / "tracking" / "served_model.py"),
                artifacts={part: str(folder / part) for part in ("forecaster", "context")},
                code_paths=[str(_shipped_code(folder / "code"))],
                signature=_signature(panel.promotion_kinds),
                # given in full: without them MLflow loads the model in a subprocess and asks pip
                pip_requirements=[f"{package}=={_release(package)}" for package in _REQUIRED],
            )
            client.log_model_artifacts(logged.model_id, str(folder / "model"))
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    return str(logged.model_id)


def _save_model(**what: Any) -> None:
    """MLflow's `save_model`, without its advice to give an example: the signature says all, and an example is run."""
    import mlflow.pyfunc

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*input example was not provided.*")
        mlflow.pyfunc.save_model(**what)


def _signature(promotion_kinds: tuple[str, ...]) -> Any:
    """Input, output and parameters of the served model; MLflow drops columns that are not named here."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    optional = [("price", DataType.double), *((PROMOTION + kind, DataType.double) for kind in promotion_kinds)]
    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(DataType.string, "item_id"),
                ColSpec(DataType.datetime, "day"),
                ColSpec(DataType.double, "units"),
                ColSpec(DataType.string, "location", required=False),
                *(ColSpec(kind, name, required=False) for name, kind in optional),
            ]
        ),
        outputs=Schema(
            [
                ColSpec(DataType.string, "item_id"),
                ColSpec(DataType.string, "location"),
                ColSpec(DataType.datetime, "target_date"),
                ColSpec(DataType.long, "horizon_days"),
                *(ColSpec(DataType.double, name) for name in ("mean", *QUANTILE_COLUMNS)),
            ]
        ),
        params=ParamSchema([ParamSpec("horizon", DataType.long, DEFAULT_HORIZON)]),
    )


def _shipped_code(folder: Path) -> Path:
    """The part of `pipeline` that a model needs to forecast, as a package of its own."""
    package = folder / "pipeline"
    package.mkdir(parents=True)
    for file in _PACKAGE.glob("*.py"):
        shutil.copy(file, package)
    for room in _SHIPPED_ROOMS:
        shutil.copytree(_PACKAGE / room, package / room, ignore=shutil.ignore_patterns("__pycache__"))
    return package


def _release(package: str) -> str:
    """Installed version without a local build tag (`2.13.0+cpu`), which no package index offers."""
    return installed_version(package).partition("+")[0]
