"""Totals of windows, learned straight: quantiles and mean of what a series sells from one day to another.

The sum of daily quantiles is no quantile of the sum; these boosters learn from sums themselves. They read the same features
as those of days, and are no forecaster of the registry: an ensemble or a benchmark asks them for the totals it scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import HistoryError, ModelError
from pipeline.model_settings import TrainingSettings
from pipeline.models.base import Array, Compute, Progress, TrainingReport, silent
from pipeline.models.gradient_boosting.boosters import Boosters
from pipeline.models.gradient_boosting.features import Features
from pipeline.models.gradient_boosting.forecaster import FORMAT, LOOKBACK_DAYS, require_history
from pipeline.models.gradient_boosting.windows import Windows
from pipeline.models.panel import Panel
from pipeline.models.quantiles import whole_units
from pipeline.models.seasonal_naive import read_description, save_description
from pipeline.settings import QUANTILES

KIND = "lightgbm_totals"
LENGTHS = (7, 28, 91)
_SERIES_AT_ONCE = 1024


@dataclass(frozen=True)
class WindowTotals:
    """What to learn of totals.

    Attributes:
        settings: seed, validation days, patience, shortest history.
        max_seconds: most seconds of a training.
        lengths: lengths of windows in days that totals will be asked for.
    """

    settings: TrainingSettings
    max_seconds: float
    lengths: tuple[int, ...] = LENGTHS

    def fit(self, panel: Panel, *, compute: Compute, progress: Progress = silent) -> "FittedTotals":
        """Train on all windows of these lengths in the history of a panel; lengths beyond a third of it are left out.

        Raises:
            HistoryError: less history than `training.min_history_days` or three times the shortest length, or nothing sold.
        """
        from pipeline.models.gradient_boosting.training import Task, train

        require_history(panel, self.settings)
        lengths = tuple(sorted(length for length in set(self.lengths) if 3 * length <= panel.history))
        if not lengths:
            raise HistoryError(
                f"too little history to learn totals of {min(self.lengths)} days: {panel.history} days of orders were known "
                f"on the night of {panel.as_of}, {3 * min(self.lengths)} are needed; choose a later --as-of"
            )
        # a window must fit into the days that validate it, and as many again must be left to learn from
        held = max(self.settings.validation_days, *(length for length in lengths if 4 * length <= panel.history), 1)
        held = max(1, min(held, panel.history // 4))
        features = Features.learn(panel, panel.history - held)
        task = Task(panel, features, lengths, held, max_seconds=self.max_seconds, settings=self.settings)
        outcome = train(task, compute, progress)
        trained_on = {"first_day": panel.first_day.isoformat(), "as_of": panel.as_of.isoformat()}
        held_back = FittedTotals(outcome.held_back, features, lengths, held, outcome.report, trained_on, compute)
        return replace(held_back, boosters=outcome.boosters, validated=held_back)


@dataclass(frozen=True)
class FittedTotals:
    """Trained boosters of totals, ready for any panel of the shop."""

    boosters: Boosters
    features: Features
    lengths: tuple[int, ...]
    validation_days: int
    report: TrainingReport
    trained_on: Mapping[str, str]
    compute: Compute = field(default_factory=Compute)
    lookback_days: int = LOOKBACK_DAYS
    validated: "FittedTotals | None" = None
    """The same before it learned the last `validation_days`."""

    def totals(
        self, panel: Panel, windows: Sequence[tuple[int, int]], *, progress: Progress = silent
    ) -> tuple[Array, Array]:
        """Totals of windows after the panel's night, for all its series.

        Args:
            panel: what was known on the night.
            windows: (first_lead, last_lead) of W windows, both included, from 1.
            progress: told how far it is.

        Returns:
            (S, W) expected units and (S, W, Q) quantiles at the contract's levels: whole units, non-crossing.

        Raises:
            ModelError: a window reaches beyond the panel's days ahead, or is of a length that was not learned.
        """
        for first, last in windows:
            if not 1 <= first <= last <= panel.horizon:
                raise ModelError(f"no window from day {first} to {last}: the panel knows {panel.horizon} days ahead")
            if last - first + 1 not in self.lengths:
                learned = ", ".join(str(length) for length in self.lengths)
                raise ModelError(
                    f"a window of {last - first + 1} days was not learned, only of {learned}; train totals of that length"
                )
        mean = np.zeros((panel.series, len(windows)))
        quantiles = np.zeros((panel.series, len(windows), len(QUANTILES)))
        asked = Windows.ahead(panel, np.arange(panel.series), list(windows))
        tables = self.features.tables(panel, asked, self.compute, series_at_once=_SERIES_AT_ONCE)
        for number, table in enumerate(tables):
            rows = slice(number * _SERIES_AT_ONCE, min((number + 1) * _SERIES_AT_ONCE, panel.series))
            some_mean, some = self.boosters.predict(table, self.compute)
            mean[rows] = some_mean.reshape(-1, len(windows))
            quantiles[rows] = some.reshape(-1, len(windows), len(QUANTILES))
            progress("totals", rows.stop, panel.series)
        return mean, whole_units(quantiles)

    def save(self, folder: Path) -> None:
        """Write the boosters (LightGBM's text) and everything else (JSON)."""
        self.boosters.save(folder)
        content = {
            "kind": KIND,
            "format": FORMAT,
            "features": self.features.to_json(),
            "lengths": list(self.lengths),
            "validation_days": self.validation_days,
            "report": asdict(self.report),
            "trained_on": dict(self.trained_on),
        }
        save_description(folder, content)

    def describe(self) -> dict[str, Any]:
        """What it is: kind, lengths, rounds, features, training window."""
        return {
            "kind": KIND,
            "lengths": list(self.lengths),
            "rounds": self.boosters.rounds,
            "features": self.features.to_json(),
            "trained_on": dict(self.trained_on),
            "stopped": self.report.stopped,
        }


def load_totals(folder: Path, compute: Compute | None = None) -> FittedTotals:
    """Read back what `FittedTotals.save` wrote.

    Raises:
        ModelError: a file is missing, damaged, or of another format.
    """
    content = read_description(folder, KIND)
    try:
        if content["format"] != FORMAT:
            raise ModelError(f"{folder}: no totals of format {FORMAT}; train again with this version")
        return FittedTotals(
            Boosters.load(folder),
            Features.from_json(content["features"]),
            tuple(content["lengths"]),
            int(content["validation_days"]),
            TrainingReport(**content["report"]),
            content["trained_on"],
            compute or Compute(),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder}: the stored totals cannot be read ({error!r}); train again") from error
