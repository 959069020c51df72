"""How the LSTM is trained: pretrain the encoder, train while validating on the last days, then learn those days too.

Everything random of a step comes from (seed, phase, step), so a training that resumes from a checkpoint ends in the
same weights as one that was never killed. Budgets become a number of steps once, at the start: a slow machine trains
fewer steps, and the number it chose stands in the report.
"""

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.models.base import Compute, Dependence, Progress
from pipeline.models.distribution import HurdleLogNormal
from pipeline.models.lstm_checkpoint import TrainingState, read_checkpoint, restore_optimizer, write_checkpoint
from pipeline.models.lstm_features import Windows
from pipeline.models.lstm_network import PRETRAIN_DAYS, Seq2Seq
from pipeline.settings import QUANTILES, TrainingSettings

PHASES = ("pretrain", "validate", "refit")
CHECKPOINT_SECONDS = 15.0

_VALIDATIONS = 8
_REFIT_SHARE = 0.35
_REFIT_RATE = 0.5
_CLAMP = 20.0
_CLAMP_ORDERS = 6.0
_WARM_UP = 0.15
_FIRST_NIGHT = 27
_LAST_TARGETS = 7
_MAX_RECOVERIES = 2
_VALIDATION_SERIES = 1000


def steps_for(history: int, max_steps: int) -> int:
    """Fine-tuning steps that a history can bear: 450 up to a year, rising to 1,500 at 1.4 years and 3,000 at 3.

    Measured on Online Retail II: with 11 months more steps overfit (WQL .695 after 400, .702 after 3,000), with 17
    months 500 are too few (.803 against .787 after 1,500).
    """
    steps = np.interp(history, [120, 365, 511, 1095], [250, 450, 1500, 3000])
    return int(min(round(float(steps)), max_steps))


@dataclass(frozen=True)
class Sampler:
    """Draws training windows: series by the root of their level, nights evenly.

    Attributes:
        rows: series that have a window.
        first: first night of each of them.
        last: last night.
        chance: chance of each of them.
        weight: (S,) weight that undoes the chance, by series.
    """

    rows: NDArray[np.int64]
    first: NDArray[np.int64]
    last: int
    chance: NDArray[np.float64]
    weight: NDArray[np.float64]

    @classmethod
    def of(cls, units: Tensor, first_sold: Tensor, known_days: int) -> "Sampler":
        """Sampler of windows whose night and first targets lie in the first `known_days`."""
        start = first_sold.cpu().numpy()
        last = known_days - 1 - min(_LAST_TARGETS, known_days // 4)
        first = np.minimum(np.maximum(start + 6, min(_FIRST_NIGHT, known_days // 2)), last)
        rows = np.flatnonzero(start < last)
        if not len(rows):
            raise ModelError("no series has enough days to train on: every item was first sold in the last week")
        level = units[:, :known_days].sum(1).cpu().numpy() / np.maximum(known_days - start, 1) + 0.1
        chance = np.sqrt(level[rows])
        return cls(rows, first, last, chance / chance.sum(), 1 / np.sqrt(level))

    def draw(self, generator: np.random.Generator, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """`count` windows: series, and column of the night."""
        rows = generator.choice(self.rows, count, p=self.chance)
        first = self.first[rows]
        return rows, first + np.floor(generator.random(count) * (self.last - first + 1)).astype(np.int64)


class Training:
    """One training, from its first step or from a checkpoint."""

    def __init__(
        self,
        network: Seq2Seq,
        windows: Windows,
        settings: TrainingSettings,
        compute: Compute,
        *,
        folder: Path,
        mark: str,
        progress: Progress,
    ) -> None:
        """Set up a training.

        Args:
            network: the network, initialised from the seed.
            windows: the panel as windows.
            settings: steps, seconds, rates.
            compute: device, threads, precision.
            folder: folder of the checkpoint.
            mark: fingerprint of data and settings.
            progress: told how far it is.
        """
        self.network, self.windows, self.settings, self.compute = network, windows, settings, compute
        self.folder, self.mark, self.progress = folder, mark, progress
        self.horizon = windows.ahead
        self.validation_days = validation_days(windows.days, settings.validation_days, self.horizon)
        self.known = {
            "pretrain": windows.days - self.validation_days,
            "validate": windows.days - self.validation_days,
            "refit": windows.days,
        }
        self.state = TrainingState()
        self.best: dict[str, Tensor] = {}
        self.optimizer = self._new_optimizer()
        self._samplers: dict[int, Sampler] = {}
        self._started = time.monotonic()

    def run(self) -> TrainingState:
        """Train to the end; the network then holds the final weights.

        Raises:
            ModelError: the loss is not a number, again and again.
        """
        with torch_threads(self.compute.threads), torch.random.fork_rng(devices=self._cuda()):
            self._resume_or_plan()
            before, written = self.state.seconds, time.monotonic()
            while self.state.phase != "done":
                phase = self.state.phase
                if self.state.step >= self.state.steps[phase]:
                    self._next_phase()
                else:
                    self._step(phase)
                now = time.monotonic()
                self.state.seconds = before + now - self._started
                if self.state.phase != "done" and self.state.seconds > self.settings.max_seconds:
                    self._out_of_time()
                if now - written > CHECKPOINT_SECONDS or self.state.phase == "done":
                    self._write()
                    written = now
        return self.state

    def _resume_or_plan(self) -> None:
        found = read_checkpoint(self.folder, self.mark)
        if found is None:
            self.state.steps = self._plan()
            self.state.curves = {"validation_wql": [], "training_loss": []}
            return
        self.state, tensors = found
        weights = {name: value for name, value in tensors.items() if not name.startswith(("optimizer/", "best/"))}
        self.network.load_state_dict(weights)
        self.best = {
            name.removeprefix("best/"): value.to(self.compute.device)
            for name, value in tensors.items()
            if name.startswith("best/")
        }
        if self.state.phase != "done":
            self.optimizer = self._new_optimizer()
            restore_optimizer(self.optimizer, tensors)

    def _write(self) -> None:
        tensors = dict(self.network.state_dict()) | {f"best/{name}": value for name, value in self.best.items()}
        write_checkpoint(self.folder, self.state, tensors, self.optimizer, self.mark)

    def _plan(self) -> dict[str, int]:
        """Steps per phase: what the history can bear, cut to what the seconds allow."""
        fine_tuning = steps_for(self.windows.days, self.settings.max_steps)
        plan = {
            "pretrain": self.settings.pretrain_steps,
            "validate": fine_tuning,
            "refit": round(_REFIT_SHARE * fine_tuning),
        }
        needed = self._seconds_per_step() * sum(plan.values())
        allowed = 0.85 * self.settings.max_seconds
        if needed > allowed:
            plan = {phase: max(1, int(steps * allowed / needed)) if steps else 0 for phase, steps in plan.items()}
        return plan

    def _seconds_per_step(self) -> float:
        """Median of a few steps on the untrained network, whose weights are then put back."""
        before = {name: value.clone() for name, value in self.network.state_dict().items()}
        took = []
        for step in range(6):
            start = time.monotonic()
            self._train_step("validate", step, 0.0)
            took.append(time.monotonic() - start)
        self.network.load_state_dict(before)
        self.optimizer = self._new_optimizer()
        return float(np.median(took[2:]))

    def _step(self, phase: str) -> None:
        state = self.state
        if state.step == 0:
            self.optimizer = self._new_optimizer()
        peak = self.settings.learning_rate * 0.3**state.recoveries * (_REFIT_RATE if phase == "refit" else 1.0)
        rate = one_cycle(state.step, state.steps[phase], peak)
        loss = self._train_step(phase, state.step, rate)
        if not math.isfinite(loss):
            self._recover(phase, loss)
            return
        state.step += 1
        if phase == "validate" and (state.step % self._every() == 0 or state.step == state.steps[phase]):
            self._validate(loss)
        self.progress(f"train, {phase}", state.step, state.steps[phase])

    def _every(self) -> int:
        return max(1, self.state.steps["validate"] // _VALIDATIONS)

    def _validate(self, loss: float) -> None:
        state = self.state
        score = self._validation_score()
        state.curves["validation_wql"].append(score)
        state.curves["training_loss"].append(loss)
        state.curve_steps.append(state.step)
        if score < state.score:
            state.score, state.best_step, state.stale = score, state.step, 0
            self.best = {name: value.clone() for name, value in self.network.state_dict().items()}
        else:
            state.stale += 1
            if state.stale >= self.settings.patience:
                state.stopped = "early stopping"
                self._next_phase()

    def _next_phase(self) -> None:
        """Go on to the next phase; the best weights of the validation are where the refit starts."""
        state = self.state
        if state.phase == "validate":
            if self.best:
                self.network.load_state_dict(self.best)
            state.dependence = self._dependence()
            self.best = {}
        following = dict(zip(PHASES, (*PHASES[1:], "done"), strict=True))
        state.phase, state.step = following[state.phase], 0
        if state.phase == "done" and not state.stopped:
            state.stopped = "steps"

    def _out_of_time(self) -> None:
        """Stop at the wall-clock: keep the best weights known; the report says so."""
        if self.state.phase in {"pretrain", "validate"}:
            self.state.phase = "validate"
            self._next_phase()
        self.state.phase, self.state.stopped = "done", "seconds"

    def _recover(self, phase: str, loss: float) -> None:
        """Go back to the best weights so far with a smaller rate; twice at most."""
        state = self.state
        state.recoveries += 1
        if state.recoveries > _MAX_RECOVERIES:
            raise ModelError(
                f"training of the LSTM diverged: the loss of {phase} step {state.step + 1} is {loss}, also after "
                f"{_MAX_RECOVERIES} restarts with a smaller rate; lower training.learning_rate "
                f"(now {self.settings.learning_rate:g}) in almanac.yaml, or look for impossible units or prices"
            )
        if self.best:
            self.network.load_state_dict(self.best)
        else:
            torch.manual_seed(self.settings.seed + state.recoveries)
            self.network.load_state_dict(Seq2Seq(self.network.sizes).state_dict())
        self.optimizer = self._new_optimizer()
        state.step += 1

    def _train_step(self, phase: str, step: int, rate: float) -> float:
        known = self.known[phase]
        generator = np.random.default_rng([self.settings.seed, PHASES.index(phase), step])
        torch.manual_seed(int(generator.integers(2**31)))
        rows, nights = self._draw(known, generator)
        # half of the steps decode a third of the horizon: cheaper, and the near days count most
        horizon = self.horizon if step % 2 == 0 else min(self.horizon, max(self.horizon // 3, 28))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        with self._precision():
            if phase == "pretrain":
                loss = self._pretrain_loss(rows, nights, known)
            else:
                loss = self._loss(rows, nights, horizon, known)
        value = float(loss.detach())
        if math.isfinite(value):
            torch.autograd.backward(loss)
            norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            if bool(torch.isfinite(norm)):
                self.optimizer.step()
            else:
                value = float("nan")
        return value

    def _draw(self, known: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        if known not in self._samplers:
            self._samplers[known] = Sampler.of(self.windows.units, self.windows.first_sold, known)
        rows, nights = self._samplers[known].draw(generator, self.settings.batch_size)
        device = self.compute.device
        return torch.as_tensor(rows, device=device), torch.as_tensor(nights, device=device)

    def _loss(self, rows: Tensor, nights: Tensor, horizon: int, known: int) -> Tensor:
        """Negative log-likelihood of hurdle and units, weighted by the root of the scale."""
        batch = self.windows.cut(rows, nights, horizon)
        units, counts = self.windows.targets(rows, nights, horizon, known)
        likelihood = self.network(batch)
        # an order of 500 pieces by one customer says little about tomorrow; a rare seller's usual order must fit in
        cap = torch.maximum(_CLAMP * batch.scale, _CLAMP_ORDERS * torch.exp(batch.base_mu) * batch.scale)
        capped = torch.where(units > 0, torch.minimum(units, cap).clamp(min=1.0), units)
        hurdle, given_sale = likelihood.log_likelihood(capped)
        undo = torch.as_tensor(self._samplers[known].weight, device=rows.device)[rows].unsqueeze(1)
        weight = torch.sqrt(batch.scale) * undo.float()
        weight = weight / weight.mean() * counts
        loss: Tensor = -((hurdle + given_sale) * weight).sum() / counts.sum().clamp(min=1)
        return loss

    def _pretrain_loss(self, rows: Tensor, nights: Tensor, known: int) -> Tensor:
        encoder, targets, counts = self.windows.next_means(rows, nights, PRETRAIN_DAYS, known)
        error = torch.nn.functional.smooth_l1_loss(self.network.pretrain(encoder).float(), targets, reduction="none")
        loss: Tensor = (error * counts).sum() / counts.sum().clamp(min=1)
        return loss

    def _validation_windows(self) -> tuple[Tensor, Tensor]:
        """The biggest series, on the night before the validation days."""
        known = self.known["validate"]
        level = (
            self.windows.sum_units[:, known].cpu().numpy() + (self.windows.first_sold.cpu().numpy() >= known) * -1e18
        )
        rows = np.sort(np.argsort(-level, kind="stable")[:_VALIDATION_SERIES])
        chosen = torch.as_tensor(rows, device=self.compute.device)
        return chosen, torch.full_like(chosen, known - 1)

    def _validation_forecast(self) -> Iterator[tuple[HurdleLogNormal, Tensor, Tensor]]:
        rows, nights = self._validation_windows()
        self.network.eval()
        with torch.inference_mode(), self._precision():
            for part in torch.split(torch.arange(len(rows), device=rows.device), 512):
                batch = self.windows.cut(rows[part], nights[part], self.validation_days)
                units, counts = self.windows.targets(rows[part], nights[part], self.validation_days, self.windows.days)
                yield self.network(batch), units, counts

    def _validation_score(self) -> float:
        """Weighted quantile loss of the validation days."""
        levels = torch.tensor(QUANTILES, device=self.compute.device)
        loss = total = 0.0
        for likelihood, units, counts in self._validation_forecast():
            error = (units.unsqueeze(-1) - likelihood.quantiles(levels)) * counts.unsqueeze(-1)
            loss += float(2 * torch.maximum(levels * error, (levels - 1) * error).mean(-1).sum())
            total += float((units * counts).sum())
        return loss / total if total > 0 else float("inf")

    def _dependence(self) -> dict[str, float]:
        generator = np.random.default_rng([self.settings.seed, 99])
        scores, known = [], []
        for likelihood, units, counts in self._validation_forecast():
            uniform = torch.as_tensor(generator.random(tuple(units.shape)), dtype=torch.float32, device=units.device)
            scores.append(likelihood.normal_scores(units.round(), uniform).float().cpu().numpy())
            known.append(counts.cpu().numpy())
        shares = dependence_of(np.concatenate(scores), np.concatenate(known))
        return {"item": shares.item, "market": shares.market}

    def _new_optimizer(self) -> torch.optim.Optimizer:
        settings = self.settings
        return torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, foreach=True
        )

    def _precision(self) -> AbstractContextManager[Any]:
        on = self.compute.mixed_precision and self.compute.device.startswith("cuda")
        return torch.autocast(self.compute.device.split(":")[0], dtype=torch.bfloat16, enabled=on)

    def _cuda(self) -> list[int]:
        return list(range(torch.cuda.device_count())) if self.compute.device.startswith("cuda") else []


def validation_days(history: int, wanted: int, horizon: int) -> int:
    """Length of the validation window: what was asked, but at most a quarter of the history and the horizon."""
    return max(1, min(wanted, history // 4, horizon))


def one_cycle(step: int, steps: int, peak: float) -> float:
    """Learning rate of a step: a short cosine up from peak/25, a long cosine down to almost nothing."""
    warm_up = max(1, round(_WARM_UP * steps))
    if step < warm_up:
        low, high, share = peak / 25, peak, step / warm_up
    else:
        low, high, share = peak, peak * 1e-4, (step - warm_up) / max(1, steps - 1 - warm_up)
    return high + (low - high) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def dependence_of(scores: NDArray[Any], known: NDArray[np.bool_]) -> Dependence:
    """Item and market share of normal scores, by the mean product of pairs of days and pairs of series.

    Args:
        scores: (S, D) normal scores of validation residuals.
        known: (S, D) which of them count.
    """
    score = np.where(known, scores - scores[known].mean() if known.any() else 0.0, 0.0).astype(np.float64)
    count = known.astype(np.float64)
    variance = (score**2).sum() / max(count.sum(), 1.0)

    def pairs(axis: int) -> float:
        products = (score.sum(axis) ** 2 - (score**2).sum(axis)).sum()
        number = (count.sum(axis) ** 2 - (count**2).sum(axis)).sum()
        return float(products / number / variance) if number > 0 and variance > 0 else 0.0

    item, market = pairs(1), pairs(0)
    return Dependence(item=float(np.clip(item, 0.0, 0.6)), market=float(np.clip(market, 0.0, 0.3)))


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Run with so many CPU threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)
