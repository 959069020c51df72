"""What all networks share: context of an item, a per-day head, and what is learned from series alone.

A network encodes the history of a window into states, one per stretch of days; fuses the last of them with level
features, category and text into a context; decodes the days ahead from context and known future; and ends in a
likelihood per day. An architecture says how it encodes and decodes, one file each beside this room.
"""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pipeline.models.networks.features import Batch
from pipeline.models.networks.likelihoods import LIKELIHOODS, Likelihood
from pipeline.models.networks.spec import LEVELS, FeatureSpec

PRETRAIN_DAYS = (1, 7, 28)
"""Self-supervised targets: the next day, and the mean of the next k days."""


@dataclass(frozen=True)
class NetworkSizes:
    """Sizes of a network, stored with it."""

    encoder: int
    step: int
    text: int
    categories: int
    hidden: int
    history_days: int = 112
    text_hidden: int = 8
    category_hidden: int = 6
    dropout: float = 0.3
    text_dropout: float = 0.3

    @classmethod
    def of(cls, spec: FeatureSpec, hidden: int, dropout: float) -> "NetworkSizes":
        """Sizes for what a spec reads."""
        return cls(
            encoder=spec.encoder_size,
            step=spec.step_size,
            text=spec.text_size,
            categories=len(spec.category_names) + 1,
            hidden=hidden,
            history_days=spec.history_days,
            dropout=dropout,
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


class SteadyLinear(nn.Linear):
    """A linear layer whose answer for a row does not depend on where the row stands in the batch.

    MKL sums a row in another order near the end of a block when layers are narrow (seen with 8 outputs: 5e-7 apart), and a
    slice of rows must give the bytes of the whole. Forecasts sum in double precision and round once; training does not.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002, D102 - of torch
        if self.training or input.is_cuda:
            return super().forward(input)
        bias = None if self.bias is None else self.bias.double()
        return nn.functional.linear(input.double(), self.weight.double(), bias).float()


class Network(nn.Module):
    """A network of the house; see the module.

    Attributes:
        kind: name of the architecture.
        likelihood: what the head's numbers mean, by name.
        causal: a state has seen only the days up to its own.
        widening: width of its layers by `training.hidden`: plain layers cost little.
        sequential: days ahead are decoded one after the other, so that they are trained as a whole.
    """

    kind: ClassVar[str]
    likelihood: ClassVar[str] = "hurdle"
    causal: ClassVar[bool] = False
    sequential: ClassVar[bool] = False
    widening: ClassVar[int] = 1

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        hidden = sizes.hidden
        self.sizes = sizes
        self.levels = nn.Sequential(SteadyLinear(LEVELS, hidden), nn.SiLU())
        self.category = nn.Embedding(sizes.categories, sizes.category_hidden)
        self.text = SteadyLinear(sizes.text, sizes.text_hidden) if sizes.text else None
        fused = 2 * hidden + sizes.category_hidden + (sizes.text_hidden if sizes.text else 0)
        self.context = nn.Sequential(SteadyLinear(fused, hidden), nn.SiLU())
        self.from_step = SteadyLinear(sizes.step, hidden, bias=False)
        self.from_context = SteadyLinear(hidden, hidden, bias=False)
        self.head = SteadyLinear(hidden, LIKELIHOODS[self.likelihood].parameters)
        self.next_mean = SteadyLinear(hidden, len(PRETRAIN_DAYS))
        self.masked = SteadyLinear(hidden, 2 * self.stretch)
        self.dropout = nn.Dropout(sizes.dropout)
        self.text_dropout = nn.Dropout(sizes.text_dropout)
        nn.init.normal_(self.category.weight, std=0.05)
        # starts at the recent sale rate and order size, and learns what differs from them
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    @property
    def stretch(self) -> int:
        """Days that one state stands for."""
        raise NotImplementedError

    def states(self, encoder: Tensor) -> Tensor:
        """(B, L, encoder_size) days of history → (B, L ÷ stretch, hidden) states."""
        raise NotImplementedError

    def decode(self, context: Tensor, steps: Tensor) -> Tensor:
        """(B, hidden) context and (B, H, step_size) days ahead → (B, H, hidden)."""
        raise NotImplementedError

    def encoder_parts(self) -> tuple[str, ...]:
        """Prefixes of the weights that pretraining learns: the encoder."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Likelihood:
        """Likelihoods of each window's days ahead, (B, H)."""
        history = self.states(batch.encoder)[:, -1]
        parts = [history, self.levels(batch.levels), self.text_dropout(self.category(batch.category))]
        if self.text is not None:
            parts.append(torch.tanh(self.text(self.text_dropout(batch.text))))
        context = self.context(self.dropout(torch.cat(parts, 1)))
        decoded = self.decode(context, batch.steps)
        mixed = decoded + self.from_step(batch.steps) + self.from_context(context).unsqueeze(1)
        head = self.head(self.dropout(nn.functional.silu(mixed)))
        return LIKELIHOODS[self.likelihood].from_head(head, batch.base_logit, batch.base_mu, batch.scale)
