"""What a network learns from series alone, without any target of its task: its encoder's self-supervised losses.

Three of them (see `PRETRAIN_DAYS` for the first two): the next day, the mean of the next k days, and spans of the history
that were masked. A causal encoder answers the first two at every day of the history; another one has seen the days after
all states but its last, and answers there.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.models.networks.features import OWN_UNITS, Windows
from pipeline.models.networks.network import PRETRAIN_DAYS, Network

MASKED_SHARE = 0.25
"""Share of the history that is masked, in spans."""
_SPAN_DAYS = 7


@dataclass(frozen=True)
class PretrainExamples:
    """What B windows of L days of history ask an encoder.

    Attributes:
        encoder: (B, L, encoder_size) days of history.
        targets: (B, L, K) log1p of the mean of the next k days ÷ scale.
        counts: (B, L, K) which of them count.
        hidden: (B, L) days that are masked.
    """

    encoder: Tensor
    targets: Tensor
    counts: Tensor
    hidden: Tensor

    @classmethod
    def of(
        cls, windows: Windows, rows: Tensor, nights: Tensor, *, known_days: int, generator: np.random.Generator
    ) -> "PretrainExamples":
        """The examples of some windows.

        Args:
            windows: the panel as windows.
            rows: (B,) series.
            nights: (B,) nights.
            known_days: days that training may know.
            generator: draws the spans.
        """
        encoder, targets, counts = windows.next_means(rows, nights, PRETRAIN_DAYS, known_days)
        batch, days, _ = encoder.shape
        spans = -(-days // _SPAN_DAYS)
        drawn = np.repeat(generator.random((batch, spans)) < MASKED_SHARE, _SPAN_DAYS, axis=1)[:, -days:]
        return cls(encoder, targets, counts, torch.as_tensor(drawn, device=encoder.device))

    def part(self, rows: slice) -> "PretrainExamples":
        """Some of the windows."""
        return PretrainExamples(self.encoder[rows], self.targets[rows], self.counts[rows], self.hidden[rows])

    @property
    def asked(self) -> Tensor:
        """(B, L) masked days that are asked about: those since the first sale."""
        return self.hidden & (self.encoder[..., OWN_UNITS.alive] > 0)


def pretrain_loss(network: Network, part: PretrainExamples, whole: PretrainExamples) -> Tensor:
    """Sum of the losses over some windows; those of the parts of a whole add up to the loss of the whole.

    Args:
        network: what is trained.
        part: the windows.
        whole: all windows of the step.
    """
    return _next(network, part, whole) + _masked(network, part, whole)


def _next(network: Network, part: PretrainExamples, whole: PretrainExamples) -> Tensor:
    states = network.states(part.encoder)
    if network.causal:
        at = torch.arange(states.shape[1], device=states.device) * network.stretch + network.stretch - 1
    else:
        states, at = states[:, -1:], torch.tensor([part.encoder.shape[1] - 1], device=states.device)
    error = functional.smooth_l1_loss(network.next_mean(states).float(), part.targets[:, at], reduction="none")
    return _mean(error, part.counts[:, at], whole.counts[:, at])


def _masked(network: Network, part: PretrainExamples, whole: PretrainExamples) -> Tensor:
    encoder = part.encoder
    batch, days, _ = encoder.shape
    seen = encoder.clone()
    for column in (OWN_UNITS.units, OWN_UNITS.sold, OWN_UNITS.price):
        seen[..., column] = seen[..., column].masked_fill(part.hidden, 0.0)
    states = network.states(seen)
    told = network.masked(states).float().reshape(batch, -1, 2)[:, -days:]
    units = functional.smooth_l1_loss(told[..., 0], encoder[..., OWN_UNITS.units], reduction="none")
    sold = functional.binary_cross_entropy_with_logits(told[..., 1], encoder[..., OWN_UNITS.sold], reduction="none")
    return _mean(units + 0.5 * sold, part.asked, whole.asked)


def _mean(error: Tensor, counts: Tensor, all_counts: Tensor) -> Tensor:
    mean: Tensor = (error * counts).sum() / all_counts.sum().clamp(min=1)
    return mean
