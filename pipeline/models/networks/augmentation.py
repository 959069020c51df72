"""Series augmentation: other histories that the same days ahead could have followed, for the windows of a training step.

After Um et al. 2017 (jitter, scaling) and Le Guennec et al. 2016 (window warping). Only the history that the encoder reads
is changed: level features, base rates, scale and targets stay what they were, so the network learns to take a series' height
from them, which are exact, and its shape from a history that is told less exactly. To change them all by one factor would
teach nothing, for a network reads everything as a share of the scale.

What belongs to a day stays together. A day without sales keeps none and a day with sales keeps some, so the flag of a sale
stays true. Warping moves whole weeks: a Saturday's sales, price and promotion land on another Saturday, and a closed day
sells nothing. The newest and the oldest week stay where they are.

Everything random is drawn from the generator of the step; what is off draws nothing.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.model_settings import AugmentationSettings
from pipeline.models.networks.features import OWN_UNITS, Batch

WEEK = 7
_CLOSED = len(OWN_UNITS)
_SHOP = slice(_CLOSED, _CLOSED + 1 + WEEK)
"""Columns of a day of history that are the shop's, not the series': closed, and the weekday (`Windows`)."""
_FACTOR = 2.0
"""A stretch is at most so many times as long, or as short."""


def augmented(batch: Batch, settings: AugmentationSettings, generator: np.random.Generator) -> Batch:
    """The windows of a training step with changed histories; the same object where all is off.

    Args:
        batch: B windows of L days of history.
        settings: how much of what.
        generator: that of the step.
    """
    encoder = batch.encoder
    windows, days, _ = encoder.shape
    if settings.warping:
        encoder = _warped(encoder, settings.warping, generator)
    if settings.scaling:
        encoder = _multiplied(encoder, _factors(settings.scaling, (windows, 1), generator))
    if settings.jitter:
        encoder = _multiplied(encoder, _factors(settings.jitter, (windows, days), generator))
    return batch if encoder is batch.encoder else replace(batch, encoder=encoder)


def source_days(days: int, windows: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Which day of the history each day of a warped one shows, (B, L): one of the same weekday; weeks stay in their order.

    One stretch, of a quarter to three eighths of the weeks, becomes a third longer to twice as long, or as much shorter, and the older weeks
    make room. Whole weeks are repeated or left out, rather than averaged, so that a slow seller's sales stay as rare and as
    large; a history of four weeks has hardly any to give.

    Args:
        days: L.
        windows: B.
        generator: draws place, length and factor of the stretch.
    """
    place, length, power, longer = generator.random((4, windows, 1))
    last = -(-days // WEEK) - 1
    if last < 1:
        return np.tile(np.arange(days), (windows, 1))
    # in weeks back from the night
    week = np.arange(last + 1)[None, :]
    factor = _FACTOR ** ((0.4 + 0.6 * power) * np.where(longer < 0.5, 1, -1))
    begin = place * last / 4
    end = begin + (2 + length) * last / 8
    end_shows = begin + (end - begin) * factor
    inside = begin + (week - begin) * factor
    beyond = end_shows + (week - end) * (last - end_shows) / (last - end)
    shown = np.where(week <= begin, week, np.where(week <= end, inside, beyond))
    nearest = np.clip(np.floor(shown + 0.5), 0, last).astype(np.int64)
    back = np.arange(days)
    source = WEEK * nearest[:, back // WEEK] + back % WEEK
    # the oldest week may have begun before the history
    source = np.where(source > days - 1, source - WEEK, source)
    return days - 1 - source[:, ::-1]


def _warped(encoder: Tensor, share: float, generator: np.random.Generator) -> Tensor:
    windows, days, columns = encoder.shape
    chosen = generator.random(windows) < share
    source = torch.as_tensor(source_days(days, windows, generator), device=encoder.device)
    moved = encoder.gather(1, source.unsqueeze(2).expand(-1, -1, columns))
    moved[..., _SHOP] = encoder[..., _SHOP]
    for column in (OWN_UNITS.units, OWN_UNITS.sold):
        moved[..., column] = moved[..., column] * (encoder[..., _CLOSED] < 0.5)
    return torch.where(torch.as_tensor(chosen, device=encoder.device)[:, None, None], moved, encoder)


def _multiplied(encoder: Tensor, factor: NDArray[Any]) -> Tensor:
    """Units times a factor, (B, L or 1)."""
    out = encoder.clone()
    units = torch.expm1(encoder[..., OWN_UNITS.units])
    out[..., OWN_UNITS.units] = torch.log1p(units * torch.as_tensor(factor, dtype=units.dtype, device=units.device))
    return out


def _factors(spread: float, shape: tuple[int, int], generator: np.random.Generator) -> NDArray[Any]:
    """Log-normal factors of mean 1, so that a sum over many days is what it was."""
    return np.exp(spread * generator.standard_normal(shape) - 0.5 * spread**2)
