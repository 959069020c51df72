"""The LSTM sequence-to-sequence network: an LSTM over the history, another over the days ahead."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from pipeline.models.networks.network import Network, NetworkSizes, SteadyLinear


class Seq2Seq(Network):
    """Encoder LSTM → decoder LSTM, started from the context."""

    kind: ClassVar[str] = "lstm"
    causal: ClassVar[bool] = True
    sequential: ClassVar[bool] = True

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__(sizes)
        hidden = sizes.hidden
        self.encoder = nn.LSTM(sizes.encoder, hidden, batch_first=True)
        self.decoder = nn.LSTM(sizes.step, hidden, batch_first=True)
        self.start = SteadyLinear(hidden, 2 * hidden)
        self.from_decoder = SteadyLinear(hidden, hidden)

    @property
    def stretch(self) -> int:
        """A state a day."""
        return 1

    def encoder_parts(self) -> tuple[str, ...]:
        """See `Network`."""
        return ("encoder.",)

    def states(self, encoder: Tensor) -> Tensor:
        """See `Network`."""
        states: Tensor = self.encoder(encoder)[0]
        return states

    def decode(self, context: Tensor, steps: Tensor) -> Tensor:
        """See `Network`."""
        hidden, cell = self.start(context).unsqueeze(0).chunk(2, -1)
        decoded = self.decoder(steps, (torch.tanh(hidden).contiguous(), cell.contiguous()))[0]
        answer: Tensor = self.from_decoder(decoded)
        return answer
