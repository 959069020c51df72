"""What forecasters have in common that have no weights: they read a panel, and all else happens per series when forecasting."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from pipeline.errors import HistoryError
from pipeline.models.base import Compute, Dependence, Fitted, Forecast, Progress, TrainingReport, silent
from pipeline.models.description import read_description, save_description
from pipeline.models.panel import Panel

SEASON = 7
"""The season that they all know: the week."""


@dataclass(frozen=True)
class FittedUntrained:
    """A forecaster without weights, ready for any panel.

    Attributes:
        fitted_on: night of the panel that it was fitted on.
        report: that there was nothing to do.
        dependence: how the days and items of its forecasts move together.
    """

    fitted_on: str
    report: TrainingReport = field(default_factory=TrainingReport)
    dependence: Dependence = field(default_factory=Dependence)

    name: ClassVar[str]
    lookback_days: ClassVar[int]
    details: ClassVar[Mapping[str, Any]]
    """What `describe` says of it."""

    @property
    def validated(self) -> None:
        """Nothing is held back."""

    @abstractmethod
    def forecast(self, panel: Panel, horizon: int, *, grid: bool = False, progress: Progress = silent) -> Forecast:
        """Forecast every series; see `pipeline.models.base.Fitted`."""

    def save(self, folder: Path) -> None:
        """Write what it is; there are no weights."""
        save_description(folder, {"kind": self.name, "fitted_on": self.fitted_on})

    def describe(self) -> dict[str, Any]:
        """What it is."""
        return {"kind": self.name, **self.details, "fitted_on": self.fitted_on}

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote."""
        return cls(read_description(folder, cls.name)["fitted_on"])


class Untrained:
    """A way to forecast that has nothing to set and nothing to train."""

    fitted: ClassVar[type[FittedUntrained]]

    @property
    def name(self) -> str:
        """Name of the forecaster, as in the registry."""
        return self.fitted.name

    def fit(
        self,
        panel: Panel,
        *,
        folder: Path,  # noqa: ARG002 - nothing to resume from
        compute: Compute,  # noqa: ARG002 - nothing to compute
        progress: Progress = silent,
        start: Fitted | None = None,  # noqa: ARG002 - fitted anew at once
    ) -> FittedUntrained:
        """Check that there is a history; all else happens per panel, in `forecast`.

        Raises:
            HistoryError: less than two weeks of history.
        """
        require_two_weeks(panel, self.name)
        progress(self.name, 1, 1)
        return self.fitted(panel.as_of.isoformat(), TrainingReport(stopped="nothing to train"))


def require_two_weeks(panel: Panel, name: str) -> None:
    """Refuse a panel that has no two seasons to look at.

    Raises:
        HistoryError: says how many days there are and how many are needed.
    """
    if panel.history < 2 * SEASON:
        raise HistoryError(
            f"{name}: {panel.history} days of orders up to {panel.as_of} do not make two weeks; "
            f"choose a night at least {2 * SEASON} days after the first order ({panel.first_day})"
        )
