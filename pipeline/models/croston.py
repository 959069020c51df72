"""Croston's method with the Syntetos-Boylan correction (statsforecast's CrostonSBA), for items that sell now and then.

The library gives the mean of a day and nothing else. Around it stands the distribution that the method itself assumes:
a day sells with some chance, and then as many units as one of the last orders. Sizes weigh by age as the method's own
smoothing weighs them, and the chance is what makes the distribution's mean the library's. A day is the same whatever
its weekday; only days on which the shop is closed are left out, behind and ahead.

Method: Croston 1972, doi.org/10.1057/jors.1972.50; correction: Syntetos and Boylan 2005,
doi.org/10.1016/j.ijforecast.2004.10.001.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from pipeline.models.base import Array, Forecast, Progress, levels_of, silent
from pipeline.models.panel import Panel
from pipeline.models.seasonal_naive import repeat_last_week
from pipeline.models.untrained import FittedUntrained, Untrained

MAX_DAYS = 730
"""Days of history that are read."""
SMOOTHING = 0.1
"""The rate at which statsforecast smooths sizes and intervals; it has no setting."""
MAX_SIZES = 60
"""Last sales that stand for the size of the next one: older ones weigh less than .2 % in all."""
_TOLD_EVERY = 256


class FittedCroston(FittedUntrained):
    """Croston's method, ready for any panel."""

    name = "croston"
    lookback_days = MAX_DAYS
    details: ClassVar[Mapping[str, Any]] = {"method": "SBA", "max_days": MAX_DAYS}

    def forecast(self, panel: Panel, horizon: int, *, grid: bool = False, progress: Progress = silent) -> Forecast:
        """Forecast every series; see `pipeline.models.base.Fitted`.

        Seasonal naive answers for a series that did not sell within `MAX_DAYS` open days.
        """
        levels = levels_of(grid)
        first_day = max(0, panel.history - MAX_DAYS)
        mean = np.zeros((panel.series, horizon))
        quantiles = np.zeros((panel.series, horizon, len(levels)))
        opened = ~panel.closed[: panel.history]
        failed = np.zeros(panel.series, dtype=bool)
        for row, (units, first_sold) in enumerate(zip(panel.units_winsorised, panel.first_sold, strict=True)):
            begins = max(int(first_sold), first_day)
            answer = day_of(units[begins:][opened[begins:]].astype(np.float64), levels)
            if answer is None:
                failed[row] = True
            else:
                mean[row], quantiles[row] = answer
            if (row + 1) % _TOLD_EVERY == 0 or row + 1 == panel.series:
                progress(self.name, row + 1, panel.series)
        ahead = panel.closed[panel.history : panel.history + horizon]
        mean[:, : len(ahead)][:, ahead] = 0.0
        quantiles[:, : len(ahead)][:, ahead] = 0.0
        if failed.any():
            mean[failed], quantiles[failed] = repeat_last_week(
                panel.units_winsorised[failed], panel.first_sold[failed], horizon, levels
            )
        return Forecast.of_levels(mean, quantiles, levels, grid=grid, fallbacks=int(failed.sum()))


class Croston(Untrained):
    """The forecaster."""

    fitted = FittedCroston


def day_of(units: Array, levels: Sequence[float]) -> tuple[float, Array] | None:
    """Mean and quantiles (Q,) of any day to come.

    With m the method's mean and z the sizes of the last sales, a day sells with p = m / E[z] and then draws from z: the
    quantile at a level q is 0 where q ≤ 1 − p, else the least size with P(size ≤ z) ≥ (q − 1 + p) / p.

    Args:
        units: (T,) units of the open days since the first sale.
        levels: Q levels, ascending.

    Returns:
        Mean and whole, non-decreasing quantiles; None where nothing was sold.
    """
    from statsforecast.models import CrostonSBA

    sold = units[units > 0]
    if not len(sold):
        return None
    mean = float(CrostonSBA().forecast(y=units, h=1)["mean"][0])
    last = np.maximum(np.floor(sold[-MAX_SIZES:] + 0.5), 1.0)
    weights = (1 - SMOOTHING) ** np.arange(len(last) - 1, -1, -1)
    weights /= weights.sum()
    chance = min(1.0, mean / float(weights @ last))
    order = np.argsort(last, kind="stable")
    reached = np.cumsum(weights[order])
    reached[-1] = 1.0  # the sum of the weights is 1 but for its last digit
    given_sale = (np.asarray(levels) - (1.0 - chance)) / chance
    quantiles = np.where(given_sale > 0, last[order][np.searchsorted(reached, given_sale)], 0.0)
    return mean, quantiles
