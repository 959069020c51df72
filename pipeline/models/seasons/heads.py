"""The tasks that are learned of a text: shares of the year, events, level; all on one vector."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.models.finetuning.heads import Head, Heads, MseHead
from pipeline.models.launches.facts import MONTHS

SHARES, EVENTS, LEVEL = "month_shares", "events", "level"
_WEIGHTS = {SHARES: 3.0, EVENTS: 0.5, LEVEL: 0.1}


class SharesHead(Head):
    """Shares of the months of a year, as what is added to the log of the shop's own; soft cross-entropy."""

    kind: ClassVar[str] = "shares"

    def __init__(self, width: int) -> None:
        """See `Head`."""
        super().__init__(width, 1, MONTHS)

    def loss(self, answer: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Cross-entropy of (B, 1, 12) answers.

        Args:
            answer: what is added to the log of the shop's shares.
            targets: (B, 2, 12) the item's shares, and the shop's on the same days; zero where unknown.
            weights: (B, 1).
        """
        shares, base = targets.unbind(1)
        known = base > 0
        logits = (answer[:, 0] + base.clamp(min=1e-9).log()).masked_fill(~known, -torch.inf)
        log_shares = logits.log_softmax(-1).masked_fill(~known, 0.0)
        return (-(shares * log_shares).sum(-1) * weights[:, 0]).sum()


class EventsHead(Head):
    """Whether an item sells for each event: independent yes or no."""

    kind: ClassVar[str] = "events"

    def loss(self, answer: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Binary cross-entropy."""
        each = functional.binary_cross_entropy_with_logits(answer.squeeze(-1), targets, reduction="none")
        return (each * weights).sum()


def season_heads(width: int, events: int, dropout: float) -> Heads:
    """All tasks; without events that of events is left out."""
    heads: dict[str, Head] = {SHARES: SharesHead(width), LEVEL: MseHead(width, 1)}
    if events:
        heads[EVENTS] = EventsHead(width, events)
    return Heads(heads, _WEIGHTS, dropout)
