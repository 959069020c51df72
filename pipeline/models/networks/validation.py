"""What a training learns from the days held back: how good its weights are, and how days and series move together."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.models.networks.features import Windows
from pipeline.models.networks.likelihoods import Likelihood
from pipeline.models.networks.network import Network
from pipeline.models.networks.schedule import dependence_of
from pipeline.settings import QUANTILES

_SERIES = 1000
AT_ONCE = 512
"""Series asked at once where the memory allows it."""


@dataclass(frozen=True)
class HeldBack:
    """The days after the known ones, of the biggest series.

    Attributes:
        network: what is asked.
        windows: the panel as windows.
        known: days that training knew.
        days: days that are asked about.
        precision: context that the network computes in.
        at_once: series asked at once.
    """

    network: Network
    windows: Windows
    known: int
    days: int
    precision: Callable[[], AbstractContextManager[Any]]
    at_once: int = AT_ONCE

    def score(self) -> float:
        """Weighted quantile loss."""
        levels = torch.tensor(QUANTILES, device=self.windows.device)
        loss = total = 0.0
        for likelihood, units, counts in self._forecast():
            error = (units.unsqueeze(-1) - likelihood.quantiles(levels)) * counts.unsqueeze(-1)
            loss += float(2 * torch.maximum(levels * error, (levels - 1) * error).mean(-1).sum())
            total += float((units * counts).sum())
        return loss / total if total > 0 else float("inf")

    def dependence(self, seed: int) -> dict[str, float]:
        """Item and market share of the residuals; see `Dependence`."""
        generator = np.random.default_rng([seed, 99])
        scores, known = [], []
        for likelihood, units, counts in self._forecast():
            uniform = torch.as_tensor(generator.random(tuple(units.shape)), dtype=torch.float32, device=units.device)
            scores.append(likelihood.normal_scores(units.round(), uniform).float().cpu().numpy())
            known.append(counts.cpu().numpy())
        shares = dependence_of(np.concatenate(scores), np.concatenate(known))
        return {"item": shares.item, "market": shares.market}

    def _windows(self) -> tuple[Tensor, Tensor]:
        """The biggest series, on the night before the days held back."""
        windows, known = self.windows, self.known
        level = windows.sum_units[:, known].cpu().numpy() + (windows.first_sold.cpu().numpy() >= known) * -1e18
        rows = np.sort(np.argsort(-level, kind="stable")[:_SERIES])
        chosen = torch.as_tensor(rows, device=windows.device)
        return chosen, torch.full_like(chosen, known - 1)

    def _forecast(self) -> Iterator[tuple[Likelihood, Tensor, Tensor]]:
        rows, nights = self._windows()
        self.network.eval()
        with torch.inference_mode(), self.precision():
            for part in torch.split(torch.arange(len(rows), device=rows.device), self.at_once):
                leads = self.windows.leads(self.days)
                batch = self.windows.cut(rows[part], nights[part], leads)
                units, counts = self.windows.targets(rows[part], nights[part], leads, self.windows.days)
                yield self.network(batch), units, counts
