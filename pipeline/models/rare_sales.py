"""Days on which an item sells with a chance of less than one in twenty: their distribution above the highest quantile learned.

Quantiles up to q95 say nothing of such a day but that it mostly sells nothing, and the mean says only how much there is in all.
Without more, the sales would stand in the last two hundredth of the distribution, as a few absurd days: of the items of Complete
Journey that sold on 5 to 19 days of a year, 20 % sold more in the December after than q90 of that month. So a day sells with the
chance mean ÷ size, and then a geometric number of units around the size of the item's orders.
"""

import numpy as np

from pipeline.models.base import Array
from pipeline.models.panel import Panel
from pipeline.models.quantiles import GRID_LEVELS
from pipeline.settings import QUANTILES

_LAST = float(QUANTILES[-1])
_FIRST_ABOVE = GRID_LEVELS.index(_LAST)
_SIZE_DAYS = 365
"""Days whose sales tell the size of an order."""
_MOST_BETWEEN = 1.49
"""Bound of a level within whose reach the sales begin: it still rounds to one unit."""


def order_sizes(panel: Panel) -> Array:
    """(S,) units of a day with sales in the last year, beside one sale of one unit that every item is believed to have had.

    Of each series alone: a shop's usual size would make an answer depend on the slice of series that is asked for.
    """
    recent = panel.units_winsorised[:, -_SIZE_DAYS:]
    return np.asarray((recent.sum(axis=1, dtype=np.float64) + 1) / ((recent > 0).sum(axis=1) + 1)).clip(min=1.0)


def with_rare_sales(grid: Array, mean: Array, size: Array) -> Array:
    """The grid with the sales of rare days where they belong; other days as they are.

    Args:
        grid: (S, H, G) quantiles at `GRID_LEVELS`, not rounded.
        mean: (S, H) expected units.
        size: (S,) units of a day with sales.

    Returns:
        (S, H, G) a new array, non-decreasing.
    """
    out = grid.copy()
    rare = (np.floor(grid[..., _FIRST_ABOVE] + 0.5) < 1) & (mean > 0)
    if not rare.any():
        return out
    # a mean that asks for more than one day in twenty is of larger orders
    sizes = np.maximum(np.broadcast_to(size[:, None], mean.shape)[rare], mean[rare] / (1 - _LAST))
    chance = mean[rare] / sizes
    upper = np.zeros((len(chance), len(GRID_LEVELS) - _FIRST_ABOVE))
    for column in range(1, upper.shape[1]):
        below, level = GRID_LEVELS[_FIRST_ABOVE + column - 1], GRID_LEVELS[_FIRST_ABOVE + column]
        reached = np.clip((chance - (1 - level)) / (level - below), 0.0, 1.0)
        among = np.clip((level - (1 - chance)) / np.maximum(chance, 1e-12), 0.0, 1.0 - 1e-9)
        sold = _geometric(among, sizes)
        # straight from nothing to v, a share 1 − ½ ÷ v of the draws rounds to a sale
        begins = np.minimum(0.5 / np.maximum(1 - reached, 1e-9), _MOST_BETWEEN)
        upper[:, column] = np.where(reached <= 0, 0.0, np.where(reached < 1, begins, sold))
    out[rare, _FIRST_ABOVE:] = np.maximum.accumulate(
        np.maximum(upper, grid[rare][:, _FIRST_ABOVE : _FIRST_ABOVE + 1]), axis=1
    )
    return out


def _geometric(among: Array, size: Array) -> Array:
    """Quantile at `among` of a geometric number of units above zero with the mean `size`."""
    none = np.clip(1 - 1 / size, 0.0, 1 - 1e-9)
    with np.errstate(divide="ignore"):
        units = np.ceil(np.log1p(-among) / np.log(none))
    return np.asarray(np.where(none > 0, np.maximum(units, 1.0), 1.0))
