"""How a network is trained: pretrain the encoder, train while validating on the last days, then learn those days too.

An update goes the same way from the weights of an older network, with its own course (`lstm_schedule.Course`).

Everything random of a step comes from (seed, phase, step), so a training that resumes from a checkpoint ends in the
same weights as one that was never killed. Seconds become a number of steps once, at the start, and stand in the
checkpoint before the first step: where they do not bind, no clock has any say in the weights; where they do, the report
says so (`budget`).
"""

import math
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.model_settings import TrainingSettings
from pipeline.models.base import Compute, Progress
from pipeline.models.networks.adversarial import attentive, moved
from pipeline.models.networks.augmentation import augmented
from pipeline.models.networks.checkpoint import TrainingState, read_checkpoint, restore_optimizer, write_checkpoint
from pipeline.models.networks.encoder import encoder_weights
from pipeline.models.networks.features import Batch, Windows
from pipeline.models.networks.loss import weighted_loss, window_weights
from pipeline.models.networks.network import Network
from pipeline.models.networks.pretraining import pretrain_loss
from pipeline.models.networks.schedule import PHASES, Course, Sampler, one_cycle, torch_threads
from pipeline.models.networks.validation import HeldBack

CHECKPOINT_SECONDS = 15.0

_VALIDATIONS = 8
_PRETRAIN_NOTES = 20
_BESIDE = ("optimizer/", "best/", "encoded/")
_MAX_RECOVERIES = 2
_DRAWN_LEADS = 12
_PATIENCE = 3.0
_LEAST_STEPS = 40
"""Steps below which a validation says that a network forecasts worse than the mean of each weekday."""


class Training:
    """One training, from its first step or from a checkpoint."""

    def __init__(
        self,
        network: Network,
        windows: Windows,
        settings: TrainingSettings,
        compute: Compute,
        course: Course,
        *,
        folder: Path,
        mark: str,
        progress: Progress,
    ) -> None:
        """Set up a training.

        Args:
            network: the network, initialised from the seed or with the weights to go on from.
            windows: the panel as windows.
            settings: seconds, batches, patience, seed.
            compute: device, threads, precision.
            course: steps and rates, and which windows.
            folder: folder of the checkpoint.
            mark: fingerprint of data and settings.
            progress: told how far it is.
        """
        self.network, self.windows, self.settings, self.compute = network, windows, settings, compute
        self.course, self.folder, self.mark, self.progress = course, folder, mark, progress
        self.horizon = windows.ahead
        self.validation_days = course.validation_days
        self.known = {
            "pretrain": windows.days - self.validation_days,
            "validate": windows.days - self.validation_days,
            "refit": windows.days,
        }
        self.state = TrainingState()
        # weights of the best validation; kept to the end, for they have not seen the days held back
        self.best: dict[str, Tensor] = {}
        # weights of the encoder as pretraining left them, where this training pretrained
        self.encoder: dict[str, Tensor] = {}
        self._initial = self._weights()
        self.optimizer = self._new_optimizer()
        self._samplers: dict[tuple[int, int], Sampler] = {}
        self._started = time.monotonic()

    def run(self) -> TrainingState:
        """Train to the end; the network then holds the final weights.

        Raises:
            ModelError: the loss is not a number, again and again; or the seconds do not allow the least steps.
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
                    self._late()
                if now - written > CHECKPOINT_SECONDS or self.state.phase == "done":
                    self._write()
                    written = now
        return self.state

    def _resume_or_plan(self) -> None:
        found = read_checkpoint(self.folder, self.mark)
        if found is None:
            self._plan()
            self.state.curves = {"validation_wql": [], "training_loss": []}
            self._write()
            return
        self.state, tensors = found
        weights = {name: value for name, value in tensors.items() if not name.startswith(_BESIDE)}
        self.network.load_state_dict(weights)
        self.best = {
            name.removeprefix("best/"): value.to(self.compute.device)
            for name, value in tensors.items()
            if name.startswith("best/")
        }
        self.encoder = {
            name.removeprefix("encoded/"): value for name, value in tensors.items() if name.startswith("encoded/")
        }
        if self.state.phase != "done":
            self.optimizer = self._new_optimizer()
            restore_optimizer(self.optimizer, tensors)

    def _write(self) -> None:
        tensors = dict(self.network.state_dict()) | {f"best/{name}": value for name, value in self.best.items()}
        tensors |= {f"encoded/{name}": value for name, value in self.encoder.items()}
        write_checkpoint(self.folder, self.state, tensors, self.optimizer, self.mark)

    def _plan(self) -> None:
        """Steps per phase: those of the course, cut to what the seconds allow.

        Raises:
            ModelError: the seconds do not allow the steps without which a network has learned nothing.
        """
        plan = dict(self.course.steps)
        needed = self._seconds_per_step() * sum(plan.values())
        allowed = 0.85 * self.settings.max_seconds
        if needed > allowed:
            share = allowed / needed
            plan = {phase: max(1, int(steps * share)) if steps else 0 for phase, steps in plan.items()}
            self.state.budget = "seconds"
            if plan["validate"] < self._least:
                raise self._too_little(plan["validate"])
        self.state.steps = plan

    @property
    def _least(self) -> int:
        """Steps without which the network has learned nothing."""
        return min(_LEAST_STEPS, self.course.steps["validate"])

    def _too_little(self, steps: int) -> ModelError:
        """The error of a budget that does not suffice."""
        needed = math.ceil(self.settings.max_seconds * self._least / max(steps, 1))
        return ModelError(
            f"a budget too small to train the {self.network.kind}: {self.settings.max_seconds:g} s allow {steps} of "
            f"{self.course.steps['validate']} steps on this machine at this moment, and with fewer than {self._least} it has "
            f"learned nothing; raise members.{self.network.kind}.max_seconds (or training.max_seconds) in almanac.yaml to "
            f"{needed} or more, or leave other work off the machine"
        )

    def _seconds_per_step(self) -> float:
        """Median of a few steps on the untrained network, whose weights are then put back."""
        took = []
        for step in range(6):
            start = time.monotonic()
            self._train_step("validate", step, 0.0)
            took.append(time.monotonic() - start)
        self.network.load_state_dict(self._initial)
        self.optimizer = self._new_optimizer()
        return float(np.median(took[2:]))

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def _step(self, phase: str) -> None:
        state = self.state
        if state.step == 0:
            self.optimizer = self._new_optimizer()
        rate = one_cycle(state.step, state.steps[phase], self.course.rate[phase] * 0.3**state.recoveries)
        # an update may find nothing better than where it starts from
        untouched = self._weights() if phase == "validate" and state.step == 0 and self._is_update else None
        score = self._validation_score() if untouched is not None else 0.0
        loss = self._train_step(phase, state.step, rate)
        if not math.isfinite(loss):
            self._recover(phase, loss)
            return
        if untouched is not None:
            self._note(0, score, loss)
            state.score, self.best = score, untouched
        state.step += 1
        if phase == "pretrain" and (state.step % _PRETRAIN_NOTES == 0 or state.step == state.steps[phase]):
            state.pretraining.append(loss)
        if phase == "validate" and (state.step % self._every() == 0 or state.step == state.steps[phase]):
            self._validate(loss)
        self.progress(f"train, {phase}", state.step, state.steps[phase])

    @property
    def _is_update(self) -> bool:
        return self.course.new_from is not None

    def _every(self) -> int:
        return max(1, self.state.steps["validate"] // _VALIDATIONS)

    def _validate(self, loss: float) -> None:
        state = self.state
        score = self._validation_score()
        self._note(state.step, score, loss)
        if score < state.score:
            state.score, state.best_step, state.stale = score, state.step, 0
            self.best = self._weights()
        else:
            state.stale += 1
            if state.stale >= self.settings.patience:
                state.stopped = "early stopping"
                self._next_phase()

    def _note(self, step: int, score: float, loss: float) -> None:
        self.state.curves["validation_wql"].append(score)
        self.state.curves["training_loss"].append(loss)
        self.state.curve_steps.append(step)

    def _next_phase(self) -> None:
        """Go on to the next phase; the best weights of the validation are where the refit starts."""
        state = self.state
        if state.phase == "pretrain" and state.steps["pretrain"]:
            self.encoder = encoder_weights(self.network)
        if state.phase == "validate":
            self.best = self.best or self._weights()
            self.network.load_state_dict(self.best)
            state.dependence = self._held_back().dependence(self.settings.seed)
        following = dict(zip(PHASES, (*PHASES[1:], "done"), strict=True))
        state.phase, state.step = following[state.phase], 0
        if state.phase == "done" and not state.stopped:
            state.stopped = "steps"

    def _late(self) -> None:
        """Past the wall-clock a machine that became busy may still do the least steps, within some more of the time."""
        state = self.state
        learned = state.step if state.phase == "validate" else (self._least if state.phase == "refit" else 0)
        if learned >= self._least:
            self._out_of_time()
        elif state.seconds > _PATIENCE * self.settings.max_seconds:
            raise self._too_little(learned)

    def _out_of_time(self) -> None:
        """Stop at the wall-clock: keep the best weights known; the report says so."""
        if self.state.phase in {"pretrain", "validate"}:
            self.state.phase = "validate"
            self._next_phase()
        self.state.phase, self.state.stopped, self.state.budget = "done", "seconds", "seconds"

    def _recover(self, phase: str, loss: float) -> None:
        """Go back to the best weights so far with a smaller rate; twice at most."""
        state = self.state
        state.recoveries += 1
        if state.recoveries > _MAX_RECOVERIES:
            raise ModelError(
                f"training of the {self.network.kind} diverged: the loss of {phase} step {state.step + 1} is {loss}, also after "
                f"{_MAX_RECOVERIES} restarts with a smaller rate; lower training.learning_rate "
                f"(now {self.settings.learning_rate:g}) in almanac.yaml, or look for impossible units or prices"
            )
        if self.best or self._is_update:
            self.network.load_state_dict(self.best or self._initial)
        else:
            torch.manual_seed(self.settings.seed + state.recoveries)
            self.network.load_state_dict(type(self.network)(self.network.sizes).state_dict())
        self.optimizer = self._new_optimizer()
        state.step += 1

    def _train_step(self, phase: str, step: int, rate: float) -> float:
        known = self.known[phase]
        # each update draws other windows than the one before it
        salt = [self.windows.days] if self._is_update else []
        generator = np.random.default_rng([self.settings.seed, PHASES.index(phase), step, *salt])
        torch.manual_seed(int(generator.integers(2**31)))
        rows, nights = self._draw(known, generator)
        leads = self._leads(step, len(rows), generator)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        epsilon = self.settings.adversarial if phase != "pretrain" else 0.0
        with self._precision():
            if phase == "pretrain":
                loss = pretrain_loss(self.network, self.windows, rows, nights, known_days=known, generator=generator)
            else:
                batch = augmented(self.windows.cut(rows, nights, leads), self.settings.augmentation, generator)
                batch = attentive(batch) if epsilon else batch
                loss = self._loss(batch, rows, nights, leads, known)
        value = float(loss.detach())
        if math.isfinite(value):
            torch.autograd.backward(loss)
            if epsilon:
                with self._precision():
                    worst = self._loss(moved(batch, epsilon), rows, nights, leads, known)
                torch.autograd.backward(worst)
            norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            if bool(torch.isfinite(norm)):
                self.optimizer.step()
            else:
                value = float("nan")
        return value

    def _draw(self, known: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        rows, nights = self._sampler(known).draw(generator, self.settings.batch_size)
        if self._is_update:
            fresh = self.settings.batch_size - round(self.course.replay_share * self.settings.batch_size)
            newest = self._sampler(known, self.course.fresh_from(known)).draw(generator, fresh)
            rows, nights = (np.concatenate([new, old[fresh:]]) for new, old in zip(newest, (rows, nights), strict=True))
        device = self.compute.device
        return torch.as_tensor(rows, device=device), torch.as_tensor(nights, device=device)

    def _sampler(self, known: int, from_night: int = 0) -> Sampler:
        at = (known, from_night)
        if at not in self._samplers:
            self._samplers[at] = Sampler.of(self.windows.units, self.windows.first_sold, known, from_night)
        return self._samplers[at]

    def _leads(self, step: int, windows: int, generator: np.random.Generator) -> Tensor:
        """Leads that a step learns from; near days come up most, for they count most."""
        if self.network.sequential:
            # half of the steps decode a third of the horizon: cheaper too
            near = min(self.horizon, max(self.horizon // 3, 28))
            return self.windows.leads(self.horizon if step % 2 == 0 else near)
        drawn = np.ceil(self.horizon * generator.random((windows, _DRAWN_LEADS)) ** 2).clip(1)
        return torch.as_tensor(drawn.astype(np.int64), device=self.compute.device)

    def _loss(self, batch: Batch, rows: Tensor, nights: Tensor, leads: Tensor, known: int) -> Tensor:
        """Loss of the likelihood of windows, weighted by the root of the scale."""
        units, counts = self.windows.targets(rows, nights, leads, known)
        undo = torch.as_tensor(self._sampler(known).weight, device=rows.device)[rows]
        weights = window_weights(batch.scale.squeeze(1), undo, counts)
        return weighted_loss(self.network(batch), batch, units, weights) / counts.sum().clamp(min=1)

    def _held_back(self) -> HeldBack:
        return HeldBack(self.network, self.windows, self.known["validate"], self.validation_days, self._precision)

    def _validation_score(self) -> float:
        """Weighted quantile loss of the validation days."""
        return self._held_back().score()

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
