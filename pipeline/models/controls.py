"""What a gain from text must be set beside: the same forecaster with the words of other items, or with the category's alone.

A gain that words of other items bring too comes from more numbers, not from words; one that the category brings too needs no
language model.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.panel import Panel

_SEED = 53
_TRIFLE = 1e-4
_MARK = "@"


def shuffled(panel: Panel) -> Panel:
    """Every item with the text, and its vector, of another one."""
    items, row = np.unique(panel.item_id, return_inverse=True)
    first = np.unique(row, return_index=True)[1]
    # the same for the same items, wherever they stand
    dealt = first[np.random.default_rng([_SEED, len(items)]).permutation(len(items))][row]
    return replace(panel, text=panel.text[dealt], item_text=None if panel.item_text is None else panel.item_text[dealt])


def category_only(panel: Panel) -> Panel:
    """Every item with its category for a text, and the mean vector of the category's items."""
    names = np.array(panel.category_names, dtype=np.str_)[panel.category]
    text = None if panel.item_text is None else names
    return replace(panel, text=category_vectors(panel.text, panel.category, panel.item_id), item_text=text)


def category_vectors(
    vectors: NDArray[Any], category: NDArray[np.int64], items: NDArray[np.str_]
) -> NDArray[np.float32]:
    """(N, D) mean vector of each row's category, of length 1; zeros where none of its items has a text.

    Every item is moved from it by a trifle of its own, so that the nearest of many alike are a draw of the whole category.
    """
    sums = np.zeros((int(category.max(initial=-1)) + 1, vectors.shape[1]))
    np.add.at(sums, category, vectors.astype(np.float64))
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    mean = (sums / np.where(length > 0, length, 1.0))[category]
    trifle = [
        np.random.default_rng([_SEED, zlib.crc32(item.encode())]).normal(size=mean.shape[1]) for item in items.tolist()
    ]
    return np.asarray(mean + _TRIFLE * np.array(trifle) * (mean != 0), dtype=np.float32)


CONTROLS: Mapping[str, Callable[[Panel], Panel]] = {"shuffle-text": shuffled, "category-only": category_only}
"""Controls by name."""


def control_of(model: str) -> tuple[str, Callable[[Panel], Panel] | None]:
    """The forecaster that a name stands for, and the control that it is put under, if any: `ensemble@shuffle-text`."""
    name, _, control = model.partition(_MARK)
    return name, CONTROLS[control] if control else None


def under(model: str, control: str) -> str:
    """Name of a forecaster under a control."""
    return f"{model}{_MARK}{control}"
