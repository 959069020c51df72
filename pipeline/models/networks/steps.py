"""A step of a training: the windows that it draws, their loss, and its gradients in as many parts as the memory needs.

Everything random of a step comes from (seed, phase, step), and is drawn for all its windows before they are parted.
"""

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.model_settings import TrainingSettings
from pipeline.models.base import Compute
from pipeline.models.networks.adversarial import attentive, moved
from pipeline.models.networks.augmentation import augmented
from pipeline.models.networks.features import Batch, Windows
from pipeline.models.networks.loss import weighted_loss, window_weights
from pipeline.models.networks.memory import slices
from pipeline.models.networks.network import Network
from pipeline.models.networks.pretraining import PretrainExamples, pretrain_loss
from pipeline.models.networks.schedule import PHASES, Course, Sampler

_DRAWN_LEADS = 12


@dataclass(frozen=True)
class Examples:
    """Windows of a step, and what came of them.

    Attributes:
        batch: B windows.
        units: (B, H) units sold.
        weights: (B, H) weights of their days.
        total: days of all windows of the step that count.
    """

    batch: Batch
    units: Tensor
    weights: Tensor
    total: Tensor

    def part(self, rows: slice) -> "Examples":
        """Some of the windows; their losses add up to that of all."""
        return Examples(self.batch.part(rows), self.units[rows], self.weights[rows], self.total)


class Steps:
    """The steps of one training."""

    def __init__(
        self, network: Network, windows: Windows, settings: TrainingSettings, compute: Compute, course: Course
    ) -> None:
        """What `Training` was given."""
        self.network, self.windows, self.settings, self.compute, self.course = (
            network, windows, settings, compute, course,
        )  # fmt: skip
        self._samplers: dict[tuple[int, int], Sampler] = {}

    def gradients(self, phase: str, step: int, known: int, parts: int) -> float:
        """Leave the gradients of a step in the weights.

        Args:
            phase: of `PHASES`.
            step: number of the step in it.
            known: days that the step may know.
            parts: parts to compute it in, one after the other.

        Returns:
            The loss of its windows; not finite where the gradients are of no use.
        """
        # each update draws other windows than the one before it
        salt = [self.windows.days] if self.course.is_update else []
        generator = np.random.default_rng([self.settings.seed, PHASES.index(phase), step, *salt])
        torch.manual_seed(int(generator.integers(2**31)))
        rows, nights = self._draw(known, generator)
        leads = self._leads(step, len(rows), generator)
        self.network.train()
        self.network.zero_grad(set_to_none=True)
        loss = 0.0
        if phase == "pretrain":
            series = PretrainExamples.of(self.windows, rows, nights, known_days=known, generator=generator)
            for some in slices(len(rows), parts):
                loss += self._learn_series(series.part(some), series)
        else:
            demand = self._examples(rows, nights, leads, known, generator)
            for some in slices(len(rows), parts):
                loss += self._learn_demand(demand.part(some))
        return loss

    def precision(self) -> AbstractContextManager[Any]:
        """The context that the network computes in."""
        on = self.compute.mixed_precision and self.compute.device.startswith("cuda")
        return torch.autocast(self.compute.device.split(":")[0], dtype=torch.bfloat16, enabled=on)

    def _learn_series(self, part: PretrainExamples, whole: PretrainExamples) -> float:
        with self.precision():
            loss = pretrain_loss(self.network, part, whole)
        return _backward(loss)

    def _learn_demand(self, part: Examples) -> float:
        epsilon = self.settings.adversarial
        batch = attentive(part.batch) if epsilon else part.batch
        value = _backward(self._loss(batch, part))
        if epsilon and math.isfinite(value):
            _backward(self._loss(moved(batch, epsilon), part))
        return value

    def _loss(self, batch: Batch, examples: Examples) -> Tensor:
        """Loss of the likelihood of windows, weighted by the root of the scale."""
        with self.precision():
            return weighted_loss(self.network(batch), batch, examples.units, examples.weights) / examples.total

    def _examples(
        self, rows: Tensor, nights: Tensor, leads: Tensor, known: int, generator: np.random.Generator
    ) -> Examples:
        batch = augmented(self.windows.cut(rows, nights, leads), self.settings.augmentation, generator)
        units, counts = self.windows.targets(rows, nights, leads, known)
        undo = torch.as_tensor(self._sampler(known).weight, device=rows.device)[rows]
        weights = window_weights(batch.scale.squeeze(1), undo, counts)
        return Examples(batch, units, weights, counts.sum().clamp(min=1))

    def _draw(self, known: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        size = self.settings.batch_size
        rows, nights = self._sampler(known).draw(generator, size)
        if self.course.is_update:
            fresh = size - round(self.course.replay_share * size)
            newest = self._sampler(known, self.course.fresh_from(known)).draw(generator, fresh)
            rows, nights = (np.concatenate([new, old[fresh:]]) for new, old in zip(newest, (rows, nights), strict=True))
        device = self.compute.device
        return torch.as_tensor(rows, device=device), torch.as_tensor(nights, device=device)

    def _sampler(self, known: int, from_night: int = 0) -> Sampler:
        at = (known, from_night)
        if at not in self._samplers:
            self._samplers[at] = Sampler.of(self.windows.units, self.windows.first_sold, known, from_night)
        return self._samplers[at]

    def _leads(self, step: int, windows: int, generator: np.random.Generator) -> Tensor:
        """Leads that a step learns from; near days come up most, for they count most."""
        horizon = self.windows.ahead
        if self.network.sequential:
            # half of the steps decode a third of the horizon: cheaper too
            near = min(horizon, max(horizon // 3, 28))
            return self.windows.leads(horizon if step % 2 == 0 else near)
        drawn = np.ceil(horizon * generator.random((windows, _DRAWN_LEADS)) ** 2).clip(1)
        return torch.as_tensor(drawn.astype(np.int64), device=self.compute.device)


def _backward(loss: Tensor) -> float:
    """Add the gradients of a loss where it is a number; its value."""
    value = float(loss.detach())
    if math.isfinite(value):
        torch.autograd.backward(loss)
    return value
