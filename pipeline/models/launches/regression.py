"""How many units come of a launch: ridge regression of their log, with the errors that it made on launches it had not seen.

The distribution of a new launch is that of the launches of which as much was expected: their errors, out of fold, added to what is
expected of the new one. So nothing is assumed of its shape, and small launches are as uncertain as small ones were.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.models.base import Array

LEAST_EXAMPLES = 40
"""Launches below which nothing is learned from them."""
SAMPLE = 80
"""Launches whose errors stand for one that is forecast."""
_PENALTY = 10.0
_FOLDS = 5


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
    """

    centre: Array
    scale: Array
    weights: Array
    constant: float
    expected: Array
    came: Array

    @classmethod
    def fit(cls, features: Array, units: Array, offset: Array, seed: int) -> "Regression":
        """Fit on N examples.

        Args:
            features: (N, F).
            units: (N,) what came.
            offset: (N,) what is added to the expected log as it is.
            seed: of the folds.
        """
        target = np.log1p(units) - offset
        fold = np.random.default_rng([seed, 31]).permutation(np.arange(len(units)) % _FOLDS)
        expected = np.zeros(len(units))
        for held in range(_FOLDS):
            mine = fold != held
            expected[~mine] = _predict(_ridge(features[mine], target[mine]), features[~mine])
        order = np.argsort(expected + offset, kind="stable")
        return cls(*_ridge(features, target), (expected + offset)[order], np.log1p(units)[order])

    def sample(self, features: Array, offset: Array) -> Array:
        """(Q, SAMPLE or N) equally likely units of Q launches, ascending."""
        expected = _predict((self.centre, self.scale, self.weights, self.constant), features) + offset
        count = min(SAMPLE, len(self.expected))
        # the window of `count` nearest expectations around each
        place = np.searchsorted(self.expected, expected)
        first = np.clip(place - count // 2, 0, len(self.expected) - count)
        index = first[:, None] + np.arange(count)
        error = self.came[index] - self.expected[index]
        return np.sort(np.expm1(np.maximum(expected[:, None] + error, 0.0)), axis=1)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {name: np.asarray(value).tolist() for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Regression":
        """Undo `to_json`."""
        arrays = {name: np.array(value, dtype=np.float64) for name, value in stored.items() if name != "constant"}
        return cls(constant=float(stored["constant"]), **arrays)


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
