"""Joint sample paths from marginal forecasts: what the quantiles of sums are made of.

The sum of quantiles is not the quantile of the sum, and neither is the sum of independent days: on Online Retail II
the first covered .68–.70 of what an 80 % interval should, the second .64–.68, a Gaussian copula with one factor per
item .76–.80 (EVIDENCE.md). Days and items are tied by `models.base.Dependence`: each day of each series has a normal
score √item·a + √market·b + √rest·e, and the series' own distribution turns the score into whole units.

Each series draws from a generator of its own, seeded by night, model version and series; the day's market factor is
seeded by night and version. So slices, threads and the order of series do not change a draw, and a replay repeats it.

The scores of one factor over the paths are a permutation of the normal quantiles at (i + ½) / P (stratified): a
hundred paths then carry no sampling error in the factors, the only ones that do not average out in large sums.
"""

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from hashlib import blake2b
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import Dependence
from pipeline.settings import QUANTILES

Floats = NDArray[np.float32]
Units = NDArray[np.int32]

_CELLS = 2048
_REACH = 4.0
"""Scores are read from a table of 2,048 cells over ±4: a search per draw would cost five times as much."""

_LARGEST = float(2**30)
_RECENTRE = (0.5, 2.0)
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Paths:
    """Draws the joint sample paths of one night.

    Attributes:
        as_of: the night.
        model_version: version that made the marginals.
        dependence: how days and items move together.
        levels: (G,) ascending levels of the grids, inside (0, 1).
        horizon: days ahead H.
        count: number of paths P.
    """

    as_of: date
    model_version: str
    dependence: Dependence
    levels: NDArray[np.float64]
    horizon: int
    count: int

    def draw(
        self, item_id: str, location: str, grid: Floats, excess: Floats, *, item_share: float | None = None
    ) -> Units:
        """Sample paths of one series.

        Args:
            item_id: item.
            location: location.
            grid: (H, G) quantiles of units at `levels`, non-decreasing along levels; not rounded.
            excess: (H,) mean excess beyond the last level (see `tail`).
            item_share: share of variance common to all days of this series; default: that of the dependence.

        Returns:
            (H, P) whole units.
        """
        item = self.dependence.item if item_share is None else item_share
        generator = self._generator("series", item_id, location)
        score = generator.standard_normal((self.horizon, self.count), dtype=np.float32)
        score *= _in_cells(max(1.0 - item - self.dependence.market, 0.0))
        score += self._market
        score += self._strata[generator.permutation(self.count)] * _in_cells(item)
        # from here on the score is a place in the table of cells
        np.clip(score, 0, _CELLS - 1, out=score)
        cell = score.astype(np.int32)
        below, weight = self._cells
        place = below.take(cell)
        place += self._row_starts
        slope = np.empty_like(grid)
        np.subtract(grid[:, 1:], grid[:, :-1], out=slope[:, :-1])
        slope[:, -1] = excess
        units = slope.ravel().take(place)
        units *= weight.take(cell)
        units += grid.ravel().take(place)
        units += np.float32(0.5)
        np.clip(units, 0, _LARGEST, out=units)
        return units.astype(np.int32)

    def tail(self, grid: Floats, mean: NDArray[np.float64]) -> tuple[Floats, NDArray[np.float64]]:
        """What lies beyond the grid's last level, and the draws' own mean with it.

        A slow item may sell nothing at every level of the grid and still have a mean; its rare sales stand in the tail.
        The tail is exponential, with the excess that gives the draws the stated mean; bounded, because a mean that
        disagrees with its quantiles must not turn into one absurd day.

        Args:
            grid: (…, G) quantiles of units, non-decreasing along levels.
            mean: (…,) expected units.

        Returns:
            (…,) mean excess beyond the last level, and (…,) exact expectation of a draw in whole units.
        """
        mass = 1.0 - float(self.levels[-1])
        body = self._body(grid)
        top = grid[..., -1].astype(np.float64)
        excess: Floats = np.clip((mean - body) / mass - top, 0.0, 2.0 * np.maximum(top, 1.0)).astype(np.float32)
        # E floor(top + ½ + X), X exponential, is a geometric series over the whole units beyond
        place = top + 0.5
        whole = np.floor(place)
        scale = np.maximum(excess.astype(np.float64), 1e-9)
        beyond = np.exp((place - whole - 1.0) / scale) / -np.expm1(-1.0 / scale)
        return excess, body + mass * (whole + beyond)

    def _body(self, grid: Floats) -> NDArray[np.float64]:
        """(…,) part of the expected whole units that lies below the last level."""
        real = grid.astype(np.float64)
        whole = np.floor(real + 0.5)
        width = np.diff(real, axis=-1)
        # integral of the rounded number from 0 to each quantile, exact for a straight line between two quantiles
        area = np.diff(whole * (real - whole / 2), axis=-1)
        segment = np.where(width < 1e-9, whole[..., :-1], area / np.maximum(width, 1e-9))
        # no matrix product: BLAS would round by the number of rows, and a slice could change a draw
        segment *= np.diff(self.levels)
        body: NDArray[np.float64] = self.levels[0] * whole[..., 0] + segment.sum(axis=-1)
        return body

    def _generator(self, *key: str) -> np.random.Generator:
        text = "\x1f".join((self.as_of.isoformat(), self.model_version, *key))
        seed = int.from_bytes(blake2b(text.encode(), digest_size=16).digest(), "big")
        return np.random.Generator(np.random.SFC64(seed))

    @cached_property
    def _strata(self) -> Floats:
        """(P,) scores of one factor over the paths, with mean 0 and variance 1."""
        scores = np.array([_NORMAL.inv_cdf((i + 0.5) / self.count) for i in range(self.count)])
        strata: Floats = (scores / scores.std()).astype(np.float32)
        return strata

    @cached_property
    def _market(self) -> Floats:
        """(H, P) the market's share of each day's score, in cells, and the place of score 0."""
        generator = self._generator("market")
        scores = generator.permuted(np.tile(self._strata, (self.horizon, 1)), axis=1)
        cells: Floats = scores * _in_cells(self.dependence.market) + np.float32(_CELLS / 2)
        return cells

    @cached_property
    def _row_starts(self) -> NDArray[np.int32]:
        """(H, 1) place of each day's first level in a flattened grid."""
        return (np.arange(self.horizon, dtype=np.int32) * len(self.levels))[:, None]

    @cached_property
    def _cells(self) -> tuple[NDArray[np.int32], Floats]:
        """Per cell: the grid level below it, and how far it lies towards the next one (beyond the last: in excesses)."""
        centres = ((np.arange(_CELLS) + 0.5) / _CELLS * 2 - 1) * _REACH
        probability = np.array([_NORMAL.cdf(z) for z in centres])
        below = np.searchsorted(self.levels, probability, side="right") - 1
        last = len(self.levels) - 1
        place = np.clip(below, 0, max(last - 1, 0))
        above = np.minimum(place + 1, last)
        width = np.maximum(self.levels[above] - self.levels[place], 1e-12)
        weight = np.where(below < 0, 0.0, (probability - self.levels[place]) / width)
        tail = -np.log((1.0 - probability) / (1.0 - self.levels[-1]))
        beyond = below >= last
        return (
            np.where(beyond, last, place).astype(np.int32),
            np.where(beyond, tail, weight).astype(np.float32),
        )


def _in_cells(share: float) -> np.float32:
    """A share of the score's variance as cells of the table per unit of its factor."""
    return np.float32(np.sqrt(share) * _CELLS / (2 * _REACH))


def recentred(
    quantiles: NDArray[np.float64], stated: NDArray[np.float64], drawn: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Quantiles of sums moved by the ratio of the stated mean to the mean of the draws, in whole units.

    Distributions of single days end before their rarest orders, and a sum of many days feels it: on Online Retail II the
    draws of 28 days had 3 to 5 % less than the stated mean, and moving them made the WQL of totals .8 % less.

    Args:
        quantiles: (…, Q) quantiles of sums.
        stated: (…,) mean that the sums should have.
        drawn: (…,) exact mean of their draws.
    """
    ratio = np.clip(stated / np.maximum(drawn, 1e-9), *_RECENTRE)
    moved: NDArray[np.float64] = np.floor(quantiles * ratio[..., None] + 0.5)
    return moved


def path_quantiles(sums: NDArray[np.int64]) -> NDArray[np.float64]:
    """Quantiles over sample paths, each one of the paths' own sums, hence whole units.

    The k-th smallest of P draws stands for the level k / (P + 1), which is right on average whatever the distribution.

    Args:
        sums: (…, P) one sum per path.

    Returns:
        (…, Q) quantiles at `QUANTILES`.
    """
    count = sums.shape[-1]
    rank = np.clip(np.rint(np.array(QUANTILES) * (count + 1)).astype(np.intp), 1, count) - 1
    ordered: NDArray[np.float64] = np.sort(sums, axis=-1)[..., rank].astype(np.float64)
    return ordered
