"""The hurdle-lognormal mixture: what a day of one series may sell, as six numbers.

With p the chance of any sale and F the CDF of a mixture of two log-normals on units ÷ scale:
P(Y = 0) = 1 − p, P(Y = 1) = p·F(1.5/s), P(Y = k) = p·[F((k+½)/s) − F((k−½)/s)] for k ≥ 2. So Y is a count, its
quantiles are whole units without any rounding afterwards, and they cover what they claim: the quantile at level q is
the least k with P(Y ≤ k) ≥ q.

What belongs here: density, mean, quantiles, and the randomised PIT. What does not: networks and features.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

_SIGMA_LOW, _SIGMA_HIGH = 0.08, 2.5
_BISECTIONS = 18


@dataclass(frozen=True)
class HurdleLogNormal:
    """A batch of distributions of units; all tensors are (…,), broadcast against each other.

    Attributes:
        hurdle: logit of the chance of any sale.
        weight: logit of the first component's weight.
        mu: (…, 2) means of log(units ÷ scale).
        sigma: (…, 2) standard deviations of log(units ÷ scale).
        scale: scale of the series.
    """

    parameters: ClassVar[int] = 6
    hurdle: Tensor
    weight: Tensor
    mu: Tensor
    sigma: Tensor
    scale: Tensor

    @classmethod
    def from_head(cls, head: Tensor, base_logit: Tensor, base_mu: Tensor, scale: Tensor) -> "HurdleLogNormal":
        """Read a head's (…, 6) output, which speaks relative to the recent sale rate and order size.

        Args:
            head: the network's output.
            base_logit: logit of the recent sale rate.
            base_mu: log of the recent order size ÷ scale.
            scale: scale of the series.
        """
        head = head.float()
        first = base_mu + head[..., 2] - 0.3
        mu = torch.stack([first, first + 0.6 + head[..., 3]], -1)
        sigma = _SIGMA_LOW + functional.softplus(head[..., 4:6])
        return cls(base_logit + head[..., 0], head[..., 1], mu, sigma.clamp(max=_SIGMA_HIGH), scale)

    def double(self) -> "HurdleLogNormal":
        """The same in double precision.

        Forecasts are computed so and rounded once: in single precision MKL's erf differs in the last bit with what stands
        beside a number, and a slice of rows must give the bytes of the whole.
        """
        return HurdleLogNormal(
            self.hurdle.double(), self.weight.double(), self.mu.double(), self.sigma.double(), self.scale.double()
        )

    def log_likelihood(self, units: Tensor) -> tuple[Tensor, Tensor]:
        """Log-likelihood of the hurdle, and of units given a sale (zero where nothing was sold).

        The interval likelihood over [y − ½, y + ½] keeps small counts honest; a day that sold one unit has all the
        mass below 1.5.
        """
        sold = units > 0
        hurdle = torch.where(sold, functional.logsigmoid(self.hurdle), functional.logsigmoid(-self.hurdle))
        count = units.clamp(min=1.0)
        upper = self._standardise((count + 0.5) / self.scale)
        lower = self._standardise((count - 0.5) / self.scale)
        whole = torch.special.log_ndtr(upper)
        # Φ(u) − Φ(l) = Φ(−l) − Φ(−u): the side with the smaller tails keeps the digits
        flip = lower > 0
        a, b = torch.where(flip, -upper, lower), torch.where(flip, -lower, upper)
        log_a, log_b = torch.special.log_ndtr(a), torch.special.log_ndtr(b)
        between = log_b + torch.log1p(-torch.exp((log_a - log_b).clamp(max=-1e-6)))
        component = torch.where((count < 1.5).unsqueeze(-1), whole, between)
        log_weight = torch.stack([functional.logsigmoid(self.weight), functional.logsigmoid(-self.weight)], -1)
        given_sale = torch.logsumexp(log_weight + component.clamp(min=-60.0), -1)
        return hurdle, torch.where(sold, given_sale, torch.zeros_like(given_sale))

    def loss(self, units: Tensor) -> Tensor:
        """Negative log-likelihood of units."""
        hurdle, given_sale = self.log_likelihood(units)
        return -(hurdle + given_sale)

    def cdf(self, units: Tensor) -> Tensor:
        """P(Y ≤ units) for whole units; zero below 0."""
        sale = torch.sigmoid(self.hurdle)
        given_sale = self._mixture(self._standardise((units.clamp(min=1.0) + 0.5) / self.scale))
        given_sale = torch.where(units >= 1, given_sale, torch.zeros_like(given_sale))
        return torch.where(units >= 0, 1 - sale + sale * given_sale, torch.zeros_like(given_sale))

    def mean(self) -> Tensor:
        """E[Y] = p·(1 + Σ_{k≥1} P(Y > k | sale)): the first terms exactly, the rest as an integral."""
        exact = 4
        total = torch.ones_like(self.hurdle)
        for k in range(1, exact):
            total = total + 1 - self._mixture(self._standardise((k + 0.5) / self.scale))
        # Σ_{k≥4} P(Z > k + ½) ≈ ∫_4^∞ P(Z > x) dx = E[(Z − 4)₊], closed for a log-normal
        distance = -self._standardise(exact / self.scale)
        upper = torch.exp(self.mu + self.sigma**2 / 2) * torch.special.ndtr(distance + self.sigma)
        excess = self.scale.unsqueeze(-1) * upper - exact * torch.special.ndtr(distance)
        weight = torch.sigmoid(self.weight)
        total = total + (weight * excess[..., 0] + (1 - weight) * excess[..., 1]).clamp(min=0.0)
        mean: Tensor = torch.sigmoid(self.hurdle) * total
        return mean

    def quantiles(self, levels: Tensor, *, whole: bool = True) -> Tensor:
        """Quantiles at (Q,) rising levels, (…, Q), non-crossing.

        Args:
            levels: levels in (0, 1), rising.
            whole: whole units; else the continuous value behind them (0, 1, or above 1.5), whose mean is that of the
                whole units, for drawing sample paths.
        """
        no_sale = torch.sigmoid(-self.hurdle).unsqueeze(-1)
        levels = levels.to(no_sale)
        sold = (levels > no_sale).nonzero(as_tuple=True)
        # most days of most items sell nothing at most levels: only the others are searched for
        *day, _ = sold
        given_sale = ((levels - no_sale) / (1 - no_sale))[sold].clamp(1e-6, 1 - 1e-6)
        (first_mu, second_mu), (first_sigma, second_sigma) = (
            [part[(*day, component)] for component in (0, 1)] for part in (self.mu, self.sigma)
        )
        score = torch.special.ndtri(given_sale)
        # the mixture's quantile lies between those of its components
        first, second = first_mu + first_sigma * score, second_mu + second_sigma * score
        low, high = torch.minimum(first, second), torch.maximum(first, second)
        weight = torch.sigmoid(self.weight)[tuple(day)]
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            reached = weight * torch.special.ndtr((middle - first_mu) / first_sigma)
            reached += (1 - weight) * torch.special.ndtr((middle - second_mu) / second_sigma)
            above = reached >= given_sale
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        units = torch.exp(high) * self.scale.expand(self.hurdle.shape)[tuple(day)]
        value = no_sale.new_zeros((*self.hurdle.shape, len(levels)))
        value[sold] = torch.ceil(units - 0.5).clamp(min=1.0) if whole else torch.where(units > 1.5, units, 1.0)
        return torch.cummax(value, -1).values

    def normal_scores(self, units: Tensor, uniform: Tensor) -> Tensor:
        """Randomised PIT of whole units, as standard normal scores: standard normal when the forecast is calibrated."""
        upper, lower = self.cdf(units), self.cdf(units - 1)
        scores: Tensor = torch.special.ndtri((lower + uniform * (upper - lower)).clamp(1e-4, 1 - 1e-4))
        return scores

    def _standardise(self, ratio: Tensor) -> Tensor:
        return (torch.log(ratio).unsqueeze(-1) - self.mu) / self.sigma

    def _mixture(self, score: Tensor) -> Tensor:
        weight = torch.sigmoid(self.weight)
        below = torch.special.ndtr(score)
        mixed: Tensor = weight * below[..., 0] + (1 - weight) * below[..., 1]
        return mixed
