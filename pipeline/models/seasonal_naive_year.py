"""Seasonal naive over a year: a day is what the same weekday was 52 weeks before, with the spread that this had so far.

No level is carried over: it is the naive forecast of the season, which a shop that grows outgrows. A series younger
than a year has nothing to repeat, and the weekly seasonal naive answers for it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from pipeline.models.seasonal_naive import LOOKBACK_DAYS as WEEKLY_LOOKBACK_DAYS
from pipeline.models.seasonal_naive import (
    MIN_RESIDUALS,
    SEASON,
    read_description,
    repeat_last_week,
    require_history,
    save_description,
    sorted_quantiles,
)

NAME = "seasonal_naive_year"
LAG = 52 * SEASON
"""A year that keeps the weekday."""
LOOKBACK_DAYS = max(2 * LAG, WEEKLY_LOOKBACK_DAYS)
"""Days of history that a forecast reads: a year of differences and the year before them."""


@dataclass(frozen=True)
class SeasonalNaiveYear:
    """The forecaster; it has nothing to set."""

    name: str = NAME

    def fit(
        self,
        panel: Panel,
        *,
        folder: Path,  # noqa: ARG002 - nothing to resume from
        compute: Compute,  # noqa: ARG002 - one pass over an array
        progress: Progress = silent,
        start: Fitted | None = None,  # noqa: ARG002 - fitted anew in a moment
    ) -> "FittedSeasonalNaiveYear":
        """Check that there is at least a week to repeat; all else happens per panel, in `forecast`.

        Raises:
            HistoryError: less than two weeks of history.
        """
        started = time.perf_counter()
        require_history(panel, self.name)
        progress(self.name, 1, 1)
        report = TrainingReport(seconds=time.perf_counter() - started, stopped="nothing to train")
        return FittedSeasonalNaiveYear(fitted_on=panel.as_of.isoformat(), report=report)


@dataclass(frozen=True)
class FittedSeasonalNaiveYear:
    """Seasonal naive over a year, ready for any panel."""

    fitted_on: str
    name: str = NAME
    lookback_days: int = LOOKBACK_DAYS
    dependence: Dependence = field(default_factory=Dependence)
    report: TrainingReport = field(default_factory=TrainingReport)

    @property
    def validated(self) -> None:
        """Nothing is held back."""

    def forecast(self, panel: Panel, horizon: int, *, grid: bool = False, progress: Progress = silent) -> Forecast:
        """Repeat the year before of each series; see `pipeline.models.base.Fitted`."""
        levels = levels_of(grid)
        young = panel.first_sold > panel.history - LAG
        mean, quantiles = repeat_last_week(panel.units_winsorised, panel.first_sold, horizon, levels)
        if not young.all():
            weekly = quantiles[~young] - mean[~young, :, None]
            mean[~young], quantiles[~young] = repeat_last_year(
                panel.units_winsorised[~young], panel.first_sold[~young], levels, weekly
            )
        progress(self.name, panel.series, panel.series)
        return Forecast.of_levels(mean, quantiles, levels, grid=grid, fallbacks=int(young.sum()))

    def save(self, folder: Path) -> None:
        """Write what it is; there are no weights."""
        save_description(folder, {"kind": self.name, "fitted_on": self.fitted_on})

    def describe(self) -> dict[str, Any]:
        """What it is."""
        return {"kind": self.name, "lag_days": LAG, "lookback_days": LOOKBACK_DAYS, "fitted_on": self.fitted_on}


def load_seasonal_naive_year(folder: Path) -> FittedSeasonalNaiveYear:
    """Read back what `save` wrote."""
    return FittedSeasonalNaiveYear(fitted_on=read_description(folder, NAME)["fitted_on"])


def repeat_last_year(
    units: NDArray[np.floating[Any]], first_sold: NDArray[np.int64], levels: Sequence[float], weekly: Array
) -> tuple[Array, Array]:
    """Mean and quantiles of series that have sold for a year.

    Day h repeats the same weekday 364 days before it (728 where that lies beyond the night). Its spread is that of
    y_t − y_{t − 364} over the weekday's last year, from a year after the first sale on: of the weekday itself where it
    has `MIN_RESIDUALS` of them, else of all weekdays where these have, else that of the weekly seasonal naive.

    Args:
        units: (S, T) history, T ≥ 364.
        first_sold: (S,) column of the first sale.
        levels: Q levels, ascending.
        weekly: (S, H, Q) spread of the weekly seasonal naive around its mean.

    Returns:
        (S, H) mean and (S, H, Q) quantiles, the latter neither rounded nor clipped.
    """
    history = np.asarray(units, dtype=np.float64)
    days, horizon = history.shape[1], weekly.shape[1]
    steps = np.arange(horizon)
    mean = history[:, days - LAG + steps % LAG]
    window = np.arange(max(LAG, days - LAG), days)
    known = (window - LAG)[None, :] >= np.asarray(first_sold)[:, None]
    residuals = np.where(known, history[:, window] - history[:, window - LAG], np.nan)
    pooled, enough = sorted_quantiles(residuals, levels)
    spread = np.where((enough >= MIN_RESIDUALS)[:, None, None], pooled[:, None, :], weekly)
    for weekday in range(min(SEASON, horizon)):
        same = (window - (days + weekday)) % SEASON == 0
        own, count = sorted_quantiles(residuals[:, same], levels)
        spread[:, weekday::SEASON] = np.where(
            (count >= MIN_RESIDUALS)[:, None, None], own[:, None, :], spread[:, weekday::SEASON]
        )
    return mean, mean[:, :, None] + spread
