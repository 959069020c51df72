"""Weeks of series as examples of a fine-tuning: prompts, targets and weights, by number.

An example is a (series, night, week ahead). Nights are drawn as those of the networks are; what a prompt tells and what
scales it is known on its night.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.models.finetuning.backbone import Backbone, padded
from pipeline.models.finetuning.prompts import MAX_TOKENS, Prompts
from pipeline.models.networks.features import Windows
from pipeline.models.networks.loss import window_weights
from pipeline.models.networks.schedule import Sampler
from pipeline.models.networks.spec import FeatureSpec
from pipeline.models.panel import Panel

DAYS = 7
_MOST_EXAMPLES = 8192
_VALIDATION_SERIES = 48
_VALIDATION_WEEKS = 2

Ints = NDArray[np.int64]


def windows_of(panel: Panel) -> Windows:
    """A panel as windows, of which scales and targets are read."""
    return Windows(panel, FeatureSpec.learn(panel, panel.history, DAYS))


@dataclass(frozen=True)
class Weeks:
    """N examples.

    Attributes:
        rows: (N,) series.
        nights: (N,) column of the night.
        ahead: (N,) weeks ahead, from 0.
        scale: (N,) scale of the series as of the night.
        ratio: (N, 7) units ÷ scale of the days of the week, Monday first.
        revenue: (N, 7) the same, at prices relative to that of the night.
        counts: (N, 7) days that count: known by then, and the shop was open.
        weights: (N, 7) their weights.
        tokens: N prompts.
    """

    rows: Ints
    nights: Ints
    ahead: Ints
    scale: NDArray[np.float64]
    ratio: Tensor
    revenue: Tensor
    counts: Tensor
    weights: Tensor
    tokens: list[list[int]]

    @classmethod
    def drawn(cls, panel: Panel, backbone: Backbone, known_days: int, seed: int) -> "Weeks":
        """Examples to learn from: nights drawn evenly, series by the root of their level.

        Args:
            panel: the panel.
            backbone: reads the prompts.
            known_days: days that training may know.
            seed: seed of the draw.
        """
        windows = windows_of(panel)
        sampler = Sampler.of(windows.units, windows.first_sold, known_days)
        random = np.random.default_rng([seed, 41])
        count = int(np.clip(panel.series * known_days // DAYS, 64, _MOST_EXAMPLES))
        rows, nights = sampler.draw(random, count)
        # the week must begin before the known days end, and the calendar knows so many weeks after a night
        most = np.minimum((known_days - 2 - nights) // DAYS + 1, -(-panel.horizon // DAYS))
        ahead = np.floor(random.random(count) * np.maximum(most, 1)).astype(np.int64)
        return cls._of(
            panel, backbone, windows, (rows, nights, ahead), known_days=known_days, undo=sampler.weight[rows]
        )

    @classmethod
    def held_back(cls, panel: Panel, backbone: Backbone, known_days: int) -> "Weeks":
        """The first weeks after the known days of the biggest series.

        Args:
            panel: the panel.
            backbone: reads the prompts.
            known_days: days that training knew; the weeks that follow are validated on.
        """
        windows = windows_of(panel)
        level = windows.sum_units[:, known_days].numpy() + (panel.first_sold >= known_days) * -1e18
        chosen = np.sort(np.argsort(-level, kind="stable")[:_VALIDATION_SERIES])
        weeks = max(1, min(_VALIDATION_WEEKS, (panel.history - known_days) // DAYS))
        rows, ahead = np.repeat(chosen, weeks), np.tile(np.arange(weeks), len(chosen))
        nights = np.full(len(rows), known_days - 1)
        return cls._of(
            panel, backbone, windows, (rows, nights, ahead), known_days=panel.history, undo=np.ones(len(rows))
        )

    @classmethod
    def _of(
        cls,
        panel: Panel,
        backbone: Backbone,
        windows: Windows,
        which: tuple[Ints, Ints, Ints],
        *,
        known_days: int,
        undo: NDArray[np.float64],
    ) -> "Weeks":
        rows, nights, ahead = which
        at_rows, at_nights = torch.as_tensor(rows), torch.as_tensor(nights)
        # column j is weekday j, Monday first, whichever of them the week begins with
        within = (np.arange(DAYS)[None, :] - first_weekday(panel, nights)[:, None]) % DAYS
        leads = torch.as_tensor(DAYS * ahead[:, None] + 1 + within)
        scale = windows.scale(at_rows, at_nights)
        units, counts = windows.targets(at_rows, at_nights, leads, known_days)
        days = (at_nights.unsqueeze(1) + leads).clamp(max=panel.history - 1)
        price = torch.exp(
            windows.log_price[at_rows.unsqueeze(1), days] - windows.log_price[at_rows, at_nights].unsqueeze(1)
        )
        ratio = units / scale.unsqueeze(1)
        return cls(
            rows,
            nights,
            ahead,
            scale.double().numpy(),
            ratio,
            ratio * torch.nan_to_num(price, nan=1.0).clamp(max=4.0),
            counts,
            window_weights(scale, torch.as_tensor(undo), counts),
            prompt_tokens(Prompts(panel), backbone, which, scale.double().numpy()),
        )

    def batch(self, index: NDArray[np.int64], device: str) -> tuple[Tensor, Tensor]:
        """Token ids of some examples, and which of them are there."""
        return padded([self.tokens[i] for i in index], device)


def first_weekday(panel: Panel, nights: Ints) -> Ints:
    """Weekday of the day after each night, 0 for Monday."""
    return (panel.first_day.weekday() + nights + 1) % DAYS


def prompt_tokens(
    prompts: Prompts,
    backbone: Backbone,
    which: tuple[Ints, Ints, Ints],
    scale: NDArray[np.float64],
    *,
    texts: Sequence[str] | None = None,
) -> list[list[int]]:
    """Tokens of prompts; a prompt that is too long loses its beginning, which is the item's text.

    Args:
        prompts: those of the panel.
        backbone: whose tokenizer.
        which: (N,) rows, nights and weeks ahead.
        scale: (N,) scales as of the nights.
        texts: N texts of the items in other words; None: those of the panel.
    """
    said: Sequence[str | None] = [None] * len(scale) if texts is None else texts
    told = [
        prompts.of(int(row), int(night), int(week), float(level), text=text)
        for row, night, week, level, text in zip(*which, scale, said, strict=True)
    ]
    return backbone.tokens(told, MAX_TOKENS, keep_end=True)
