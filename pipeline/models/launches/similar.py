"""Which established items a new one is like, by the vectors of their texts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.models.base import Array

_ROWS_AT_ONCE = 512
_DIGITS = 7
_MANY_ALIKE = 50
"""Items of the same words, or equally like a query, of which a few would be picked by chance."""


@dataclass(frozen=True)
class Neighbours:
    """The nearest items of each of Q queries.

    Attributes:
        index: (Q, K) rows of the library, the nearest first.
        cosine: (Q, K) how like they are, 1 for the same text.
        weight: (Q, K) their weights; of each query they sum to 1, or to 0 where it is like nothing.
    """

    index: NDArray[np.int64]
    cosine: Array
    weight: Array

    def mean(self, values: Array) -> Array:
        """Weighted mean of (N, …) values over each query's neighbours, those without a value left out; zero without any."""
        found = values[self.index]
        weight = self.weight.reshape(self.weight.shape + (1,) * (found.ndim - 2)) * np.isfinite(found)
        total = weight.sum(axis=1)
        return np.asarray((weight * np.nan_to_num(found)).sum(axis=1) / np.where(total > 0, total, 1.0))


def nearest(
    library: NDArray[Any],
    queries: NDArray[Any],
    *,
    count: int,
    sharpness: float,
    barred: NDArray[np.int64] | None = None,
) -> Neighbours:
    """The nearest items by cosine, weighted by exp(sharpness × cosine).

    Where many are equally like a query and only some of them can be its neighbours, as in a shop with one text for a thousand
    items, none of those is: they would tell of themselves, not of the query.

    Args:
        library: (N, D) vectors of length 1, N ≥ 1; one of zeros is like nothing.
        queries: (Q, D) vectors of length 1.
        count: neighbours of each, at most N.
        sharpness: how much more a nearer one counts.
        barred: (Q,) row of the library that each query must not find, itself; −1 for none.

    Raises:
        ModelError: the vectors are of different language models.
    """
    if library.shape[1] != queries.shape[1]:
        raise ModelError(
            f"the launches were learned with text vectors of {library.shape[1]} numbers, but the items carry "
            f"{queries.shape[1]}: language_model in almanac.yaml changed since the training; train again, or set it back"
        )
    count = min(count, len(library))
    index = np.zeros((len(queries), count), np.int64)
    cosines, weight = np.zeros((2, len(queries), count))
    wide = library.astype(np.float64).T
    for start in range(0, len(queries), _ROWS_AT_ONCE):
        part = slice(start, min(start + _ROWS_AT_ONCE, len(queries)))
        rows = part.stop - part.start
        # always as many rows, and rounded: what a kernel sums last must not depend on the slice of queries that is asked for
        filled = np.zeros((_ROWS_AT_ONCE, queries.shape[1]))
        filled[:rows] = queries[part]
        cosine = np.round((filled @ wide)[:rows], _DIGITS)
        if barred is not None:
            own = np.flatnonzero(barred[part] >= 0)
            cosine[own, barred[part][own]] = -np.inf
        near, order = _largest(cosine, count)
        index[part], cosines[part] = order, near
        last = near[:, -1:]
        alike = (cosine == last).sum(axis=1, keepdims=True)
        by_chance = (near == last) & (alike > np.maximum((near == last).sum(axis=1, keepdims=True), _MANY_ALIKE))
        raw = np.where((near > 0) & ~by_chance, np.exp(sharpness * (near - 1)), 0.0)
        total = raw.sum(axis=1, keepdims=True)
        weight[part] = raw / np.where(total > 0, total, 1.0)
    return Neighbours(index, cosines, weight)


def _largest(values: Array, count: int) -> tuple[Array, NDArray[np.int64]]:
    """The largest values of each row in order, and where they stand; of equal ones the first."""
    bound = -np.partition(-values, count - 1, axis=1)[:, count - 1 : count]
    found = np.empty((len(values), count), np.int64)
    for row, (mine, least) in enumerate(zip(values, bound, strict=True)):
        at = np.flatnonzero(mine >= least)
        found[row] = at[np.argsort(-mine[at], kind="stable")][:count]
    return np.take_along_axis(values, found, axis=1), found
