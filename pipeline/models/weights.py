"""Weights of an ensemble's members: non-negative, adding up to one, per volume class, fitted on days that no member has seen.

What is averaged are quantiles at equal levels (Vincent's average): it keeps the shape of its members, where the average of
probabilities would be wider than each of them (Lichtendahl, Grushka-Cockayne and Winkler 2013).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.panel import Panel
from pipeline.models.quantiles import LEVELS

Array = NDArray[np.float64]

CLASSES = ("A", "B", "C")
"""Items that make up the first 80 % of units, the next 15 %, and the rest."""
_SHARES = (0.8, 0.95)
_YEAR = 365
_STEPS = 150
_RATE = 12.0
_LEAST_SERIES = 50


@dataclass(frozen=True)
class VolumeClasses:
    """Where volume classes begin, in units of the year before a night.

    Attributes:
        least: units from which a series is an A, and from which it is a B.
    """

    least: tuple[float, float]

    @classmethod
    def of(cls, panel: Panel) -> "VolumeClasses":
        """The classes of a shop, from the series it was trained on."""
        units = np.sort(panel.units[:, -_YEAR:].sum(axis=1, dtype=np.float64))[::-1]
        before = np.cumsum(units) - units
        reach = [units[before < share * max(units.sum(), 1.0)] for share in _SHARES]
        a, b = (float(of.min()) if len(of) else 0.0 for of in reach)
        return cls((max(a, 1.0), max(b, 1.0)))

    def index(self, panel: Panel) -> NDArray[np.int64]:
        """(S,) class of each series: 0, 1 or 2."""
        units = panel.units[:, -_YEAR:].sum(axis=1, dtype=np.float64)
        found: NDArray[np.int64] = np.where(units >= self.least[0], 0, np.where(units >= self.least[1], 1, 2))
        return found


def class_weights(
    actual: Array, quantiles: Mapping[str, NDArray[Any]], classes: NDArray[np.int64], *, shrinkage: float
) -> Array:
    """Weights per class.

    Args:
        actual: (S, D) units that came on days that no member has seen.
        quantiles: member → (S, D, Q) quantiles at the contract's levels.
        classes: (S,) class of each series.
        shrinkage: share of equal weights that is mixed in.

    Returns:
        (classes, members) weights. A class of few series, or without a sale, takes those of all series.
    """
    together = fit_weights(actual, list(quantiles.values()), shrinkage=shrinkage)
    rows = []
    for number in range(len(CLASSES)):
        mine = classes == number
        enough = mine.sum() >= _LEAST_SERIES and actual[mine].sum() > 0
        of_class = [values[mine] for values in quantiles.values()]
        rows.append(fit_weights(actual[mine], of_class, shrinkage=shrinkage) if enough else together)
    return np.stack(rows)


def fit_weights(actual: Array, quantiles: list[NDArray[Any]], *, shrinkage: float) -> Array:
    """Weights (M,) that make the pinball loss of averaged quantiles least, by exponentiated gradient steps.

    The loss is convex in the weights, and each step keeps them positive and adding up to one (Kivinen and Warmuth 1997).
    """
    count = len(quantiles)
    equal = np.full(count, 1 / count)
    units = float(actual.sum())
    if count == 1 or units <= 0:
        return equal
    stacked = np.stack([values.reshape(-1, values.shape[-1]).astype(np.float32) for values in quantiles])
    came = actual.reshape(-1, 1).astype(np.float32)
    levels = LEVELS.astype(np.float32)
    weights, best, least = equal, equal, np.inf
    for step in range(_STEPS):
        error = came - np.tensordot(weights.astype(np.float32), stacked, axes=1)
        slope = np.where(error > 0, -levels, 1 - levels)
        loss = float((-slope * error).sum(dtype=np.float64))
        if loss < least:
            best, least = weights, loss
        gradient = 2 * np.array([(slope * member).sum(dtype=np.float64) for member in stacked]) / (units * len(levels))
        moved = weights * np.exp(-_RATE / np.sqrt(step + 1) * (gradient - gradient.min()))
        weights = moved / moved.sum()
    return (1 - shrinkage) * best + shrinkage * equal
