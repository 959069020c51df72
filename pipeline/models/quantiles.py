"""The contract's rule for quantiles of units, in one place: finite, non-negative, non-crossing, whole.

For every forecaster, baselines and networks alike (`distribution.py` included): compute quantiles on whatever scale
suits, then pass them through `whole_units` once, last. Without rounding, q10 of a slow item never reaches 0 and a 50 %
interval reads a coverage of .25 (EVIDENCE.md, traps), so a forecaster that skips it is compared unfairly.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError


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
