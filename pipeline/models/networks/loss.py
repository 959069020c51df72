"""What training makes small: the loss of a likelihood, weighted by series, and by which orders count in full."""

import torch
from torch import Tensor

from pipeline.models.networks.features import Batch
from pipeline.models.networks.likelihoods import Likelihood

_CLAMP = 20.0
_CLAMP_ORDERS = 6.0


def window_weights(scale: Tensor, undo: Tensor, counts: Tensor) -> Tensor:
    """Weights of the days of windows, (B, H): by the root of the scale, 1 on average over the windows.

    Args:
        scale: (B,) scale of each window's series.
        undo: (B,) what undoes the chance of its draw.
        counts: (B, H) days that count.
    """
    weight = torch.sqrt(scale.unsqueeze(1)) * undo.unsqueeze(1).float()
    weights: Tensor = weight / weight.mean() * counts
    return weights


def weighted_loss(likelihood: Likelihood, batch: Batch, units: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of the loss of windows.

    Args:
        likelihood: what the network says of them.
        batch: the windows.
        units: (B, H) units sold.
        weights: (B, H) weights, see `window_weights`.
    """
    # an order of 500 pieces by one customer says little about tomorrow; a rare seller's usual order must fit in
    cap = torch.maximum(_CLAMP * batch.scale, _CLAMP_ORDERS * torch.exp(batch.base_mu) * batch.scale)
    capped = torch.where(units > 0, torch.minimum(units, cap).clamp(min=1.0), units)
    loss: Tensor = (likelihood.loss(capped) * weights).sum()
    return loss
