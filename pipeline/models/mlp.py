"""Plain networks without any sequence: the history as one long vector, the days ahead one by one.

`mlp` ends in the hurdle-lognormal likelihood of the house; `quantile_mlp` in quantiles and a mean, trained with the
pinball loss: the peer that every other forecaster has to beat.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from pipeline.models.networks.network import Network, NetworkSizes, SteadyLinear


class Mlp(Network):
    """History 4·hidden → hidden, days ahead 2·hidden → hidden, all SiLU."""

    kind: ClassVar[str] = "mlp"
    widening: ClassVar[int] = 2

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__(sizes)
        hidden = sizes.hidden
        self.history = nn.Sequential(
            SteadyLinear(sizes.history_days * sizes.encoder, 4 * hidden),
            nn.SiLU(),
            SteadyLinear(4 * hidden, hidden),
            nn.SiLU(),
        )
        self.mix = nn.Sequential(
            SteadyLinear(hidden + sizes.step, 2 * hidden), nn.SiLU(), SteadyLinear(2 * hidden, hidden)
        )

    @property
    def stretch(self) -> int:
        """One state for all days."""
        return self.sizes.history_days

    def encoder_parts(self) -> tuple[str, ...]:
        """See `Network`."""
        return ("history.",)

    def states(self, encoder: Tensor) -> Tensor:
        """See `Network`."""
        states: Tensor = self.history(encoder.flatten(1)).unsqueeze(1)
        return states

    def decode(self, context: Tensor, steps: Tensor) -> Tensor:
        """See `Network`."""
        decoded: Tensor = self.mix(torch.cat([context.unsqueeze(1).expand(-1, steps.shape[1], -1), steps], 2))
        return decoded


class QuantileMlp(Mlp):
    """The same body with quantiles and a mean for a head."""

    kind: ClassVar[str] = "quantile_mlp"
    likelihood: ClassVar[str] = "quantiles"
