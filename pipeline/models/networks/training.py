"""How a network is trained: pretrain the encoder, train while validating on the last days, then learn those days too.

An update goes the same way from the weights of an older network, with its own course (`schedule.Course`). What one step does
is in `steps.py`.

Everything random of a step comes from (seed, phase, step), so a training that resumes from a checkpoint ends in the
same weights as one that was never killed. Seconds become a number of steps once, at the start, and stand in the
checkpoint before the first step: where they do not bind, no clock has any say in the weights; where they do, the report
says so (`budget`).
"""

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.model_settings import TrainingSettings
from pipeline.models.base import Compute, Progress
from pipeline.models.networks.checkpoint import TrainingState, read_checkpoint, restore_optimizer, write_checkpoint
from pipeline.models.networks.encoder import encoder_weights
from pipeline.models.networks.features import Windows
from pipeline.models.networks.memory import Found, in_parts
from pipeline.models.networks.network import Network
from pipeline.models.networks.schedule import PHASES, Course, one_cycle, torch_threads
from pipeline.models.networks.steps import Steps
from pipeline.models.networks.validation import AT_ONCE, HeldBack

CHECKPOINT_SECONDS = 15.0

_VALIDATIONS = 8
_PRETRAIN_NOTES = 20
_BESIDE = ("optimizer/", "best/", "encoded/")
_MAX_RECOVERIES = 2
_PATIENCE = 3.0
"""A training may take so many times its seconds to make the least steps, on a machine that became busy."""
_PLANNED_SHARE = 0.85
"""Share of the seconds for steps; the rest is for validations."""
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
        self._steps = Steps(network, windows, settings, compute, course)
        self._started = time.monotonic()

    def run(self) -> TrainingState:
        """Train to the end; the network then holds the final weights.

        Raises:
            ModelError: the loss is not a number, again and again; the seconds do not allow the least steps; or the GPU's
                memory does not suffice for a single series.
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
        allowed = _PLANNED_SHARE * self.settings.max_seconds
        if needed > allowed:
            share = allowed / needed
            plan = {phase: max(1, int(steps * share)) if steps else 0 for phase, steps in plan.items()}
            self.state.budget = "seconds"
            if plan["validate"] < self._least:
                raise self._too_little(share * self.course.steps["validate"])
        self.state.steps = plan

    @property
    def _least(self) -> int:
        """Steps without which the network has learned nothing."""
        return min(_LEAST_STEPS, self.course.steps["validate"])

    def _too_little(self, steps: float) -> ModelError:
        """The error of a budget that does not suffice.

        Args:
            steps: steps of learning that the seconds allow.
        """
        needed = math.ceil(self.settings.max_seconds * self._least / steps)
        return ModelError(
            f"a budget too small to train the {self.network.kind}: {self.settings.max_seconds:g} s allow {int(steps)} of "
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
        is_start = phase == "validate" and state.step == 0 and self.course.is_update
        untouched = self._weights() if is_start else None
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
            state.dependence = self._in_memory(
                lambda parts: self._held_back(parts).dependence(self.settings.seed), AT_ONCE
            )
        following = dict(zip(PHASES, (*PHASES[1:], "done"), strict=True))
        state.phase, state.step = following[state.phase], 0
        if state.phase == "done" and not state.stopped:
            state.stopped = "steps"

    def _late(self) -> None:
        """Past the wall-clock: end the phase; a machine that became busy may still do the least steps, in some more time."""
        state = self.state
        if state.phase == "pretrain":
            # what is pretrained so far is a start
            state.steps["pretrain"], state.budget = state.step, "seconds"
        elif state.phase == "refit" or state.step >= self._least:
            self._out_of_time()
        else:
            made = state.steps["pretrain"] + state.step
            missing = (self._least - state.step) * state.seconds / made if made else 0.0
            if state.seconds + missing > _PATIENCE * self.settings.max_seconds:
                allowed = _PLANNED_SHARE * self.settings.max_seconds / state.seconds * max(made, 1)
                raise self._too_little(allowed * self.course.steps["validate"] / sum(self.course.steps.values()))

    def _out_of_time(self) -> None:
        """Stop at the wall-clock with the best weights known before the refit: half a refit is judged by nothing."""
        if self.state.phase == "validate":
            self._next_phase()
        self.network.load_state_dict(self.best)
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
        if self.best or self.course.is_update:
            self.network.load_state_dict(self.best or self._initial)
        else:
            torch.manual_seed(self.settings.seed + state.recoveries)
            redrawn = type(self.network)(self.network.sizes).state_dict()
            self.network.load_state_dict(redrawn | self._pretrained())
        self.optimizer = self._new_optimizer()
        state.step += 1

    def _pretrained(self) -> dict[str, Tensor]:
        """Weights of the encoder as pretraining left them, here or before this training; none without."""
        if not self.course.pretrained:
            return self.encoder
        return {name: self._initial[name] for name in encoder_weights(self.network)}

    def _train_step(self, phase: str, step: int, rate: float) -> float:
        """Take one step; its loss, or NaN where no step could be taken."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        known = self.known[phase]
        loss = self._in_memory(lambda parts: self._steps.gradients(phase, step, known, parts), self.settings.batch_size)
        if not math.isfinite(loss):
            return loss
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        if not bool(torch.isfinite(norm)):
            return float("nan")
        self.optimizer.step()
        return loss

    def _in_memory(self, work: Callable[[int], Found], most: int) -> Found:
        """Do some work in as many parts as the GPU's memory needs, and go on with so many."""
        found, self.state.halved = in_parts(
            work,
            halved=self.state.halved,
            most=most,
            tell=lambda parts: self.progress(f"train, out of memory: batches in {parts} parts", 0, 1),
            refusal=f"the GPU's memory does not suffice to train the {self.network.kind} on a single series; lower "
            "training.hidden or training.history_days in almanac.yaml, or set compute.device: cpu",
        )
        return found

    def _held_back(self, parts: int) -> HeldBack:
        return HeldBack(
            self.network,
            self.windows,
            self.known["validate"],
            self.validation_days,
            self._steps.precision,
            max(1, AT_ONCE // parts),
        )

    def _validation_score(self) -> float:
        """Weighted quantile loss of the validation days."""
        return self._in_memory(lambda parts: self._held_back(parts).score(), AT_ONCE)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        settings = self.settings
        return torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, foreach=True
        )

    def _cuda(self) -> list[int]:
        return list(range(torch.cuda.device_count())) if self.compute.device.startswith("cuda") else []
