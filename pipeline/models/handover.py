"""Handing over: a new item is forecast as launches went, and day by day more from its own sales.

The two forecasts are averaged quantile by quantile, as the ensemble's members are; the share of the launches' one is
exp(−age ÷ days), so that no single day changes much. How many days is chosen on young items, on days that no forecaster has
seen.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import Array, Forecast, Stretches
from pipeline.models.panel import Panel
from pipeline.models.quantiles import pinball

USUAL_DAYS = 10.0
"""Days where a shop has too few young items to tell."""
DAYS = (2.0, 3.0, 5.0, 7.0, 10.0, 14.0, 20.0, 28.0, 40.0)
"""Days that are tried."""
YOUNG_DAYS = 91
"""Age from which an item is forecast from its own sales alone."""
_LEAST_SERIES = 30


@dataclass(frozen=True)
class Launched:
    """What the launches' forecaster says of the young series of a panel.

    Attributes:
        rows: their rows.
        share: (rows,) share that it has in the forecast of each.
        forecast: of those rows alone, with its grid.
    """

    rows: NDArray[np.int64]
    share: Array
    forecast: Forecast

    def into(self, values: Array, launched: Array) -> None:
        """Average the young rows of (S, …) values, in place, with those of the launches' forecaster."""
        share = self.share.reshape((-1,) + (1,) * (values.ndim - 1))
        values[self.rows] = (1 - share) * values[self.rows] + share * launched

    def spread(self, stretches: Stretches | None) -> Stretches | None:
        """How sums are spread, of young series too; where only one of the two says it, by the one that has the larger share."""
        mine = self.forecast.stretches
        if stretches is None or mine is None or mine.days != stretches.days or not len(self.rows):
            return stretches
        count = min(stretches.spread.shape[1], mine.spread.shape[1])
        spread = stretches.spread.copy()
        before, launched = spread[self.rows, :count], mine.spread[:, :count]
        share = self.share[:, None, None]
        averaged = (1 - share) * before + share * launched
        larger = np.where(share > 0.5, launched, before)
        spread[self.rows, :count] = np.where(np.isfinite(averaged), averaged, larger)
        return Stretches(stretches.days, spread)


def young(panel: Panel) -> NDArray[np.int64]:
    """Rows of a panel that were first sold lately, or not yet."""
    return np.flatnonzero(panel.history - panel.first_sold < YOUNG_DAYS)


def shares(panel: Panel, days: float) -> Array:
    """(S,) share that the launches' forecast has in that of each series of a panel of young ones."""
    return np.asarray(np.exp(-np.maximum(panel.history - panel.first_sold, 0) / days))


def fitted_days(panel: Panel, actual: Array, history: tuple[Array, Array], launched: tuple[Array, Array]) -> float:
    """The days of handing over that were best for young series, on days that neither forecast has seen.

    Best is what the pinball loss of days and the error of the sum of all days are least by, each beside its own least.

    Args:
        panel: young series, cut at the day before those days.
        actual: (S, D) units that came.
        history: (S, D) means and (S, D, Q) quantiles, at the contract's levels, of the forecast from own sales.
        launched: the same of the launches' forecast.
    """
    if panel.series < _LEAST_SERIES or not actual.sum():
        return USUAL_DAYS
    losses = np.empty((len(DAYS), 2))
    for number, days in enumerate(DAYS):
        share = shares(panel, days)[:, None]
        mean = (1 - share) * history[0] + share * launched[0]
        quantiles = (1 - share[..., None]) * history[1] + share[..., None] * launched[1]
        losses[number, 0] = pinball(actual.reshape(-1), quantiles.reshape(-1, quantiles.shape[-1])).mean()
        losses[number, 1] = np.abs(mean.sum(axis=1) - actual.sum(axis=1)).sum()
    return DAYS[int((losses / np.maximum(losses.min(axis=0), 1e-12)).sum(axis=1).argmin())]
