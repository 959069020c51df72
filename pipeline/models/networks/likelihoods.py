"""What a network's head means: distributions of the units of a day, by name, all answering the same questions."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.models.networks.distribution import HurdleLogNormal
from pipeline.models.quantiles import LEVELS


class Likelihood(Protocol):
    """A batch of distributions of units, (…,); see `distribution.HurdleLogNormal` for the meaning of each method."""

    parameters: ClassVar[int]
    """Numbers per day that a head gives."""

    @classmethod
    def from_head(cls, head: Tensor, base_logit: Tensor, base_mu: Tensor, scale: Tensor) -> Self:
        """Read a head's output."""
        ...

    def double(self) -> Self:
        """The same in double precision."""
        ...

    def loss(self, units: Tensor) -> Tensor:
        """What training makes small, per day."""
        ...

    def mean(self) -> Tensor:
        """Expected units."""
        ...

    def quantiles(self, levels: Tensor, *, whole: bool = True) -> Tensor:
        """Quantiles at rising levels, (…, Q)."""
        ...

    def normal_scores(self, units: Tensor, uniform: Tensor) -> Tensor:
        """Randomised PIT of whole units, as standard normal scores."""
        ...


@dataclass(frozen=True)
class Quantiles:
    """Quantiles at the contract's levels and a mean of its own: the mean of quantiles is not the mean.

    Attributes:
        values: (…, Q) quantiles of units ÷ scale.
        log_mean: (…,) log of the expected units ÷ scale.
        scale: scale of the series, broadcast.
    """

    parameters: ClassVar[int] = len(LEVELS) + 1
    values: Tensor
    log_mean: Tensor
    scale: Tensor

    @classmethod
    def from_head(cls, head: Tensor, base_logit: Tensor, base_mu: Tensor, scale: Tensor) -> "Quantiles":
        """The first number is the median's place, the others steps up and down from it, on a log scale; see `Likelihood`."""
        head = head.float()
        middle = len(LEVELS) // 2
        expected = base_mu + functional.logsigmoid(base_logit)
        place = torch.log1p(torch.exp(expected)) - 0.2 + head[..., 0]
        steps = 0.2 * functional.softplus(head[..., 1:-1] + 1.0)
        down = torch.cumsum(steps[..., :middle], -1).flip(-1)
        up = torch.cumsum(steps[..., middle:], -1)
        zero = torch.zeros_like(place).unsqueeze(-1)
        ladder = torch.cat([-down, zero, up], -1) + place.unsqueeze(-1)
        return cls(torch.expm1(functional.softplus(8 * ladder) / 8), expected + head[..., -1], scale)

    def double(self) -> "Quantiles":
        """See `Likelihood`."""
        return Quantiles(self.values.double(), self.log_mean.double(), self.scale.double())

    def loss(self, units: Tensor) -> Tensor:
        """Pinball loss of units ÷ scale, and a Poisson likelihood for the mean, small beside it."""
        ratio = (units / self.scale).unsqueeze(-1)
        levels = torch.as_tensor(LEVELS, dtype=self.values.dtype, device=self.values.device)
        error = ratio - self.values
        pinball = 2 * torch.maximum(levels * error, (levels - 1) * error).mean(-1)
        log_mean = self.log_mean.clamp(-12.0, 8.0)
        return pinball + 0.2 * (torch.exp(log_mean) - ratio[..., 0] * log_mean)

    def mean(self) -> Tensor:
        """See `Likelihood`."""
        return torch.exp(self.log_mean.clamp(-12.0, 8.0)) * self.scale

    def quantiles(self, levels: Tensor, *, whole: bool = True) -> Tensor:
        """Straight lines between the levels, flat beyond the outermost; see `Likelihood`."""
        known = torch.as_tensor(LEVELS, dtype=self.values.dtype, device=self.values.device)
        levels = levels.to(known)
        above = torch.searchsorted(known, levels).clamp(1, len(known) - 1)
        share = ((levels - known[above - 1]) / (known[above] - known[above - 1])).clamp(0, 1)
        units = (self.values[..., above - 1] * (1 - share) + self.values[..., above] * share) * self.scale.unsqueeze(-1)
        return torch.floor(units + 0.5) if whole else units

    def normal_scores(self, units: Tensor, uniform: Tensor) -> Tensor:
        """See `Likelihood`; a unit's stretch of levels is read off the quantiles."""
        known = torch.as_tensor(LEVELS, dtype=self.values.dtype, device=self.values.device)
        values = self.values * self.scale.unsqueeze(-1)

        def level_of(bound: Tensor) -> Tensor:
            above = (values < bound.unsqueeze(-1)).sum(-1).clamp(1, len(known) - 1)
            low, high = (values.gather(-1, (above - k).unsqueeze(-1)).squeeze(-1) for k in (1, 0))
            share = ((bound - low) / (high - low).clamp(min=1e-9)).clamp(-0.5, 1.5)
            return (known[above - 1] + share * (known[above] - known[above - 1])).clamp(0.0, 1.0)

        upper = level_of(units + 0.5)
        lower = torch.where(units > 0, level_of(units - 0.5), torch.zeros_like(upper))
        scores: Tensor = torch.special.ndtri((lower + uniform * (upper - lower)).clamp(1e-4, 1 - 1e-4))
        return scores


LIKELIHOODS: dict[str, type[Likelihood]] = {"hurdle": HurdleLogNormal, "quantiles": Quantiles}
"""Name → likelihood."""
