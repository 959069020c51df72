"""Seasons of items from words and from sales, and from both: what is believed of an item, and how sure that is.

How much more an item sells in a month or for an event than the shop's own seasons say is unknown, and believed to be gamma
distributed: with the mean that items of like texts have, and worth `_WORDS` sales; what it sold itself is added to that (the
Poisson-gamma model). An item without a history is read from words alone, one with a long history from its sales.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pipeline.models.base import Array

_WORDS = 6.0
"""Expected sales that what words tell is worth."""
LEAST_LIFT = 1.5
"""An item sells for an event when the days up to it bring this many times what the shop's own seasons say."""


@dataclass(frozen=True)
class Belief:
    """How many times as much items sell as the shop's own seasons say.

    Attributes:
        mean: (N, K) expected.
        certainty: (N, K) chance that it is at least `LEAST_LIFT`.
    """

    mean: Array
    certainty: Array

    @classmethod
    def of(cls, told: Array, came: Array | None = None, usual: Array | None = None) -> "Belief":
        """What is believed from words, and from sales where they are given.

        Args:
            told: (N, K) what items of like texts sell, ÷ what the shop's seasons say; 1 where nothing is told.
            came: (N, K) sales.
            usual: (N, K) sales that the shop's seasons say.
        """
        shape, rate = np.full(told.shape, _WORDS), _WORDS / np.maximum(told, 1e-6)
        if came is not None and usual is not None:
            shape, rate = shape + came, rate + usual
        return cls(shape / rate, np.asarray(stats.gamma.sf(LEAST_LIFT, shape, scale=1 / rate)))


def f1_threshold(probability: Array, label: NDArray[np.bool_]) -> tuple[float, float]:
    """The threshold of a class that has the highest F1, and that F1; .5 and 0 where the class never occurs.

    Args:
        probability: (N,) of the class.
        label: (N,) whether it is.
    """
    if not label.any():
        return 0.5, 0.0
    order = np.argsort(-probability, kind="stable")
    hits = np.cumsum(label[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + label.sum())
    best = int(f1.argmax())
    return float(probability[order[best]]), float(f1[best])


def auc(probability: Array, label: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: the chance that an item of the class has the higher probability (Hanley and McNeil 1982).

    Not a number where all or none are of the class.
    """
    positive, negative = int(label.sum()), int((~label).sum())
    if not positive or not negative:
        return float("nan")
    ranks = stats.rankdata(probability)
    return float((ranks[label].sum() - positive * (positive + 1) / 2) / (positive * negative))
