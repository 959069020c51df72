"""Units of a stretch spread over its days: what a day of a launch sells, and how sure that is.

A day sells with the chance 1 − exp(−μ / s) and then a geometric number of units, so that it sells μ on average and s is about
the size of an order. How much the stretch sells is uncertain itself: μ is scaled by the equally likely totals of the launch.
"""

import numpy as np

from pipeline.models.base import Array

_STRATA = 16
_POINTS = 64
_ROWS_AT_ONCE = 2048


def day_quantiles(mean: Array, totals: Array, size: Array, levels: Array) -> Array:
    """Quantiles of days.

    Args:
        mean: (S, H) expected units.
        totals: (S, H, K) equally likely totals of the day's stretch ÷ their mean, ascending.
        size: (S, H) units of an order.
        levels: (L,) levels, ascending.

    Returns:
        (S, H, L) quantiles, not rounded.
    """
    series, horizon = mean.shape
    strata = np.linspace(0, totals.shape[2] - 1, _STRATA).round().astype(int)
    flat_mean, flat_size = mean.reshape(-1), size.reshape(-1)
    flat_totals = totals.reshape(series * horizon, -1)[:, strata]
    out = np.zeros((series * horizon, len(levels)))
    for start in range(0, len(flat_mean), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        out[part] = _mixture(flat_mean[part], flat_totals[part], flat_size[part], levels)
    return out.reshape(series, horizon, len(levels))


def _mixture(mean: Array, scale: Array, size: Array, levels: Array) -> Array:
    """(N, L) quantiles of N days whose expected units are `mean` times each of the (N, K) scales, equally likely."""
    scaled = np.maximum(mean[:, None] * scale, 1e-9)
    chance = -np.expm1(-scaled / np.maximum(size[:, None], 1.0))
    # of a geometric number of units, above zero, whose mean is scaled ÷ chance
    stays = np.clip(1.0 - chance / scaled, 0.0, 1.0 - 1e-9)
    most = 12.0 * (scaled / chance).max(axis=1) + 12.0
    points = most[:, None] * (np.linspace(0.0, 1.0, _POINTS) ** 2)[None, :]
    below = 1.0 - (chance[:, :, None] * stays[:, :, None] ** points[:, None, :]).mean(axis=1)
    out = np.empty((len(mean), len(levels)))
    for row in range(len(mean)):
        out[row] = np.interp(levels, below[row], points[row])
    return out
