"""Seasonal naive: next week is this week, with the spread that "same weekday, k weeks later" has had so far.

The floor under every other forecaster, and the one that answers where a statistical model cannot be fitted.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import Array, Forecast, Progress, levels_of, silent
from pipeline.models.panel import Panel
from pipeline.models.untrained import SEASON, FittedUntrained, Untrained

RESIDUAL_WEEKS = 52
"""Weeks of residuals behind the quantiles: a year, so that one season does not speak for all."""
LOOKBACK_DAYS = SEASON * RESIDUAL_WEEKS + 366
"""Days of history that a forecast reads: those of the residuals, and the longest horizon before them."""
MIN_RESIDUALS = 8
"""Below this many residuals of the weekday itself, those of all weekdays are used."""


class FittedSeasonalNaive(FittedUntrained):
    """Seasonal naive, ready for any panel."""

    name = "seasonal_naive"
    lookback_days = LOOKBACK_DAYS
    details: ClassVar[Mapping[str, Any]] = {"season": SEASON, "residual_weeks": RESIDUAL_WEEKS}

    def forecast(self, panel: Panel, horizon: int, *, grid: bool = False, progress: Progress = silent) -> Forecast:
        """Repeat the last week of each series; see `pipeline.models.base.Fitted`."""
        levels = levels_of(grid)
        mean, quantiles = repeat_last_week(panel.units_winsorised, panel.first_sold, horizon, levels)
        progress(self.name, panel.series, panel.series)
        return Forecast.of_levels(mean, quantiles, levels, grid=grid)


class SeasonalNaive(Untrained):
    """The forecaster."""

    fitted = FittedSeasonalNaive


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
