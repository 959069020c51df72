"""Adversarial training (the fast gradient method of Miyato, Dai and Goodfellow 2017): the worst small step of a history.

After the backward pass of the plain loss, the history of each window is moved by epsilon·g ÷ ‖g‖, where g is the gradient of
the loss by the history, and the gradient of the loss there is added before the optimiser's step. Epsilon is relative to the
norm of what is moved, so that it means the same for a slow and a fast seller.

Moved is only what is known inexactly of a day on sale: units and price. Flags, weekdays and closed days are what they are,
and days before an item's first sale stay empty.
"""

from dataclasses import replace

import torch
from torch import Tensor

from pipeline.models.networks.features import OWN_UNITS, Batch


def attentive(batch: Batch) -> Batch:
    """The same windows, whose history keeps the gradient of the next backward pass."""
    return replace(batch, encoder=batch.encoder.detach().requires_grad_())


def moved(batch: Batch, epsilon: float) -> Batch:
    """The windows with each history moved to where the loss rises fastest.

    Args:
        batch: what `attentive` gave, after the backward pass of a loss of it.
        epsilon: length of the step ÷ length of the history's units and prices. A window whose history is empty, or of whose
            history the loss does not depend, stays as it is.
    """
    history, gradient = batch.encoder.detach(), batch.encoder.grad
    if gradient is None:
        raise ValueError("no backward pass has gone through these windows")
    movable = torch.zeros_like(history)
    for column in (OWN_UNITS.units, OWN_UNITS.price):
        movable[..., column] = history[..., OWN_UNITS.alive]
    direction = gradient * movable
    steepness = _length(direction)
    unit = torch.where(steepness > 0, direction / steepness, torch.zeros_like(direction))
    return replace(batch, encoder=history + epsilon * _length(history * movable) * unit)


def _length(values: Tensor) -> Tensor:
    """Euclidean length of each window's values, (B, 1, 1)."""
    length: Tensor = torch.linalg.vector_norm(values, dim=(1, 2), keepdim=True)
    return length
