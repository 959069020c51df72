"""The training loop of a fine-tuning: deterministic, resumable, and the same in parts of one process and over processes.

Everything random of a step comes from (seed, step, part), so a training that was killed ends in the same weights as one
that was not, and two processes with a part each draw the same dropout, and the same wordings of texts, as one process with
two parts; one with a single part draws others. Seconds become a number of steps once, at the start (see
`networks/training.py`); where they do not bind, no clock has any say.

What belongs here: steps and what may go wrong in them. What does not: what is learned (`plan.Task`), and its rules
(`plan.py`).
"""

import math
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.model_settings import FineTuningSettings
from pipeline.models.finetuning.adversarial import Adversary
from pipeline.models.finetuning.methods import Ranks, checkpoint_gradients, load_trained, trained
from pipeline.models.finetuning.plan import (
    VALIDATIONS,
    Course,
    Task,
    Tunable,
    autocast_type,
    batch,
    linear,
    steps_affordable,
    steps_wanted,
)
from pipeline.models.networks.checkpoint import TrainingState, read_checkpoint, restore_optimizer, write_checkpoint

PHASE = "fine_tune"
CHECKPOINT_SECONDS = 15.0
_VALIDATE = "validations"
_MAX_RECOVERIES = 2
_PATIENCE = 3.0
"""Times the seconds that the least steps may take on a machine that became busy."""
_SHARE_OF_SECONDS = 0.85


class Loop:
    """One fine-tuning, from its first step or from a checkpoint."""

    def __init__(self, model: Tunable, task: Task, settings: FineTuningSettings, course: Course) -> None:
        """Set up a fine-tuning.

        Args:
            model: the model on its device, adapted, with the weights to start from.
            task: what is learned.
            settings: optimiser, rates, batches, precision, patience.
            course: seed, seconds, folder, processes.

        Raises:
            ModelError: a precision, gradient checkpointing or adversarial training that cannot be had.
        """
        self.model, self.task, self.settings, self.course = model, task, settings, course
        self.peers = course.peers
        self.device = str(next(model.parameters()).device)
        if settings.gradient_checkpointing:
            checkpoint_gradients(model.backbone, settings.method)
        self.ranks = Ranks(model)
        self.adversary = Adversary(model.backbone, settings.adversarial)
        self.weights = trained(model)
        self.state = TrainingState(phase=PHASE)
        self.parts = settings.accumulate
        """Parts per process; doubled where the GPU's memory did not suffice."""
        self.best: dict[str, Tensor] = {}
        self._type = autocast_type(settings.precision, self.device)
        self._initial = _copy(self.weights)
        self._new_optimizer()
        self._overflowed = False
        self._started = time.monotonic()

    def run(self) -> TrainingState:
        """Train to the end; the model then holds the best weights, or the last ones where nothing is held back.

        Raises:
            ModelError: the loss is not a number, again and again; the seconds do not suffice for the least steps; the
                GPU's memory does not suffice for one example.
        """
        cuda = list(range(torch.cuda.device_count())) if self.device.startswith("cuda") else []
        with torch.random.fork_rng(devices=cuda):
            self._resume_or_plan()
            state, before, written = self.state, self.state.seconds, time.monotonic()
            while state.phase != "done":
                self._step()
                now = time.monotonic()
                state.seconds = before + now - self._started
                # the first process's clock decides for all
                seconds = self.peers.of_first(state.seconds)
                if state.phase != "done" and seconds > self.course.max_seconds:
                    self._late(seconds)
                if now - written > CHECKPOINT_SECONDS or state.phase == "done":
                    self._write()
                    written = now
        self.model.eval()
        return state

    @property
    def at_once(self) -> int:
        """Most examples that a process computes at once: a part of a batch. Validations keep to it, too."""
        return -(-self._batch_size // (self.parts * self.peers.size))

    @property
    def halved(self) -> int:
        """How often parts were halved because the GPU's memory did not suffice."""
        return round(math.log2(self.parts / self.settings.accumulate))

    @property
    def _batch_size(self) -> int:
        return min(self.settings.batch_size, self.task.examples)

    # --- one step -----------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        state, steps = self.state, self.state.steps[PHASE]
        # a few steps may find nothing better than where they start from
        first = state.step == 0 and self.task.score is not None
        start = self._score() if first else math.inf
        rate = self.course.rate * linear(state.step, steps, self.settings.warmup_share) * 0.3**state.recoveries
        loss = self._train_step(state.step, rate)
        if first:
            self._judge(start, loss, self._initial)
        if not math.isfinite(loss):
            self._recover(loss)
            return
        state.step += 1
        self.ranks.allocate(state.step, finite=not self._overflowed)
        every = math.ceil(steps / state.steps[_VALIDATE])
        if self.task.score is None:
            self._note("training_loss", loss)
        elif state.step % every == 0 or state.step == steps:
            self._judge(self._score(), loss, self.weights)
        self.course.progress("fine-tune", state.step, steps)
        if state.phase != "done" and state.step >= steps:
            self._finish("steps")

    def _train_step(self, step: int, rate: float) -> float:
        """Take one step; the mean loss of its batch, or NaN where no step could be taken."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["peak"]
        loss = self._gradients(step)
        if not math.isfinite(loss):
            return float("nan")
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(list(self.weights.values()), self.settings.clip)
        # under fp16 the scaler leaves out a step that overflowed, and goes on with a smaller scale
        self._overflowed = not bool(torch.isfinite(norm))
        if self._overflowed and not self.scaler.is_enabled():
            return float("nan")
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss

    def _gradients(self, step: int) -> float:
        """Gradients of the batch of a step, in parts; its mean loss. Parts are halved until they fit into memory."""
        index = batch(self.course.seed, step, self.task.examples, self.settings.batch_size)
        while True:
            try:
                loss, failed = self._parts_of(index, step), None
            except torch.OutOfMemoryError as error:
                # its frames hold the tensors that did not fit
                loss, failed = float("nan"), error.with_traceback(None)
            if self.peers.greatest(float(failed is not None)) == 0:
                self.peers.sum_gradients(self.weights.values())
                return self.peers.sum(loss)
            self._halve(failed)

    def _parts_of(self, index: np.ndarray[Any, Any], step: int) -> float:
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        total = max(self.task.weight(index), 1e-9)
        parts = np.array_split(index, self.parts * self.peers.size)
        first = self.parts * self.peers.rank
        loss = 0.0
        for number in range(first, first + self.parts):
            if not len(parts[number]):
                continue
            generator = np.random.default_rng([self.course.seed, 32, step, number])
            torch.manual_seed(int(generator.integers(2**31)))
            loss_of = self.task.part(parts[number], generator)
            with self._autocast(), self.adversary.listening():
                part = loss_of() / total
                loss += float(part.detach())
                if number == 0 and (penalty := self.ranks.penalty()) is not None:
                    part = part + penalty
            torch.autograd.backward(self.scaler.scale(part))
            if self.adversary.epsilon and math.isfinite(loss):
                with self._autocast():
                    worst = self.adversary.worst(loss_of) / total
                torch.autograd.backward(self.scaler.scale(worst))
        return loss

    def _halve(self, error: Exception | None) -> None:
        """Twice as many parts, after the GPU's memory did not suffice."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.at_once == 1:
            raise ModelError(
                "the GPU's memory does not suffice to fine-tune on a single example; set "
                f"fine_tuning.gradient_checkpointing: true in almanac.yaml, or name a smaller {self.course.model_setting}"
            ) from error
        self.parts *= 2
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()
        self.course.progress(f"fine-tune, out of memory: batches in {self.parts} parts", 0, 1)

    # --- what comes after a step --------------------------------------------------------------------------------------

    def _judge(self, score: float, loss: float, weights: dict[str, Tensor]) -> None:
        """Note what a validation found of some weights: keep them as the best, or lose patience."""
        state = self.state
        self._note("training_loss", loss)
        state.curves.setdefault("validation_loss", []).append(score)
        if score < state.score:
            state.score, state.best_step, state.stale = score, state.step, 0
            self.best = _copy(weights)
        else:
            state.stale += 1
            if state.stale >= self.settings.patience:
                self._finish("early stopping")

    def _score(self) -> float:
        """The first process's validation, for all. Parts are halved until it fits into memory."""
        while True:
            score, failed = 0.0, None
            if self.peers.rank == 0 and self.task.score is not None:
                self.model.eval()
                try:
                    with torch.no_grad(), self._autocast():
                        score = self.task.score()
                except torch.OutOfMemoryError as error:
                    failed = error.with_traceback(None)
            if self.peers.greatest(float(failed is not None)) == 0:
                return self.peers.of_first(score if math.isfinite(score) else math.inf)
            self._halve(failed)

    def _note(self, curve: str, value: float) -> None:
        self.state.curves.setdefault(curve, []).append(value)
        self.state.curve_steps.append(self.state.step)

    def _finish(self, why: str) -> None:
        self.state.phase, self.state.stopped = "done", why
        if self.best:
            load_trained(self.model, self.best)

    def _late(self, seconds: float) -> None:
        """Past the wall-clock a machine that became busy may still do the least steps, within some more of the time."""
        state = self.state
        if state.step >= min(self.course.least_steps, state.steps[PHASE]):
            self._finish("seconds")
            state.budget = "seconds"
        elif seconds > _PATIENCE * self.course.max_seconds:
            raise self._too_little(state.step, state.steps[PHASE])

    def _too_little(self, steps: int, wanted: int) -> ModelError:
        """The error of seconds that do not suffice for the least steps."""
        course = self.course
        least = min(course.least_steps, wanted)
        return ModelError(
            f"a budget too small to fine-tune: {course.max_seconds:g} seconds allow {steps} of {wanted} steps on this machine "
            f"at this moment, and with fewer than {least} nothing is learned; raise {course.setting} in almanac.yaml to "
            f"{math.ceil(course.max_seconds * least / max(steps, 1))} or more, or leave other work off the machine"
        )

    def _recover(self, loss: float) -> None:
        """Go back to the best weights so far with a smaller rate; twice at most."""
        state = self.state
        state.recoveries += 1
        if state.recoveries > _MAX_RECOVERIES:
            raise ModelError(
                f"fine-tuning diverged: the loss of step {state.step + 1} is {loss}, also after {_MAX_RECOVERIES} restarts "
                f"with a smaller rate; lower fine_tuning.learning_rate (now {self.settings.learning_rate:g}) and "
                f"fine_tuning.head_learning_rate (now {self.settings.head_learning_rate:g}) in almanac.yaml"
            )
        load_trained(self.model, self.best or self._initial)
        self._new_optimizer()
        self.ranks.forget()
        state.step += 1
        if state.step >= state.steps[PHASE]:
            self._finish("steps")

    # --- start and checkpoints ----------------------------------------------------------------------------------------

    def _resume_or_plan(self) -> None:
        found = read_checkpoint(self.course.folder, self.course.mark)
        if found is None:
            self.peers.share_weights(self.weights.values())
            self._initial = _copy(self.weights)
            self._plan()
            self._write()
        else:
            self.state, tensors = found
            load_trained(self.model, _under("weights/", tensors))
            self.best = {name: value.to(self.device) for name, value in _under("best/", tensors).items()}
            self._initial = {name: value.to(self.device) for name, value in _under("initial/", tensors).items()}
            self.parts = int(tensors["parts"])
            self.ranks.restore(_under("ranks/", tensors))
            restore_optimizer(self.optimizer, tensors)
            if self.scaler.is_enabled():
                scale, growth = (float(value) for value in tensors["scaler"])
                self.scaler.load_state_dict(self.scaler.state_dict() | {"scale": scale, "_growth_tracker": int(growth)})
        self.ranks.plan(self.state.steps[PHASE])

    def _write(self) -> None:
        """Replace the checkpoint; the first process does so, all have the same state."""
        if self.peers.rank:
            return
        groups = {"weights": self.weights, "best": self.best, "initial": self._initial, "ranks": self.ranks.state()}
        tensors = {f"{group}/{name}": value for group, values in groups.items() for name, value in values.items()}
        scale = self.scaler.state_dict() or {"scale": 1.0, "_growth_tracker": 0}
        tensors["parts"] = torch.tensor(self.parts)
        tensors["scaler"] = torch.tensor([scale["scale"], scale["_growth_tracker"]], dtype=torch.float64)
        write_checkpoint(self.course.folder, self.state, tensors, self.optimizer, self.course.mark)

    def _plan(self) -> None:
        """Steps: those of the epochs, cut to what the seconds allow; measured once, on weights that are put back."""
        course = self.course
        wanted = steps_wanted(self.settings, self.task.examples, course.most_steps)
        took = []
        for step in range(2):
            start = time.monotonic()
            self._train_step(step, 0.0)
            took.append(time.monotonic() - start)
        start = time.monotonic()
        if self.task.score is not None:
            self._score()
        validation = time.monotonic() - start
        spent = time.monotonic() - self._started
        left = _SHARE_OF_SECONDS * course.max_seconds - spent
        affordable = steps_affordable(wanted, left, took[-1], 0.0 if self.task.score is None else validation)
        # the first process's clock decides for all
        steps, validations = (int(self.peers.of_first(float(number))) for number in affordable)
        if steps < 1:
            raise ModelError(
                f"{course.max_seconds:g} seconds do not suffice for one step of fine-tuning ({took[-1]:.1f} s, and "
                f"{validation:.1f} s to validate); raise {course.setting} in almanac.yaml, or lower fine_tuning.batch_size"
            )
        if steps < min(course.least_steps, wanted):
            raise self._too_little(steps, wanted)
        load_trained(self.model, self._initial)
        self._new_optimizer()
        self.state.steps = {PHASE: steps, _VALIDATE: validations}
        self.state.budget = "steps" if (steps, validations) == (wanted, VALIDATIONS) else "seconds"

    def _new_optimizer(self) -> None:
        settings = self.settings
        adapted = {id(weight) for weight in self.model.backbone.parameters()}
        groups = [
            {"params": [w for w in self.weights.values() if (id(w) in adapted) == mine], "peak": peak}
            for mine, peak in ((True, settings.learning_rate), (False, settings.head_learning_rate))
        ]
        groups = [group for group in groups if group["params"]]
        decay = settings.weight_decay
        self.optimizer: torch.optim.Optimizer = (
            torch.optim.AdamW(groups, lr=0.0, weight_decay=decay)
            if settings.optimizer == "adamw"
            else torch.optim.SGD(groups, lr=0.0, momentum=0.9, weight_decay=decay)
        )
        self.scaler = torch.amp.GradScaler(self.device.split(":")[0], enabled=self._type == torch.float16)

    def _autocast(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._type is None else torch.autocast(self.device.split(":")[0], dtype=self._type)


def _copy(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in weights.items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
