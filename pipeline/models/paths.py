"""Joint sample paths from marginal forecasts: what the quantiles of sums are made of.

The sum of quantiles is not the quantile of the sum, and neither is the sum of independent days: on Online Retail II
the first covered .68–.70 of what an 80 % interval should, the second .64–.68, a Gaussian copula with one factor per
item .76–.80 (EVIDENCE.md). Days and items are tied by `models.base.Dependence`: each day of each series has a normal
score √item·a + √market·b + √level·c + √rest·e, and the series' own distribution turns the score into whole units.

Each series draws from a generator of its own, seeded by night, model version and series; the factors of the market and of
the shop's level are seeded by night and version. So slices, threads and the order of series do not change a draw, and a replay repeats it.

The scores of one factor over the paths are a permutation of the normal quantiles at (i + ½) / P (stratified): a
hundred paths then carry no sampling error in the factors, the only ones that do not average out in large sums.
"""

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from hashlib import blake2b
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import Array, Dependence, Forecast
from pipeline.settings import QUANTILES

Floats = NDArray[np.float32]
Units = NDArray[np.int32]

_CELLS = 2048
_REACH = 4.0
"""Scores are read from a table of 2,048 cells over ±4: a search per draw would cost five times as much."""

_LARGEST = float(2**30)
_RECENTRE = (0.5, 2.0)
_LEARNED = 0.75
"""Share of the learned spread in that of the paths' sums; half and all of it were worse on four origins of Online Retail II."""
_STRETCH = (0.2, 5.0)
"""Bounds of what one path is multiplied by, so that a mean and a spread at odds do not make an absurd month."""
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
        score *= _in_cells(max(1.0 - item - self.dependence.market - self.dependence.level, 0.0))
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

    def settled(self, units: Units, stated: Array, drawn: Array, spread: Array, days: int) -> Floats:
        """The paths of one series with the sums of its stretches moved to where they were learned to lie.

        Each path keeps its rank among the sums and the shape of its days; it is multiplied as a whole.

        Args:
            units: (H, P) its paths.
            stated: (H,) mean that its days should have.
            drawn: (H,) exact mean of its draws.
            spread: (B, Q) see `models.base.Stretches`.
            days: days of a stretch.

        Returns:
            (H, P) units, no longer whole.
        """
        paths: Floats = units * np.clip(stated / np.maximum(drawn, 1e-9), *_RECENTRE).astype(np.float32)[:, None]
        whole = paths[: len(spread) * days].reshape(len(spread), days, self.count)
        sums = whole.sum(axis=1)
        order = np.argsort(sums, axis=1, kind="stable")
        mine = np.take_along_axis(sums, order[:, _ranks(self.count)], axis=1)
        wanted = spread * stated[: len(spread) * days].reshape(len(spread), days).sum(axis=1)[:, None]
        factor = np.where((mine > 0) & np.isfinite(wanted), wanted / np.maximum(mine, 1e-9), 1.0)
        factor = np.clip(_LEARNED * factor + 1 - _LEARNED, *_STRETCH)
        below, weight = self._between
        by_rank = factor[:, below] * (1 - weight) + factor[:, below + 1] * weight
        by_path = np.empty(sums.shape, dtype=np.float32)
        np.put_along_axis(by_path, order, by_rank.astype(np.float32), axis=1)
        whole *= by_path[:, None, :]
        return paths

    @cached_property
    def _between(self) -> tuple[NDArray[np.intp], Array]:
        """Per rank of a path: the level of `QUANTILES` below it, and how far it lies towards the next; beyond the ends: at them."""
        ranks = _ranks(self.count).astype(np.float64)
        place = np.interp(np.arange(self.count), ranks, np.arange(len(ranks)))
        below = np.minimum(place.astype(np.intp), len(ranks) - 2)
        return below, place - below

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
        """(H, P) the share of each day's score that all series have in common, in cells, and the place of score 0."""
        generator = self._generator("market")
        scores = generator.permuted(np.tile(self._strata, (self.horizon, 1)), axis=1)
        level = self._strata[self._generator("level").permutation(self.count)]
        cells: Floats = scores * _in_cells(self.dependence.market) + level * _in_cells(self.dependence.level)
        return cells + np.float32(_CELLS / 2)

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


def path_quantiles(sums: NDArray[Any]) -> NDArray[np.float64]:
    """Quantiles over sample paths, each one of the paths' own sums.

    The k-th smallest of P draws stands for the level k / (P + 1), which is right on average whatever the distribution.

    Args:
        sums: (…, P) one sum per path.

    Returns:
        (…, Q) quantiles at `QUANTILES`.
    """
    ordered: NDArray[np.float64] = np.sort(sums, axis=-1)[..., _ranks(sums.shape[-1])].astype(np.float64)
    return ordered


def _ranks(count: int) -> NDArray[np.intp]:
    """(Q,) places, from 0, of the quantiles among so many sorted draws."""
    ranks: NDArray[np.intp] = np.clip(np.rint(np.array(QUANTILES) * (count + 1)).astype(np.intp), 1, count) - 1
    return ranks


@dataclass(frozen=True)
class SeriesPaths:
    """The sample paths of the series of one forecast, one series at a time.

    Attributes:
        paths: draws them.
        item_id: (S,) items.
        location: (S,) locations.
        forecast: of the series.
    """

    paths: Paths
    item_id: NDArray[np.str_]
    location: NDArray[np.str_]
    forecast: Forecast

    def draw(self, row: int) -> tuple[Units | Floats, Array]:
        """(H, P) units of one series, and (H,) the mean that a sum over many series takes these draws to have."""
        share = None if self.forecast.item_share is None else float(self.forecast.item_share[row])
        excess, drawn = self._tail
        units = self.paths.draw(
            str(self.item_id[row]), str(self.location[row]), self._grid[row], excess[row], item_share=share
        )
        stretches = self.forecast.stretches
        if stretches is None:
            return units, drawn[row]
        moved = self.paths.settled(units, self.forecast.mean[row], drawn[row], stretches.spread[row], stretches.days)
        # a learned spread need not have the stated mean: in one series the draws are too few to tell, in a sum they are not
        return moved, moved.mean(axis=1, dtype=np.float64)

    @property
    def mean(self) -> Array:
        """(S, H) mean that the draws of each series are taken to have."""
        return self._tail[1] if self.forecast.stretches is None else self.forecast.mean

    @cached_property
    def _grid(self) -> Floats:
        grid: Floats = np.maximum(np.sort(finest(self.forecast)[0].astype(np.float32), axis=-1), np.float32(0))
        return grid

    @cached_property
    def _tail(self) -> tuple[Floats, Array]:
        return self.paths.tail(self._grid, self.forecast.mean)


def finest(forecast: Forecast) -> tuple[NDArray[Any], Array]:
    """The finest distribution that a forecaster gave, with its levels."""
    if forecast.grid is not None and forecast.grid_levels is not None:
        return forecast.grid, np.asarray(forecast.grid_levels, dtype=np.float64)
    return forecast.quantiles, np.array(QUANTILES)
