"""Seasonal naive over a year: a day is what the same weekday was 52 weeks before, with the spread that this had so far.

No level is carried over: it is the naive forecast of the season, which a shop that grows outgrows. A series younger
than a year has nothing to repeat, and the weekly seasonal naive answers for it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import Array, Forecast, Progress, levels_of, silent
from pipeline.models.panel import Panel
from pipeline.models.seasonal_naive import LOOKBACK_DAYS as WEEKLY_LOOKBACK_DAYS
from pipeline.models.seasonal_naive import MIN_RESIDUALS, repeat_last_week, sorted_quantiles
from pipeline.models.untrained import SEASON, FittedUntrained, Untrained

LAG = 52 * SEASON
"""A year that keeps the weekday."""
LOOKBACK_DAYS = max(2 * LAG, WEEKLY_LOOKBACK_DAYS)
"""Days of history that a forecast reads: a year of differences and the year before them."""


class FittedSeasonalNaiveYear(FittedUntrained):
    """Seasonal naive over a year, ready for any panel."""

    name = "seasonal_naive_year"
    lookback_days = LOOKBACK_DAYS
    details: ClassVar[Mapping[str, Any]] = {"lag_days": LAG, "lookback_days": LOOKBACK_DAYS}

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


class SeasonalNaiveYear(Untrained):
    """The forecaster."""

    fitted = FittedSeasonalNaiveYear


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
