"""What the heads of the text regression answer about a week, and how a distribution of units is read from it.

All speak of units ÷ scale of the seven days of a week, Monday first whichever of them is the first day ahead: a head
learns the shop's week by its bias alone. Quantiles are read as they are; a point gets the spread that
points had on held-back windows; classes are bins of units ÷ scale, read as a distribution; several tasks are quantiles
that know a chance of no sale.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.models.finetuning.heads import ClassHead, Head, Heads, MaeHead, MseHead, QuantileHead
from pipeline.models.networks.likelihoods import Quantiles
from pipeline.models.quantiles import GRID_LEVELS
from pipeline.settings import QUANTILES

Kind = Literal["quantile", "mse", "mae", "cross_entropy", "multi_task"]
Array = NDArray[np.float64]

DAYS = 7
CAP = 20.0
"""Largest units ÷ scale that is learned: an order of 500 pieces by one customer says little about tomorrow."""
EDGES: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, CAP)
"""Upper edges of the classes, in units ÷ scale: nothing sold, up to a quarter of the scale, and so on."""
_SMALL = 0.05
_SHARES = {"units": 1.0, "mean": 0.1, "sold": 0.3, "revenue": 0.1}


def heads_of(kind: Kind, width: int, dropout: float) -> Heads:
    """The heads of a kind.

    Args:
        kind: see `members.text_regression.head`.
        width: length of the pooled vector.
        dropout: of the pooled vector.
    """
    heads: dict[str, Head]
    if kind == "mse":
        heads = {"units": MseHead(width, DAYS)}
    elif kind == "mae":
        heads = {"units": MaeHead(width, DAYS)}
    elif kind == "cross_entropy":
        heads = {"units": ClassHead(width, DAYS, len(EDGES))}
    else:  # the mean of quantiles is not the mean, so it has a head of its own
        heads = {"units": QuantileHead(width, DAYS, QUANTILES), "mean": MseHead(width, DAYS)}
        if kind == "multi_task":
            heads |= {"sold": ClassHead(width, DAYS, 2), "revenue": MseHead(width, DAYS)}
    return Heads(heads, _SHARES, dropout)


def targets_of(heads: Heads, ratio: Tensor, revenue: Tensor) -> dict[str, Tensor]:
    """Targets of each head.

    Args:
        heads: of `heads_of`.
        ratio: (B, 7) units ÷ scale.
        revenue: (B, 7) the same at the prices of the days, relative to that of the night.
    """
    capped = ratio.clamp(max=CAP)
    targets = {"units": capped, "mean": capped, "sold": (ratio > 0).long(), "revenue": revenue.clamp(max=CAP)}
    if isinstance(heads.heads["units"], ClassHead):
        edges = torch.tensor(EDGES, dtype=ratio.dtype, device=ratio.device)
        targets["units"] = torch.searchsorted(edges, capped)
    return {name: targets[name] for name in heads.heads}


@dataclass(frozen=True)
class Reading:
    """How answers of a kind become a distribution.

    Attributes:
        kind: kind of the heads.
        spread: (G,) quantiles at `GRID_LEVELS` of what points missed on held-back windows, ÷ √point.
        bias: mean of the same.
    """

    kind: Kind
    spread: tuple[float, ...] = (0.0,) * len(GRID_LEVELS)
    bias: float = 0.0

    @classmethod
    def learn(cls, kind: Kind, answers: Mapping[str, Tensor], ratio: Tensor, counts: Tensor) -> "Reading":
        """Learn the spread of points from held-back windows; other kinds have one of their own.

        Args:
            kind: kind of the heads.
            answers: of the heads.
            ratio: (B, 7) units ÷ scale that came.
            counts: (B, 7) which of them count.
        """
        if kind not in {"mse", "mae"} or not bool(counts.any()):
            return cls(kind)
        point = _point(answers)
        missed = ((ratio.double().cpu().numpy() - point) / _width(point))[counts.cpu().numpy()]
        spread = np.quantile(missed, GRID_LEVELS)
        return cls(kind, tuple(spread.tolist()), float(missed.mean()) if kind == "mae" else 0.0)

    def read(self, answers: Mapping[str, Tensor], scale: Array) -> tuple[Array, Array]:
        """Distribution of units.

        Args:
            answers: of the heads, for B weeks.
            scale: (B,) scale of the series.

        Returns:
            (B, 7) mean and (B, 7, G) quantiles at `GRID_LEVELS`, non-negative and non-decreasing.
        """
        if self.kind == "cross_entropy":
            mean, grid = _of_classes(torch.softmax(answers["units"].double(), -1).cpu().numpy())
        elif self.kind in {"mse", "mae"}:
            point = _point(answers)
            mean = point + self.bias * _width(point)
            grid = point[..., None] + _width(point)[..., None] * np.array(self.spread)
        else:
            values = answers["units"].double().cpu()
            one = torch.ones(values.shape[:-1], dtype=torch.float64)
            levels = torch.tensor(GRID_LEVELS, dtype=torch.float64)
            grid = Quantiles(values, one, one).quantiles(levels, whole=False).numpy()
            mean = _point(answers, "mean")
            if "sold" in answers:
                unsold = torch.softmax(answers["sold"].double(), -1)[..., 0].cpu().numpy()
                grid = np.where(np.array(GRID_LEVELS) <= unsold[..., None], 0.0, grid)
        units = np.maximum(np.sort(grid, axis=-1), 0.0) * scale[:, None, None]
        return _rounded(np.maximum(mean, 0.0) * scale[:, None]), _rounded(units)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"kind": self.kind, "spread": list(self.spread), "bias": self.bias}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Reading":
        """Undo `to_json`."""
        return cls(stored["kind"], tuple(stored["spread"]), float(stored["bias"]))


def _point(answers: Mapping[str, Tensor], name: str = "units") -> Array:
    found: Array = np.maximum(answers[name].squeeze(-1).double().cpu().numpy(), 0.0)
    return found


def _rounded(values: Array) -> Array:
    """To single precision: kernels differ in the last bit with what stands beside a number."""
    return values.astype(np.float32).astype(np.float64)


def _width(point: Array) -> Array:
    """Counts spread as the root of their mean."""
    width: Array = np.sqrt(np.maximum(point, _SMALL))
    return width


def _of_classes(chance: Array) -> tuple[Array, Array]:
    """Mean and grid of (B, 7, C) chances: evenly spread inside each class, nothing below the first."""
    edges = np.array(EDGES)
    middle = np.concatenate([[0.0], (edges[1:] + edges[:-1]) / 2])
    reached = np.cumsum(chance, axis=-1)
    levels = np.array(GRID_LEVELS)
    place = np.minimum((reached[..., None, :] < levels[:, None]).sum(-1), len(edges) - 1)
    low = np.where(place > 0, edges[np.maximum(place - 1, 0)], 0.0)
    before = np.where(place > 0, np.take_along_axis(reached, np.maximum(place - 1, 0), -1), 0.0)
    within = np.take_along_axis(chance, place, -1)
    share = np.clip((levels - before) / np.maximum(within, 1e-12), 0.0, 1.0)
    return chance @ middle, np.where(place > 0, low + share * (edges[place] - low), 0.0)
