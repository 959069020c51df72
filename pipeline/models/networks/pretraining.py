"""What a network learns from series alone, without any target of its task: its encoder's self-supervised losses.

Three of them (see `PRETRAIN_DAYS` for the first two): the next day, the mean of the next k days, and spans of the history
that were masked. A causal encoder answers the first two at every day of the history; another one has seen the days after
all states but its last, and answers there.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.models.networks.features import OWN_UNITS, Windows
from pipeline.models.networks.network import PRETRAIN_DAYS, Network

MASKED_SHARE = 0.25
"""Share of the history that is masked, in spans."""
_SPAN_DAYS = 7


def pretrain_loss(
    network: Network,
    windows: Windows,
    rows: Tensor,
    nights: Tensor,
    *,
    known_days: int,
    generator: np.random.Generator,
) -> Tensor:
    """Sum of the losses over some windows.

    Args:
        network: what is trained.
        windows: the panel as windows.
        rows: (B,) series.
        nights: (B,) nights.
        known_days: days that training may know.
        generator: draws the spans.
    """
    encoder, targets, counts = windows.next_means(rows, nights, PRETRAIN_DAYS, known_days)
    return _next(network, encoder, targets, counts) + _masked(network, encoder, generator)


def _next(network: Network, encoder: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
    states = network.states(encoder)
    if network.causal:
        at = torch.arange(states.shape[1], device=states.device) * network.stretch + network.stretch - 1
    else:
        states, at = states[:, -1:], torch.tensor([encoder.shape[1] - 1], device=states.device)
    error = functional.smooth_l1_loss(network.next_mean(states).float(), targets[:, at], reduction="none")
    return _mean(error, counts[:, at])


def _masked(network: Network, encoder: Tensor, generator: np.random.Generator) -> Tensor:
    batch, days, _ = encoder.shape
    spans = -(-days // _SPAN_DAYS)
    drawn = np.repeat(generator.random((batch, spans)) < MASKED_SHARE, _SPAN_DAYS, axis=1)[:, -days:]
    hidden = torch.as_tensor(drawn, device=encoder.device)
    alive = encoder[..., OWN_UNITS.alive] > 0
    seen = encoder.clone()
    for column in (OWN_UNITS.units, OWN_UNITS.sold, OWN_UNITS.price):
        seen[..., column] = seen[..., column].masked_fill(hidden, 0.0)
    states = network.states(seen)
    told = network.masked(states).float().reshape(batch, -1, 2)[:, -days:]
    counts = hidden & alive
    units = functional.smooth_l1_loss(told[..., 0], encoder[..., OWN_UNITS.units], reduction="none")
    sold = functional.binary_cross_entropy_with_logits(told[..., 1], encoder[..., OWN_UNITS.sold], reduction="none")
    return _mean(units + 0.5 * sold, counts)


def _mean(error: Tensor, counts: Tensor) -> Tensor:
    mean: Tensor = (error * counts).sum() / counts.sum().clamp(min=1)
    return mean
