"""The network: an LSTM encoder over the history, an LSTM decoder over the days ahead, a head of six numbers a day."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.models.distribution import PARAMETERS, HurdleLogNormal
from pipeline.models.lstm_features import Batch
from pipeline.models.lstm_spec import LEVELS, FeatureSpec

PRETRAIN_DAYS = (1, 7, 28)
"""Self-supervised targets: the mean of the next k days, at every day of the history."""


@dataclass(frozen=True)
class NetworkSizes:
    """Sizes of the network, stored with it."""

    encoder: int
    step: int
    text: int
    categories: int
    hidden: int
    text_hidden: int = 8
    category_hidden: int = 6
    dropout: float = 0.3
    text_dropout: float = 0.3

    @classmethod
    def of(cls, spec: FeatureSpec, hidden: int) -> "NetworkSizes":
        """Sizes for what a spec reads."""
        return cls(spec.encoder_size, spec.step_size, spec.text_size, len(spec.category_names) + 1, hidden)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


class _SteadyLinear(nn.Linear):
    """A linear layer whose answer for a row does not depend on where the row stands in the batch.

    MKL sums a row in another order near the end of a block when layers are narrow (seen with 8 outputs: 5e-7 apart), and a
    slice of rows must give the bytes of the whole. Forecasts sum in double precision and round once; training does not.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        if self.training or input.is_cuda:
            return super().forward(input)
        bias = None if self.bias is None else self.bias.double()
        return nn.functional.linear(input.double(), self.weight.double(), bias).float()


class Seq2Seq(nn.Module):
    """Encoder LSTM → decoder LSTM → hurdle-lognormal mixture per day."""

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        hidden = sizes.hidden
        self.sizes = sizes
        self.encoder = nn.LSTM(sizes.encoder, hidden, batch_first=True)
        self.decoder = nn.LSTM(sizes.step, hidden, batch_first=True)
        self.levels = nn.Sequential(_SteadyLinear(LEVELS, hidden), nn.SiLU())
        self.category = nn.Embedding(sizes.categories, sizes.category_hidden)
        self.text = _SteadyLinear(sizes.text, sizes.text_hidden) if sizes.text else None
        fused = 2 * hidden + sizes.category_hidden + (sizes.text_hidden if sizes.text else 0)
        self.context = nn.Sequential(_SteadyLinear(fused, hidden), nn.SiLU())
        self.start = _SteadyLinear(hidden, 2 * hidden)
        self.from_decoder = _SteadyLinear(hidden, hidden)
        self.from_step = _SteadyLinear(sizes.step, hidden, bias=False)
        self.from_context = _SteadyLinear(hidden, hidden, bias=False)
        self.head = _SteadyLinear(hidden, PARAMETERS)
        self.next_mean = _SteadyLinear(hidden, len(PRETRAIN_DAYS))
        self.dropout = nn.Dropout(sizes.dropout)
        self.text_dropout = nn.Dropout(sizes.text_dropout)
        nn.init.normal_(self.category.weight, std=0.05)
        # starts at the recent sale rate and order size, and learns what differs from them
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch: Batch) -> HurdleLogNormal:
        """Distributions of each window's days ahead, (B, H)."""
        history = self.encoder(batch.encoder)[1][0][0]
        parts = [history, self.levels(batch.levels), self.text_dropout(self.category(batch.category))]
        if self.text is not None:
            parts.append(torch.tanh(self.text(self.text_dropout(batch.text))))
        context = self.context(self.dropout(torch.cat(parts, 1)))
        hidden, cell = self.start(context).unsqueeze(0).chunk(2, -1)
        decoded = self.decoder(batch.steps, (torch.tanh(hidden).contiguous(), cell.contiguous()))[0]
        mixed = self.from_decoder(decoded) + self.from_step(batch.steps) + self.from_context(context).unsqueeze(1)
        head = self.head(self.dropout(nn.functional.silu(mixed)))
        return HurdleLogNormal.from_head(head, batch.base_logit, batch.base_mu, batch.scale)

    def pretrain(self, encoder: Tensor) -> Tensor:
        """(B, L, K) predictions of log1p(mean of the next k days ÷ scale) at every day of the history."""
        predicted: Tensor = self.next_mean(self.encoder(encoder)[0])
        return predicted
