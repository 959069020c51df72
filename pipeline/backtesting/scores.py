"""Scores of forecasts: plain functions over documented arrays, nothing of tables or models.

N is the number of forecasts (item-days), Q the number of quantile levels. `actual` (N,) are the units that came, `mean`
(N,) the expected units, `quantiles` (N, Q) the quantiles at `levels` (Q,), `series` (N,) which series a forecast
belongs to, from 0. A score that has nothing to divide by (nothing was sold, no scale) is NaN, never 0 or infinite.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.quantiles import LEVELS, quantile_loss

Array = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]

SEASON = 7


def wape(actual: Array, mean: Array) -> float:
    """Pooled weighted absolute percentage error Σ|y − ŷ| / Σy."""
    return _ratio(float(np.abs(actual - mean).sum()), float(actual.sum()))


def bias(actual: Array, mean: Array) -> float:
    """Signed bias Σ(ŷ − y) / Σy; above zero is too much."""
    return _ratio(float((mean - actual).sum()), float(actual.sum()))


def mae(actual: Array, mean: Array) -> float:
    """Mean absolute error, units."""
    return _mean(np.abs(actual - mean))


def mse(actual: Array, mean: Array) -> float:
    """Mean squared error, units²."""
    return _mean((actual - mean) ** 2)


def rmse(actual: Array, mean: Array) -> float:
    """Root of the mean squared error, units."""
    return float(np.sqrt(mse(actual, mean)))


def wql(actual: Array, quantiles: Array, levels: Array = LEVELS) -> float:
    """Weighted quantile loss Σ 2·pinball / Σy, mean over `WQL_LEVELS`."""
    return _ratio(float(quantile_loss(actual, quantiles, levels).sum()), float(actual.sum()))


@dataclass(frozen=True)
class Scales:
    """What a series' errors are divided by: how far seasonal naive was off in its own history.

    Attributes:
        absolute: (S,) mean |y_t − y_{t−season}| after the first sale; NaN without one.
        squared: (S,) mean (y_t − y_{t−season})² after the first sale; NaN without one.
    """

    absolute: Array
    squared: Array


def scales(units: NDArray[np.floating[Any]], first_sold: Integers, season: int = SEASON) -> Scales:
    """Scales of MASE and RMSSE from the history before the origin, counted from each series' first sale on.

    The days before a launch are not demand: with them the scale of a young item shrinks to nothing and its errors
    rule the mean.

    Args:
        units: (S, T) history.
        first_sold: (S,) column of the first sale; T where nothing was sold yet.
        season: lag of the naive forecast in days.
    """
    history = np.asarray(units, dtype=np.float64)
    days = history.shape[1]
    if days <= season:
        nothing = np.full(len(history), np.nan)
        return Scales(nothing, nothing.copy())
    steps = history[:, season:] - history[:, :-season]
    after = np.arange(days - season)[None, :] >= np.asarray(first_sold)[:, None]
    count = after.sum(axis=1)

    def mean(values: Array) -> Array:
        total = np.where(after, values, 0.0).sum(axis=1)
        return np.where((count > 0) & (total > 0), total / np.maximum(count, 1), np.nan)

    return Scales(mean(np.abs(steps)), mean(steps**2))


def mase(actual: Array, mean: Array, series: Integers, scale: Scales) -> float:
    """Mean absolute scaled error: each series' MAE by its scale, mean over the series that have one."""
    error, present = _by_series(np.abs(actual - mean), series, len(scale.absolute))
    return _mean_known(error[present] / scale.absolute[present])


def rmsse(actual: Array, mean: Array, series: Integers, scale: Scales) -> float:
    """Root mean squared scaled error: √(MSE by scale) of each series, mean over the series that have a scale."""
    error, present = _by_series((actual - mean) ** 2, series, len(scale.squared))
    return _mean_known(np.sqrt(error[present] / scale.squared[present]))


def coverage(actual: Array, quantiles: Array, share: float, levels: Array = LEVELS) -> float:
    """Share of actuals within the central interval of `share`, its ends included.

    An end that lies between two levels of the contract (q25 and q75 of the 50 % interval) is interpolated. Where most
    days are zero even a calibrated forecast covers more than it claims: read `pit_coverage` beside it.
    """
    low = _at_level(quantiles, (1 - share) / 2, levels)
    high = _at_level(quantiles, (1 + share) / 2, levels)
    return _mean(((actual >= low) & (actual <= high)).astype(np.float64))


def pit_deciles(actual: Array, quantiles: Array, levels: Array = LEVELS) -> Array:
    """Shares (10,) of the probability integral transform per decile: all .1 when the forecast is calibrated.

    For whole units the transform of y is spread evenly over [P(Y < y), P(Y ≤ y)], which is the randomised PIT in
    expectation (Czado, Gneiting and Held 2009). Both ends are known from quantiles only between two levels; the middle
    of the two is taken, and 0 for P(Y < 0): over many items these guesses cancel to about .02, for one item they need not.
    """
    if not len(actual):
        return np.full(10, np.nan)
    bounds = np.concatenate([[0.0], levels, [1.0]])
    below = (quantiles < actual[:, None]).sum(axis=1)
    up_to = (quantiles <= actual[:, None]).sum(axis=1)
    low = np.where(actual <= 0, 0.0, (bounds[below] + bounds[below + 1]) / 2)
    high = np.maximum((bounds[up_to] + bounds[up_to + 1]) / 2, low)
    edges = np.linspace(0.0, 1.0, 11)
    width = high - low
    spread = (np.clip(edges[None, :], low[:, None], high[:, None]) - low[:, None]) / np.where(width > 0, width, 1)[
        :, None
    ]
    point = edges[None, :] >= low[:, None]
    cumulative = np.where(width[:, None] > 0, spread, point)
    shares: Array = np.diff(cumulative, axis=1).mean(axis=0)
    return shares


def pit_coverage(actual: Array, quantiles: Array, levels: Array = LEVELS) -> float:
    """Share of the randomised PIT between .1 and .9: .80 when calibrated, however many zeros there are."""
    return float(pit_deciles(actual, quantiles, levels)[1:9].sum())


def stability(tonight: Array, last: Array) -> float:
    """How much the forecast of the same days moved: Σ|f_tonight − f_last| / Σf_last; 0 is no change."""
    return _ratio(float(np.abs(tonight - last).sum()), float(last.sum()))


@dataclass(frozen=True)
class Gain:
    """By how much one model's WQL is below another's, with the 95 % bootstrap interval over items.

    Attributes:
        gain: 1 − WQL_a / WQL_b; above zero when `a` is better.
        low: 2.5 % quantile of the bootstrap.
        high: 97.5 % quantile of the bootstrap.
    """

    gain: float
    low: float
    high: float


def paired_gain(loss_a: Array, loss_b: Array, item: Integers, *, draws: int = 1000, seed: int = 0) -> Gain:
    """Paired bootstrap over items of the WQL gain of `a` over `b` on the same forecasts.

    Items are drawn, not item-days: the days of an item err together, and an interval over days would be far too narrow.

    Args:
        loss_a: (N,) `quantile_loss` of the first model.
        loss_b: (N,) of the second, for the same forecasts in the same order.
        item: (N,) item of each forecast, from 0.
        draws: number of bootstrap samples.
        seed: seed of the draws.
    """
    total_a, total_b = np.bincount(item, weights=loss_a), np.bincount(item, weights=loss_b)
    times = _draws(len(total_a), draws, seed)
    low, high = _interval(times @ total_a, times @ total_b)
    # the gain falls as the ratio of the losses rises
    return Gain(1 - _ratio(float(total_a.sum()), float(total_b.sum())), 1 - high, 1 - low)


def wql_interval(
    loss: Array, actual: Array, item: Integers, *, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval over items of one model's pooled WQL (arguments as in `paired_gain`)."""
    total, units = np.bincount(item, weights=loss), np.bincount(item, weights=actual)
    times = _draws(len(total), draws, seed)
    return _interval(times @ total, times @ units)


def _draws(items: int, draws: int, seed: int) -> Array:
    """How often each item is in each bootstrap sample, (draws, items)."""
    times = np.random.default_rng(seed).multinomial(items, np.full(items, 1 / items), size=draws)
    return times.astype(np.float64)


def _interval(over: Array, under: Array) -> tuple[float, float]:
    """Middle 95 % of the ratios of bootstrap samples; samples with nothing to divide by say nothing."""
    ratios = over[under > 0] / under[under > 0]
    low, high = np.quantile(ratios, [0.025, 0.975]) if len(ratios) else (np.nan, np.nan)
    return float(low), float(high)


def _by_series(error: Array, series: Integers, count: int) -> tuple[Array, NDArray[np.bool_]]:
    """Mean error of each series, and which series have any forecast."""
    number = np.bincount(series, minlength=count)
    return np.bincount(series, weights=error, minlength=count) / np.maximum(number, 1), number > 0


def _at_level(quantiles: Array, level: float, levels: Array) -> Array:
    """The quantile at a level, interpolated between the two levels around it."""
    high = int(np.searchsorted(levels, level - 1e-9))
    if np.isclose(levels[high], level):
        return quantiles[:, high]
    share = (level - levels[high - 1]) / (levels[high] - levels[high - 1])
    between: Array = quantiles[:, high - 1] + share * (quantiles[:, high] - quantiles[:, high - 1])
    return between


def _ratio(over: float, under: float) -> float:
    return over / under if under > 0 else float("nan")


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _mean_known(values: Array) -> float:
    return _mean(values[~np.isnan(values)])
