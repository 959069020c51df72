"""From the few quantiles that a pretrained model states to all that the house asks for, and to a mean.

Between the model's levels the quantile function is straight; beyond them its tails are exponential, with the slope that
the last two levels have (as gluonts' incremental quantile functions do, doi.org/10.48550/arXiv.2111.06581). Below zero
it is cut off, since nobody sells less than nothing. Mean and quantiles speak of the same function.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.models.base import Array


@dataclass(frozen=True)
class QuantileFunction:
    """Quantile functions of units, from their values at K ≥ 2 levels.

    Attributes:
        levels: (K,) ascending, in (0, 1).
        values: (..., K) non-negative and non-decreasing along the last axis; see `of`.
    """

    levels: Array
    values: Array

    @classmethod
    def of(cls, levels: Sequence[float], values: Array) -> "QuantileFunction":
        """From a model's own quantiles, which may cross or fall below zero."""
        order = np.argsort(np.asarray(levels), kind="stable")
        ordered = np.sort(np.asarray(values, dtype=np.float64)[..., order], axis=-1)
        return cls(np.asarray(levels, dtype=np.float64)[order], np.maximum(ordered, 0.0))

    def at(self, levels: Sequence[float]) -> Array:
        """Quantiles at Q levels, (..., Q): non-negative, non-decreasing, not rounded."""
        wanted = np.asarray(levels, dtype=np.float64)
        upper = np.clip(np.searchsorted(self.levels, wanted), 1, len(self.levels) - 1)
        share = (wanted - self.levels[upper - 1]) / (self.levels[upper] - self.levels[upper - 1])
        share = np.clip(share, 0.0, 1.0)
        below, above = self.values[..., upper - 1], self.values[..., upper]
        found = below + share * (above - below)
        low, high = wanted < self.levels[0], wanted > self.levels[-1]
        found[..., low] += self._low_slope[..., None] * np.log(wanted[low] / self.levels[0])
        found[..., high] += self._high_slope[..., None] * np.log((1 - self.levels[-1]) / (1 - wanted[high]))
        return np.maximum(found, 0.0)

    def mean(self) -> Array:
        """Expected units (...,): the integral of the quantile function, tails included."""
        middle = (np.diff(self.levels) * (self.values[..., 1:] + self.values[..., :-1]) / 2).sum(axis=-1)
        first, last, tail = self.levels[0], self.values[..., -1], 1 - self.levels[-1]
        slope = self._low_slope
        # the lower tail crosses zero at the level first · exp(−value / slope)
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = np.where(slope > 0, first * np.exp(-self.values[..., 0] / slope), 0.0)
        lower = first * self.values[..., 0] - slope * (first - crossing)
        mean: Array = np.maximum(lower, 0.0) + middle + tail * (last + self._high_slope)
        return mean

    @property
    def _low_slope(self) -> Array:
        slope: Array = (self.values[..., 1] - self.values[..., 0]) / np.log(self.levels[1] / self.levels[0])
        return slope

    @property
    def _high_slope(self) -> Array:
        rise = self.values[..., -1] - self.values[..., -2]
        slope: Array = rise / np.log((1 - self.levels[-2]) / (1 - self.levels[-1]))
        return slope
