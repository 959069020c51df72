"""A Transformer over patches: the history cut into weeks, each a token (after PatchTST, Nie et al. 2023)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from pipeline.models.networks.network import Network, NetworkSizes, SteadyLinear

PATCH_DAYS = 7
_LAYERS = 2
_HEADS = 4


class PatchTransformer(Network):
    """Encoder over weekly patches, newest last; days ahead are decoded one by one from the context."""

    kind: ClassVar[str] = "transformer"

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__(sizes)
        hidden = sizes.hidden
        patches = -(-sizes.history_days // PATCH_DAYS)
        self.embed = SteadyLinear(PATCH_DAYS * sizes.encoder, hidden)
        self.place = nn.Parameter(torch.zeros(patches, hidden))
        self.blocks = nn.ModuleList(_Block(hidden, sizes.dropout) for _ in range(_LAYERS))
        self.norm = nn.LayerNorm(hidden)
        self.mix = nn.Sequential(
            SteadyLinear(hidden + sizes.step, 2 * hidden), nn.SiLU(), SteadyLinear(2 * hidden, hidden)
        )
        nn.init.normal_(self.place, std=0.02)

    @property
    def stretch(self) -> int:
        """A state a week."""
        return PATCH_DAYS

    def encoder_parts(self) -> tuple[str, ...]:
        """See `Network`."""
        return ("embed.", "place", "blocks.", "norm.")

    def states(self, encoder: Tensor) -> Tensor:
        """See `Network`; days that do not fill the oldest week are filled up with nothing."""
        batch, days, size = encoder.shape
        missing = -days % PATCH_DAYS
        filled = nn.functional.pad(encoder, (0, 0, missing, 0))
        tokens = self.embed(filled.reshape(batch, (days + missing) // PATCH_DAYS, PATCH_DAYS * size)) + self.place
        for block in self.blocks:
            tokens = block(tokens)
        states: Tensor = self.norm(tokens)
        return states

    def decode(self, context: Tensor, steps: Tensor) -> Tensor:
        """See `Network`."""
        decoded: Tensor = self.mix(torch.cat([context.unsqueeze(1).expand(-1, steps.shape[1], -1), steps], 2))
        return decoded


class _Block(nn.Module):
    """Attention and feed-forward, normalised before each."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = _HEADS if hidden % _HEADS == 0 else 1
        self.before_attention, self.before_feed = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.attend, self.merge = SteadyLinear(hidden, 3 * hidden), SteadyLinear(hidden, hidden)
        self.feed = nn.Sequential(SteadyLinear(hidden, 2 * hidden), nn.GELU(), SteadyLinear(2 * hidden, hidden))
        self.dropout = nn.Dropout(0.5 * dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, length, hidden = tokens.shape
        parts = self.attend(self.before_attention(tokens)).reshape(batch, length, 3, self.heads, hidden // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.dropout(self.merge(attended.transpose(1, 2).reshape(batch, length, hidden)))
        fed: Tensor = tokens + self.dropout(self.feed(self.before_feed(tokens)))
        return fed
