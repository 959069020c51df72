"""The rules of a training: how many steps, which windows, which rate, how much validates, what moves together."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.model_settings import TrainingSettings
from pipeline.models.base import Dependence
from pipeline.models.history import validation_days as validation_days  # noqa: PLC0414 - known by this name here, too
from pipeline.models.panel import Panel

PHASES = ("pretrain", "validate", "refit")

_PER_NIGHT, _FEWEST_STEPS = 4, 50
"""Most windows of a training for each night of a series: of 30 items of Online Retail II, four times, 1,500 steps had a WQL of .748,
285 of .744 in a fifth of the time."""
_WARM_UP = 0.15
_FIRST_NIGHT = 27
_LAST_TARGETS = 7
_REFIT_SHARE = 0.35
_REFIT_RATE = 0.5
_UPDATE_RATE = 0.3
_UPDATE_REFIT_SHARE = 0.5
_FRESH_DAYS = 28
"""A window is fresh when one of its first days ahead is new: with all 91, a quarter of a year of nights would be."""


def steps_for(history: int, max_steps: int) -> int:
    """Fine-tuning steps that a history can bear: 450 up to a year, rising to 1,500 at 1.4 years and 3,000 at 3.

    After EVIDENCE.md: training length must match the history, 400 to 600 steps below a year.
    """
    steps = np.interp(history, [120, 365, 511, 1095], [250, 450, 1500, 3000])
    return int(min(round(float(steps)), max_steps))


def steps_of_nights(nights: int, batch_size: int) -> int:
    """Steps after which the nights of all series have been seen so often that more of them teach nothing."""
    return max(_FEWEST_STEPS, round(_PER_NIGHT * nights / batch_size))


@dataclass(frozen=True)
class Course:
    """What one training does: a new network, or an update of one that has seen all days but the last.

    Attributes:
        steps: most steps of each phase.
        rate: peak of the one-cycle schedule of each phase.
        validation_days: days held back in the first phases.
        new_from: column of the first day that the start of an update has not seen; None for a new network.
        replay_share: share of an update's windows that is drawn from all nights.
        pretrained: the network comes with an encoder that was pretrained before.
    """

    steps: Mapping[str, int]
    rate: Mapping[str, float]
    validation_days: int
    new_from: int | None = None
    replay_share: float = 1.0
    pretrained: bool = False

    @property
    def is_update(self) -> bool:
        """It goes on from an older network."""
        return self.new_from is not None

    @classmethod
    def full(cls, settings: TrainingSettings, panel: Panel) -> "Course":
        """A new network: pretraining, as many steps as the history and the number of series can bear, then the last days."""
        enough = steps_of_nights(panel.series * panel.history, settings.batch_size)
        steps, rate = min(steps_for(panel.history, settings.max_steps), enough), settings.learning_rate
        return cls(
            {"pretrain": settings.pretrain_steps, "validate": steps, "refit": round(_REFIT_SHARE * steps)},
            {"pretrain": rate, "validate": rate, "refit": _REFIT_RATE * rate},
            validation_days(panel.history, settings.validation_days, panel.horizon),
        )

    @classmethod
    def update(cls, settings: TrainingSettings, history: int, horizon: int, unseen: int) -> "Course":
        """An update: few steps at a low rate, validated on the days that the start has not seen, then learning them too.

        Args:
            settings: steps, rates and the share of replay.
            history: days of history.
            horizon: days ahead.
            unseen: days of history that the start has not seen.
        """
        rate = _UPDATE_RATE * settings.learning_rate
        refit = max(1, round(_UPDATE_REFIT_SHARE * settings.update_steps))
        return cls(
            {"pretrain": 0, "validate": settings.update_steps - refit, "refit": refit},
            {"pretrain": 0.0, "validate": rate, "refit": rate},
            min(unseen, validation_days(history, settings.validation_days, horizon)),
            new_from=history - unseen,
            replay_share=settings.replay_share,
        )

    def without_pretraining(self) -> "Course":
        """The same for a network whose encoder is pretrained."""
        return replace(self, steps={**self.steps, "pretrain": 0}, pretrained=True)

    def fresh_from(self, known_days: int) -> int:
        """Column of the first night of an update's fresh windows, with so many days known.

        Their first targets reach into the days that the start has not seen. While those are held back, the days before
        them stand in their place: the phase then rehearses on older days what the refit does with the new ones.
        """
        new = min(self.new_from or 0, known_days - self.validation_days)
        return max(0, new - _FRESH_DAYS)


@dataclass(frozen=True)
class Sampler:
    """Draws training windows: series by the root of their level, nights evenly.

    Attributes:
        rows: series that have a window.
        first: first night of each of them.
        last: last night.
        chance: chance of each of them.
        weight: (S,) weight that undoes the chance, by series.
    """

    rows: NDArray[np.int64]
    first: NDArray[np.int64]
    last: int
    chance: NDArray[np.float64]
    weight: NDArray[np.float64]

    @classmethod
    def of(cls, units: Tensor, first_sold: Tensor, known_days: int, from_night: int = 0) -> "Sampler":
        """Sampler of windows whose night and first targets lie in the first `known_days`, none before `from_night`."""
        start = first_sold.cpu().numpy()
        last = known_days - 1 - min(_LAST_TARGETS, known_days // 4)
        first = np.minimum(np.maximum(start + 6, max(min(_FIRST_NIGHT, known_days // 2), from_night)), last)
        rows = np.flatnonzero(start < last)
        if not len(rows):
            raise ModelError("no series has enough days to train on: every item was first sold in the last week")
        level = units[:, :known_days].sum(1).cpu().numpy() / np.maximum(known_days - start, 1) + 0.1
        chance = np.sqrt(level[rows])
        return cls(rows, first, last, chance / chance.sum(), 1 / np.sqrt(level))

    def draw(self, generator: np.random.Generator, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """`count` windows: series, and column of the night."""
        rows = generator.choice(self.rows, count, p=self.chance)
        first = self.first[rows]
        return rows, first + np.floor(generator.random(count) * (self.last - first + 1)).astype(np.int64)


def one_cycle(step: int, steps: int, peak: float) -> float:
    """Learning rate of a step: a short cosine up from peak/25, a long cosine down to almost nothing."""
    warm_up = max(1, round(_WARM_UP * steps))
    if step < warm_up:
        low, high, share = peak / 25, peak, step / warm_up
    else:
        low, high, share = peak, peak * 1e-4, (step - warm_up) / max(1, steps - 1 - warm_up)
    return high + (low - high) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def dependence_of(scores: NDArray[Any], known: NDArray[np.bool_]) -> Dependence:
    """Item and market share of normal scores, by the mean product of pairs of days and pairs of series.

    Args:
        scores: (S, D) normal scores of validation residuals.
        known: (S, D) which of them count.
    """
    score = np.where(known, scores - scores[known].mean() if known.any() else 0.0, 0.0).astype(np.float64)
    count = known.astype(np.float64)
    variance = (score**2).sum() / max(count.sum(), 1.0)

    def pairs(axis: int) -> float:
        products = (score.sum(axis) ** 2 - (score**2).sum(axis)).sum()
        number = (count.sum(axis) ** 2 - (count**2).sum(axis)).sum()
        return float(products / number / variance) if number > 0 and variance > 0 else 0.0

    item, market = pairs(1), pairs(0)
    return Dependence(item=float(np.clip(item, 0.0, 0.6)), market=float(np.clip(market, 0.0, 0.3)))


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Run with so many CPU threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)
