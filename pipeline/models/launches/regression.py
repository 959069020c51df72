"""How many units come of a launch: ridge regression of their log, with the errors that it made on launches it had not seen.

The distribution of a new launch is that of the launches of which as much was expected: their errors, out of fold, added to what is
expected of the new one. So nothing is assumed of its shape, and small launches are as uncertain as small ones were.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import Array
from pipeline.settings import QUANTILES

LEAST_EXAMPLES = 40
"""Launches below which nothing is learned from them."""
SAMPLE = 80
"""Launches whose errors stand for one that is forecast."""
_PENALTY = 10.0
_FOLDS = 5
_COVER = 0.8
"""Share of launches that the interval of the contract's outer quantiles holds."""
_WIDENINGS = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0)


@dataclass(frozen=True)
class Regression:
    """A fitted regression of log1p(units).

    Attributes:
        centre: (F,) means of the features.
        scale: (F,) their standard deviations; zero for one that never varied, which is left out.
        weights: (F,) weights of the standardised features.
        constant: mean of the target.
        expected: (N,) what was expected of each example out of fold, ascending.
        came: (N,) log1p of what came of them.
        widening: by how much errors are widened about their median.
    """

    centre: Array
    scale: Array
    weights: Array
    constant: float
    expected: Array
    came: Array
    widening: float = 1.0

    @classmethod
    def fit(cls, features: Array, units: Array, came: Array, offset: Array) -> "Regression":
        """Fit on N examples in the order of time.

        Folds are stretches of time: launches of one season err together, and the next season errs in its own way. So the errors
        of the others cover too few of a fold, and are widened until they cover as many as they should.

        Args:
            features: (N, F).
            units: (N,) what came, single large orders cut: what the weights are learned from.
            came: (N,) what came indeed: what errors are set beside.
            offset: (N,) what is added to the expected log as it is.
        """
        target, fold = np.log1p(units) - offset, np.arange(len(units)) * _FOLDS // len(units)
        expected = np.zeros(len(units))
        for held in range(_FOLDS):
            mine = fold != held
            expected[~mine] = _predict(_ridge(features[mine], target[mine]), features[~mine])
        expected, log_came = expected + offset, np.log1p(came)
        order = np.argsort(expected, kind="stable")
        expected, log_came, fold = expected[order], log_came[order], fold[order]
        widening = _widening(expected, log_came, fold)
        return cls(*_ridge(features, target), expected, log_came, widening)

    def sample(self, features: Array, offset: Array) -> Array:
        """(Q, SAMPLE or N) equally likely units of Q launches, ascending."""
        expected = _predict((self.centre, self.scale, self.weights, self.constant), features) + offset
        error = _widened(_errors(self.expected, self.came, expected), self.widening)
        return np.sort(np.expm1(np.maximum(expected[:, None] + error, 0.0)), axis=1)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {name: np.asarray(value).tolist() for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Regression":
        """Undo `to_json`."""
        numbers = {"constant": float(stored["constant"]), "widening": float(stored["widening"])}
        arrays = {name: np.array(value, dtype=np.float64) for name, value in stored.items() if name not in numbers}
        return cls(**arrays | numbers)  # type: ignore[arg-type]


def _errors(expected: Array, came: Array, of: Array) -> Array:
    """(Q, SAMPLE or N) errors of the examples of which about as much was expected as of each of Q launches."""
    count = min(SAMPLE, len(expected))
    first = np.clip(np.searchsorted(expected, of) - count // 2, 0, len(expected) - count)
    return np.asarray((came - expected)[first[:, None] + np.arange(count)])


def _widened(errors: Array, widening: float) -> Array:
    middle = np.median(errors, axis=1, keepdims=True)
    return np.asarray(middle + widening * (errors - middle))


def _widening(expected: Array, came: Array, fold: NDArray[np.int64]) -> float:
    """The widening by which the errors of the other folds cover closest to `_COVER` of every fold's launches together."""
    inside = np.zeros(len(_WIDENINGS))
    for held in range(_FOLDS):
        mine = fold != held
        errors = _errors(expected[mine], came[mine], expected[~mine])
        for number, widening in enumerate(_WIDENINGS):
            low, high = np.quantile(_widened(errors, widening), [(1 - _COVER) / 2, (1 + _COVER) / 2], axis=1)
            # nothing sold is the least there is
            low = np.maximum(expected[~mine] + low, 0.0)
            inside[number] += ((came[~mine] >= low) & (came[~mine] <= expected[~mine] + high)).sum()
    return _WIDENINGS[int(np.abs(inside / len(came) - _COVER).argmin())]


def _ridge(features: Array, target: Array) -> tuple[Array, Array, Array, float]:
    centre, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 0.0)
    standard = _standard(features, centre, scale)
    normal = standard.T @ standard + _PENALTY * np.eye(features.shape[1])
    weights = np.linalg.solve(normal, standard.T @ (target - target.mean()))
    return centre, scale, weights, float(target.mean())


def _predict(fitted: tuple[Array, Array, Array, float], features: Array) -> Array:
    centre, scale, weights, constant = fitted
    # row by row: a matrix product may sum otherwise for another number of rows
    return np.asarray((_standard(features, centre, scale) * weights).sum(axis=1) + constant)


def _standard(features: Array, centre: Array, scale: Array) -> Array:
    return np.asarray((features - centre) / np.where(scale > 0, scale, np.inf))


def resized(sample: Array, count: int) -> Array:
    """(S, count) of (S, K) ascending, equally likely values."""
    if sample.shape[1] == count:
        return sample
    return np.asarray(sample[:, np.linspace(0, sample.shape[1] - 1, count).round().astype(int)])


def spread_of(totals: Array) -> Array:
    """(S, Q) quantiles of totals ÷ their mean."""
    mean = np.maximum(totals.mean(axis=1), 1e-9)
    return np.asarray((np.quantile(totals, QUANTILES, axis=1) / mean).T)
