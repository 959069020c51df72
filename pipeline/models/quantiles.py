"""The contract's rule for quantiles of units, in one place: finite, non-negative, non-crossing, whole; and their loss.

For every forecaster, baselines and networks alike (`distribution.py` included): compute quantiles on whatever scale
suits, then pass them through `whole_units` once, last. Without rounding, q10 of a slow item never reaches 0 and a 50 %
interval reads a coverage of .25 (EVIDENCE.md, traps), so a forecaster that skips it is compared unfairly.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.settings import QUANTILES

Array = NDArray[np.float64]

LEVELS: Array = np.array(QUANTILES)
WQL_LEVELS: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""The contract's WQL is the mean over q10 … q90 in tens; q05 and q95 serve the 90 % interval only."""


GRID_LEVELS: tuple[float, ...] = (
    0.005, 0.01, 0.025, *(round(0.025 * k, 3) for k in range(2, 39)), 0.975, 0.985, 0.99, 0.995,
)  # fmt: skip
"""Levels of the finer grid that every forecaster answers with when asked for one, and that sample paths are drawn from."""


def pinball(actual: Array, quantiles: Array, levels: Array = LEVELS) -> Array:
    """Pinball loss of each forecast and level, (N, Q): q·(y − ŷ) above the quantile, (1 − q)·(ŷ − y) below it."""
    error = actual[:, None] - quantiles
    return np.maximum(levels * error, (levels - 1.0) * error)


def quantile_loss(actual: Array, quantiles: Array, levels: Array = LEVELS) -> Array:
    """What WQL sums, per forecast (N,): 2·pinball, mean over `WQL_LEVELS`."""
    chosen = [int(np.flatnonzero(np.isclose(levels, level))[0]) for level in WQL_LEVELS]
    loss: Array = 2.0 * pinball(actual, quantiles[:, chosen], levels[chosen]).mean(axis=1)
    return loss


def whole_units(quantiles: NDArray[Any]) -> NDArray[np.float64]:
    """Quantiles of units as the forecast contract wants them.

    Crossing quantiles are re-arranged (sorted), which never makes the pinball loss worse; halves are rounded up, so that
    a continuous quantile x stands for the whole number whose interval [y − ½, y + ½) holds it.

    Args:
        quantiles: (..., Q) quantiles at ascending levels, on the scale of units.

    Returns:
        (..., Q) whole, non-negative, non-decreasing along the last axis.

    Raises:
        ModelError: a quantile is not finite.
    """
    real = np.asarray(quantiles, dtype=np.float64)
    if not np.isfinite(real).all():
        raise ModelError(f"{int((~np.isfinite(real)).sum())} of {real.size} quantiles are not finite")
    return np.floor(np.maximum(np.sort(real, axis=-1), 0.0) + 0.5)
