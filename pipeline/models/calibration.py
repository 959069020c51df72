"""How strongly the days of a series move together, so that intervals of sums cover what they claim.

The day's own distributions do not say it: independent days gave 28-day totals whose 80 % interval covered 66 to 72 %. The
share of variance that the days of an item have in common is chosen per volume class on days that no member has seen, so that
intervals of weeks and of the whole stretch cover 80 % there: nested intervals, of which those that come nearest are
taken (as in conformal prediction by nested sets, Gupta, Kuchibhotla and Ramdas 2022). On four origins of Online
Retail II what was chosen so covered the days to come within two points of what it had covered before.

How far the shop as a whole goes another way than was known cannot be chosen so, for one stretch shows a single draw of it. It
is taken from how far the shop moved from month to month before: `level_share`.
"""

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import Array, Dependence, Forecast
from pipeline.models.panel import Panel
from pipeline.models.paths import Paths, SeriesPaths, finest, path_quantiles, recentred
from pipeline.models.quantiles import LEVELS

SHARES: tuple[float, ...] = (0.0, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4)
"""Shares that are tried."""
WANTED = 0.8
"""Coverage that is wanted of the central 80 % interval."""
WEEK = 7

_YEAR, _MONTH = 365, 28
_SEEN, _UNSEEN = 1.0, 3.0
"""Standard deviation of what the whole shop does otherwise than was known ÷ that of its moves from month to month, for days
ahead that have some a year before them and for those that have none. On Online Retail II weeks of the whole shop missed by .22 in 2011,
when its months had moved by .20 to .22, and by .48 in the autumn before its first Christmas, when they had moved by .14 to .17."""
_USUAL_MOVE, _BELIEF = 0.2, 2.0
"""What a shop is believed to move, and for how many months that belief counts in the log: a belief in the variance would outweigh
ten months of a steady shop."""
_LEAST_MOVE = 0.01
"""Less is taken for this: the log of no move at all is no number."""
_MOST_LEVEL = 0.2
"""More would leave little of a day to its item; the shop's 80 % interval reaches from about half to twice what is expected then."""
_LEAST_OPEN = 14
"""Open days of 28 without which they tell nothing of how the shop moves."""
_NORMAL = NormalDist()
_PATHS = 100
_LEAST_SERIES = 50
_LOW, _HIGH = (int(np.flatnonzero(np.isclose(LEVELS, level))[0]) for level in (0.1, 0.9))


def item_shares(
    panel: Panel, answer: Forecast, actual: Array, classes: NDArray[np.int64], dependence: Dependence, *, count: int
) -> Array:
    """Share of variance common to all days of a series, per class.

    Args:
        panel: the series, cut at the day before the unseen days.
        answer: their forecast of the unseen days, with its grid.
        actual: (S, D) units that came.
        classes: (S,) class of each series, from 0.
        dependence: of the forecast; its market share stays.
        count: number of classes.

    Returns:
        (count,) shares; a class of few series takes that of all.
    """
    covered = np.stack([_covered(panel, answer, actual, replace(dependence, item=share)) for share in SHARES])
    together = _best(covered)
    found = np.full(count, together)
    for number in range(count):
        mine = classes == number
        if mine.sum() >= _LEAST_SERIES:
            found[number] = _best(covered[:, mine])
    return found


def level_share(panel: Panel, answer: Forecast, stands_for: Array, market: float) -> float:
    """Share of variance common to all series on all days, so that the whole shop is as unsure as its months moved.

    So it is of days drawn alone; sums that were learned may be spread more or less than those, and the shop with them.

    Args:
        panel: all series, up to the night.
        answer: a forecast of some of them, with its grid.
        stands_for: series that each of those stands for; items that sell rarely respond more than best sellers.
        market: share of variance common to all series of a day.
    """
    unseen = float(np.clip((_YEAR - panel.history) / max(panel.horizon, 1), 0.0, 1.0))
    wanted = _monthly_move(panel) * (_SEEN + (_UNSEEN - _SEEN) * unseen)
    # a month's days share the level whole, and their own common factors in part
    return float(np.clip((wanted / max(_response(answer, stands_for), 1e-6)) ** 2 - market / _MONTH, 0.0, _MOST_LEVEL))


def _monthly_move(panel: Panel) -> float:
    """Standard deviation of the log of 28 days' units an open day against the 28 days before, over the last two years.

    The first month is left out, in which a shop opens.
    """
    days = slice(max(_MONTH, panel.history - 2 * _YEAR), panel.history)
    units = panel.units_winsorised[:, days].sum(axis=0, dtype=np.float64)
    if len(units) < 2 * _MONTH:
        return _USUAL_MOVE
    months, opened = (
        np.convolve(of, np.ones(_MONTH), mode="valid") for of in (units, (~panel.closed[days]).astype(np.float64))
    )
    known = (months > 0) & (opened >= _LEAST_OPEN)
    pairs = np.flatnonzero(known[:-_MONTH] & known[_MONTH:])
    moves = np.log(months[pairs + _MONTH] / opened[pairs + _MONTH]) - np.log(months[pairs] / opened[pairs])
    # items that came and went make a trend of their own in the series of today, and finding it takes a month
    count = max(len(moves) / _MONTH - 1, 0.0)
    moved = float(moves.std()) if count else _USUAL_MOVE
    logs = count * math.log(max(moved, _LEAST_MOVE)) + _BELIEF * math.log(_USUAL_MOVE)
    return math.exp(logs / (count + _BELIEF))


def _response(answer: Forecast, stands_for: Array) -> float:
    """By what share all units grow when the normal score of every day grows by one, at the beginning of that."""
    grid, levels = finest(answer)
    edges = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2, [(1 + levels[-1]) / 2]])
    mass, score = np.diff(edges), np.array([_NORMAL.inv_cdf(level) for level in levels])
    units = float(stands_for @ answer.mean.sum(axis=1))
    body = stands_for @ np.asarray(grid, dtype=np.float64).sum(axis=1) * mass
    beyond = max(units - float(body.sum()), 0.0)
    last = _NORMAL.inv_cdf((1 + levels[-1]) / 2)
    return float((body @ score + beyond * last) / max(units, 1e-9))


def _best(covered: Array) -> float:
    """The share whose intervals cover what is wanted, weeks and the whole stretch alike."""
    miss = np.abs(covered.mean(axis=1) - WANTED).sum(axis=1)
    return SHARES[int(miss.argmin())]


def _covered(panel: Panel, answer: Forecast, actual: Array, dependence: Dependence) -> Array:
    """(S, 2) share of its weeks, and whether the sum of all days, that lie in the 80 % interval of each series."""
    series, days = actual.shape
    weeks = np.arange(0, days - days % WEEK or days, WEEK)
    paths = Paths(panel.as_of, "calibration", dependence, finest(answer)[1], days, _PATHS)
    drawn = SeriesPaths(paths, panel.item_id, panel.location, answer)
    covered = np.zeros((series, 2))
    for row in range(series):
        units, _ = drawn.draw(row)
        for column, cuts in enumerate((weeks, weeks[:1])):
            whole = days if column else len(weeks) * WEEK
            came = np.add.reduceat(actual[row, :whole], cuts)
            stated, expected = (np.add.reduceat(of[row, :whole], cuts) for of in (answer.mean, drawn.mean))
            sums = path_quantiles(np.add.reduceat(units[:whole].astype(np.float64), cuts, axis=0))
            quantiles = recentred(sums, stated, expected)
            covered[row, column] = ((came >= quantiles[:, _LOW]) & (came <= quantiles[:, _HIGH])).mean()
    return covered
