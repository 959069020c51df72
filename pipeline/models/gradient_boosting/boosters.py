"""Boosters of windows: one per quantile level and one of the mean, as LightGBM's own text, and how they predict.

Targets are units ÷ what the window would sell at the series' level, so that slow and fast items share trees. Quantiles
between the contract's levels are interpolated; beyond the last the excess is exponential, as the mean says.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import ModelError
from pipeline.models.base import Array, Compute
from pipeline.models.gradient_boosting.features import Table
from pipeline.models.quantiles import GRID_LEVELS, LEVELS
from pipeline.settings import QUANTILE_COLUMNS

if TYPE_CHECKING:
    import lightgbm

MEAN = "mean"
NAMES = (*QUANTILE_COLUMNS, MEAN)
"""Boosters, in the order in which they are trained."""
IN_GRID = [GRID_LEVELS.index(level) for level in LEVELS]
"""Places of the contract's levels in the grid."""

_LEAST_TAIL, _MOST_TAIL = 0.5, 3.0
"""The excess over the last quantile, in terms of what the two last levels would say: the mean decides in between."""


@dataclass(frozen=True)
class Boosters:
    """Trained boosters.

    Attributes:
        texts: LightGBM's text of each of `NAMES`.
    """

    texts: tuple[str, ...]

    @cached_property
    def _loaded(self) -> "tuple[lightgbm.Booster, ...]":
        import lightgbm

        return tuple(lightgbm.Booster(model_str=text) for text in self.texts)

    @property
    def rounds(self) -> dict[str, int]:
        """Trees of each booster."""
        return {name: booster.num_trees() for name, booster in zip(NAMES, self._loaded, strict=True)}

    def predict(self, table: Table, compute: Compute) -> tuple[Array, Array]:
        """Mean (W,) and quantiles (W, Q) of units of each window, not rounded.

        Windows without an open day are zero: training never asked about them.
        """
        # DuckDB gave each row the same bytes in any slice, and LightGBM reads it alone
        open_rows = np.flatnonzero(table.open_days > 0)
        values, scale = table.values[open_rows], table.scale[open_rows]
        answers = np.zeros((len(table.values), len(NAMES)))
        if len(open_rows):
            for column, booster in enumerate(self._loaded):
                share = np.asarray(booster.predict(values, num_threads=max(1, compute.threads)), dtype=np.float64)
                answers[open_rows, column] = np.maximum(share, 0.0) * scale
        return answers[:, -1], np.sort(answers[:, :-1], axis=1)

    def save(self, folder: Path) -> None:
        """Write one text file per booster."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in zip(NAMES, self.texts, strict=True):
            (folder / _file(name)).write_text(text, encoding="utf-8", newline="\n")

    @classmethod
    def load(cls, folder: Path) -> "Boosters":
        """Read back what `save` wrote.

        Raises:
            ModelError: a file is missing or damaged.
        """
        import lightgbm

        try:
            boosters = cls(tuple((folder / _file(name)).read_text(encoding="utf-8") for name in NAMES))
            _ = boosters._loaded
        except (OSError, ValueError, lightgbm.basic.LightGBMError) as error:
            raise ModelError(f"{folder}: the stored boosters cannot be read ({error}); train again") from error
        return boosters


def grid_of(mean: Array, quantiles: Array) -> Array:
    """The distribution at `GRID_LEVELS`, not rounded.

    Between the contract's levels it is a straight line, from nothing at level 0. Above the last, the excess is
    exponential: with E its mean, the quantile at level p is q95 + E·log(.05 ÷ (1 − p)). E is what makes the mean of the
    whole that of the mean booster, within bounds, for quantiles and mean were trained apart.

    Args:
        mean: (W,) expected units.
        quantiles: (W, Q) quantiles at the contract's levels, non-decreasing.

    Returns:
        (W, G), non-decreasing.
    """
    known_levels = np.concatenate([[0.0], LEVELS])
    known = np.concatenate([np.zeros((len(quantiles), 1)), quantiles], axis=1)
    last = float(LEVELS[-1])
    body = ((known[:, 1:] + known[:, :-1]) / 2 * np.diff(known_levels)).sum(axis=1)
    usual = (quantiles[:, -1] - quantiles[:, -2]) / np.log((1 - LEVELS[-2]) / (1 - last))
    excess = np.clip((mean - body) / (1 - last) - quantiles[:, -1], _LEAST_TAIL * usual, _MOST_TAIL * usual)
    grid = np.empty((len(quantiles), len(GRID_LEVELS)))
    for column, level in enumerate(GRID_LEVELS):
        if level > last:
            grid[:, column] = quantiles[:, -1] + excess * np.log((1 - last) / (1 - level))
            continue
        above = int(np.searchsorted(known_levels, level - 1e-9))
        share = (level - known_levels[above - 1]) / (known_levels[above] - known_levels[above - 1])
        grid[:, column] = known[:, above - 1] + share * (known[:, above] - known[:, above - 1])
    grid[:, IN_GRID] = quantiles
    rising: Array = np.maximum.accumulate(grid, axis=1)
    return rising


def plain_names(names: Iterable[str]) -> list[str]:
    """Feature names that LightGBM stores: it refuses what JSON keeps for itself, and blanks."""
    return [re.sub(r"[^0-9A-Za-z_]", "_", f"{index}_{name}") for index, name in enumerate(names)]


def level_of(name: str) -> dict[str, Any]:
    """LightGBM's objective of a booster.

    A Poisson likelihood of units ÷ scale, weighted by the scale, is that of units: its trees get the sums of units right.
    """
    if name == MEAN:
        return {"objective": "poisson"}
    return {"objective": "quantile", "alpha": float(LEVELS[NAMES.index(name)])}


def _file(name: str) -> str:
    return f"booster-{name}.txt"
