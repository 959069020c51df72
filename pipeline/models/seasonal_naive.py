"""Seasonal naive: next week is this week, with the spread that "same weekday, k weeks later" has had so far.

The floor under every other forecaster, and the one that answers where a statistical model cannot be fitted.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import HistoryError, ModelError
from pipeline.models.base import (
    Array,
    Compute,
    Dependence,
    Fitted,
    Forecast,
    Progress,
    TrainingReport,
    levels_of,
    silent,
)
from pipeline.models.panel import Panel

SEASON = 7
RESIDUAL_WEEKS = 52
"""Weeks of residuals behind the quantiles: a year, so that one season does not speak for all."""
LOOKBACK_DAYS = SEASON * RESIDUAL_WEEKS + 366
"""Days of history that a forecast reads: those of the residuals, and the longest horizon before them."""
MIN_RESIDUALS = 8
"""Below this many residuals of the weekday itself, those of all weekdays are used."""
DESCRIPTION_FILE = "forecaster.json"


@dataclass(frozen=True)
class SeasonalNaive:
    """The forecaster; it has nothing to set."""

    name: str = "seasonal_naive"

    def fit(
        self,
        panel: Panel,
        *,
        folder: Path,  # noqa: ARG002 - nothing to resume from
        compute: Compute,  # noqa: ARG002 - one pass over an array
        progress: Progress = silent,
        start: Fitted | None = None,  # noqa: ARG002 - fitted anew in a moment
    ) -> "FittedSeasonalNaive":
        """Check that there is a week to repeat; all else happens per panel, in `forecast`.

        Raises:
            HistoryError: less than two weeks of history.
        """
        started = time.perf_counter()
        require_history(panel, self.name)
        progress(self.name, 1, 1)
        report = TrainingReport(seconds=time.perf_counter() - started, stopped="nothing to train")
        return FittedSeasonalNaive(fitted_on=panel.as_of.isoformat(), report=report)


@dataclass(frozen=True)
class FittedSeasonalNaive:
    """Seasonal naive, ready for any panel."""

    fitted_on: str
    name: str = "seasonal_naive"
    lookback_days: int = LOOKBACK_DAYS
    dependence: Dependence = field(default_factory=Dependence)
    report: TrainingReport = field(default_factory=TrainingReport)

    @property
    def validated(self) -> None:
        """Nothing is held back."""

    def forecast(self, panel: Panel, horizon: int, *, grid: bool = False, progress: Progress = silent) -> Forecast:
        """Repeat the last week of each series; see `pipeline.models.base.Fitted`."""
        levels = levels_of(grid)
        mean, quantiles = repeat_last_week(panel.units_winsorised, panel.first_sold, horizon, levels)
        progress(self.name, panel.series, panel.series)
        return Forecast.of_levels(mean, quantiles, levels, grid=grid)

    def save(self, folder: Path) -> None:
        """Write what it is; there are no weights."""
        save_description(folder, {"kind": self.name, "fitted_on": self.fitted_on})

    def describe(self) -> dict[str, Any]:
        """What it is."""
        return {"kind": self.name, "season": SEASON, "residual_weeks": RESIDUAL_WEEKS, "fitted_on": self.fitted_on}


def load_seasonal_naive(folder: Path) -> FittedSeasonalNaive:
    """Read back what `save` wrote."""
    return FittedSeasonalNaive(fitted_on=read_description(folder, "seasonal_naive")["fitted_on"])


def repeat_last_week(
    units: NDArray[np.floating[Any]], first_sold: NDArray[np.int64], horizon: int, levels: Sequence[float]
) -> tuple[Array, Array]:
    """Seasonal-naive mean and quantiles of many series at once.

    Day h repeats the same weekday of the last week, k = ⌈h / 7⌉ weeks back. Its spread is that of y_t − y_{t − 7k} over
    that weekday's last year, from the first sale on: longer leads spread more because they did so before. The mean is
    the repeated value itself, because those differences average to nothing.

    Args:
        units: (S, T) history; missing days before a short history count as zero.
        first_sold: (S,) column of the first sale; differences reaching before it say nothing about demand.
        horizon: days ahead H.
        levels: Q levels, ascending.

    Returns:
        (S, H) mean and (S, H, Q) quantiles, the latter neither rounded nor clipped.
    """
    history = np.asarray(units, dtype=np.float64)
    lacking = max(0, SEASON - history.shape[1])
    history = np.pad(history, ((0, 0), (lacking, 0)))
    first = np.asarray(first_sold) + lacking
    days = history.shape[1]
    steps = np.arange(horizon)
    last_week = history[:, days - SEASON :]
    mean = last_week[:, steps % SEASON]
    quantiles = np.repeat(mean[:, :, None], len(levels), axis=2)
    for weeks in range(1, -(-horizon // SEASON) + 1):
        window = np.arange(max(SEASON * weeks, days - SEASON * RESIDUAL_WEEKS), days)
        if not len(window):
            continue
        known = (window - SEASON * weeks)[None, :] >= first[:, None]
        residuals = np.where(known, history[:, window] - history[:, window - SEASON * weeks], np.nan)
        pooled, enough = sorted_quantiles(residuals, levels)
        for weekday in range(SEASON):
            step = SEASON * (weeks - 1) + weekday
            if step >= horizon:
                break
            same = (window - (days - SEASON + weekday)) % SEASON == 0
            own, count = sorted_quantiles(residuals[:, same], levels)
            spread = np.where((count >= MIN_RESIDUALS)[:, None], own, pooled)
            quantiles[:, step] += np.where((enough > 0)[:, None], spread, 0.0)
    return mean, quantiles


def sorted_quantiles(values: Array, levels: Sequence[float]) -> tuple[Array, NDArray[np.int64]]:
    """Quantiles along the rows, NaN left out, and how many values each row has (`nanquantile` loops in Python)."""
    ordered = np.sort(values, axis=1)  # NaN last
    count = (~np.isnan(ordered)).sum(axis=1)
    if not ordered.shape[1]:
        return np.zeros((len(values), len(levels))), count
    place = np.maximum(count - 1, 0)[:, None] * np.asarray(levels)[None, :]
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(count - 1, 0)[:, None])
    below = np.take_along_axis(ordered, low, axis=1)
    above = np.take_along_axis(ordered, high, axis=1)
    return np.nan_to_num(below + (place - low) * (above - below)), count


def require_history(panel: Panel, name: str) -> None:
    """Refuse a panel that has no two seasons to look at.

    Raises:
        HistoryError: says how many days there are and how many are needed.
    """
    if panel.history < 2 * SEASON:
        raise HistoryError(
            f"{name}: {panel.history} days of orders up to {panel.as_of} do not make two weeks; "
            f"choose a night at least {2 * SEASON} days after the first order ({panel.first_day})"
        )


def save_description(folder: Path, content: dict[str, Any]) -> None:
    """Write the one file of a forecaster without weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION_FILE).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_description(folder: Path, *kinds: str) -> dict[str, Any]:
    """Read the file of `save_description`.

    Raises:
        ModelError: it is missing, unreadable or describes another kind of forecaster.
    """
    path = folder / DESCRIPTION_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); train the forecaster again") from error
    if not isinstance(content, dict) or content.get("kind") not in kinds:
        raise ModelError(f"{path}: describes no {' or '.join(kinds)}; train the forecaster again")
    return content
