"""Fine-tuning of a pretrained time-series model with LoRA, by the model's own loss, through the house's loop.

Not `Chronos2Pipeline.fit`: that one draws from NumPy's global state, counts steps but not seconds, writes the optimiser's
pickles, and Chronos-Bolt has none. The last days are held back to choose the best weights, the untouched ones among them,
and are not learned afterwards. What was learned is kept only where it beats the untouched weights over three origins in
these days, at two of them at least.

What belongs here: examples, loss and score. What does not: steps and what may go wrong in them (`finetuning/loop.py`).
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.errors import HistoryError, ModelError
from pipeline.model_settings import ChronosSettings, FineTuningSettings, TrainingSettings
from pipeline.models.base import Progress, TrainingReport, silent
from pipeline.models.finetuning.distributed import Peers
from pipeline.models.finetuning.loop import Loop
from pipeline.models.finetuning.plan import Course, Task, Tunable
from pipeline.models.networks.checkpoint import fingerprint
from pipeline.models.panel import Panel
from pipeline.models.pretrained.adapter import adapter_config, adapters_untouched, add_adapter
from pipeline.models.pretrained.base import BaseModel, Pretrained, load_base
from pipeline.models.pretrained.prediction import predict
from pipeline.models.pretrained.quantile_function import QuantileFunction
from pipeline.models.pretrained.windows import CalendarEffect, Windows
from pipeline.models.quantiles import WQL_LEVELS, pinball

Index = NDArray[np.int64]

ORIGINS = 3
"""Origins in the days held back over which what was learned has to win."""
_LEAST_WON = 2
_MIN_PAST = 28
_MIN_AHEAD = 7
_VALIDATED_SERIES = 64
_MOST_DRAWN = 65_536
"""Windows that are drawn at most; where the epochs ask for more, these come again."""
_LEAST_STEPS = 20
"""Steps below which adapters, which begin with nothing, say hardly more than the pretrained model."""
_ZERO_SHOT = "or set members.chronos.fine_tune: false in almanac.yaml"


@dataclass(frozen=True)
class TuningJob:
    """What each process of a fine-tuning is told.

    Attributes:
        panel: the panel.
        base: the pretrained model.
        settings: layers to adapt, and seconds.
        fine_tuning: rank, rates, batch and epochs.
        training: seed.
        known_days: days of history to learn from; the rest validates.
        folder: folder of the checkpoint.
    """

    panel: Panel
    base: BaseModel
    settings: ChronosSettings
    fine_tuning: FineTuningSettings
    training: TrainingSettings
    known_days: int
    folder: Path

    @property
    def old_enough(self) -> Index:
        """Series with enough days to learn from."""
        return np.flatnonzero(self.panel.first_sold + _MIN_PAST + _MIN_AHEAD <= self.known_days)

    def check(self) -> None:
        """Refuse what cannot be fine-tuned, before anything is loaded.

        Raises:
            HistoryError: no series is old enough to learn from.
            ModelError: a method that time-series models do not have.
        """
        method = self.fine_tuning.method
        if method != "lora":
            raise ModelError(
                f"fine_tuning.method: {method} in almanac.yaml: chronos is fine-tuned with LoRA alone; set it to lora, {_ZERO_SHOT}"
            )
        if not len(self.old_enough):
            raise HistoryError(
                f"no series has {_MIN_PAST + _MIN_AHEAD} days of sales before the days held back, so there is nothing to "
                f"fine-tune chronos on; choose a later --as-of, {_ZERO_SHOT}"
            )


class TunedModel(Tunable):
    """A time-series network with adapters, which are all that learns."""

    def __init__(self, network: nn.Module) -> None:
        """Wrap a network for the loop."""
        super().__init__()
        self.backbone = network


class ChronosTuning:
    """A fine-tuning, ready to run."""

    def __init__(self, job: TuningJob, peers: Peers, progress: Progress = silent) -> None:
        """Load the model, add the adapters, draw the examples and set up the loop.

        Args:
            job: what to train.
            peers: processes that share each batch.
            progress: told how far it is.

        Raises:
            ModelError: the model cannot be loaded or lacks the layers, or a setting that it cannot have.
        """
        self.job, self.device = job, peers.device
        self.model: Pretrained = load_base(job.base)
        self.adapter = adapter_config(job.settings, job.fine_tuning)
        add_adapter(self.model.network, self.adapter, seed=job.training.seed)
        self.model.network.to(peers.device)
        reads = job.base.family == "chronos-2"
        self.effect = CalendarEffect.learn(job.panel, job.known_days) if reads else None
        self.windows = Windows(job.panel, self.effect, self.model.context_days)
        self.horizon = max(1, min(job.panel.horizon, int(self.model.pipeline.model_prediction_length)))
        epochs = self._draw()
        shaping = {
            "kind": "chronos",
            "base": job.base.model_id,
            "device": peers.device.split(":", maxsplit=1)[0],
            "settings": job.settings.model_dump(mode="json", include={"max_seconds", "target_modules"}),
            "fine_tuning": job.fine_tuning.model_dump(mode="json"),
            "seed": job.training.seed,
            "known_days": job.known_days,
        }
        course = Course(
            folder=job.folder,
            mark=fingerprint(job.panel, shaping),
            seed=job.training.seed,
            max_seconds=job.settings.max_seconds,
            setting="members.chronos.max_seconds",
            model_setting="members.chronos.model",
            least_steps=_LEAST_STEPS,
            peers=peers,
            progress=progress,
        )
        task = Task(len(self.series), lambda index: float(len(index)), self._loss, self._score)
        # there are no word embeddings to move
        settings = job.fine_tuning.model_copy(update={"epochs": epochs, "adversarial": 0.0})
        self.loop = Loop(TunedModel(self.model.network), task, settings, course)

    def run(self) -> TrainingReport:
        """Fine-tune to the end; the network then holds the weights that validated best, whether they are kept or not.

        Raises:
            ModelError: it diverged, or seconds or memory do not suffice.
        """
        state = self.loop.run()
        scores = state.curves["validation_loss"]
        gains = self._gains() if state.best_step else []
        won = sum(gain > 0 for gain in gains)
        keep = len(gains) == ORIGINS and sum(gains) > 0 and won >= _LEAST_WON
        parameters = {
            "base": self.job.base.model_id,
            "fine_tuned": keep,
            **self.adapter,
            "weights": sum(weight.numel() for weight in self.loop.weights.values()),
            "examples": len(self.series),
            "parts": self.loop.parts,
            "halved": self.loop.halved,
            "steps": state.step,
            "best_step": state.best_step,
            "origins_won": won,
            "kept": "fine-tuned" if keep else "zero-shot",
            "zero_shot_validation_wql": scores[0],
            "best_validation_wql": state.score,
            "recoveries": state.recoveries,
            "budget": state.budget,
        }
        curves = {"validation_wql": scores, "training_loss": state.curves["training_loss"]}
        return TrainingReport(parameters, curves, state.curve_steps, state.seconds, state.stopped)

    def _draw(self) -> float:
        """Draw the windows to learn from, and the series to validate on; passes over the windows.

        A window is a series, then any of its nights with enough days behind and ahead. An epoch has as many as the days
        ahead fit into the history, and each has others.
        """
        job, first_sold = self.job, self.job.panel.first_sold
        drawn = np.random.default_rng([job.training.seed, 97])
        old_enough = job.old_enough
        wanted = job.fine_tuning.epochs * np.ceil((job.known_days - first_sold[old_enough]) / self.horizon).sum()
        count = min(max(math.ceil(wanted), job.fine_tuning.batch_size), _MOST_DRAWN)
        self.series = drawn.choice(old_enough, count)
        first, last = first_sold[self.series] + _MIN_PAST - 1, job.known_days - 1 - _MIN_AHEAD
        self.nights = drawn.integers(first, last + 1)
        sold = np.flatnonzero(first_sold < job.known_days)
        self.validated = np.sort(drawn.permutation(sold)[:_VALIDATED_SERIES])
        return float(wanted / count)

    def _loss(self, index: Index) -> Tensor:
        """Sum of the model's own loss over some windows."""
        network, windows, horizon = self.model.network, self.windows, self.horizon
        series, nights = self.series[index], self.nights[index]
        past = torch.from_numpy(windows.past(series, nights)).to(self.device)
        target = torch.from_numpy(windows.targets(series, nights, horizon, self.job.known_days)).to(self.device)
        if self.job.base.family == "chronos-bolt":
            loss: Tensor = network(context=past[:, 0], target=target).loss * len(index)
            return loss
        count, rows, _ = past.shape
        ahead = torch.from_numpy(windows.ahead(series, nights, horizon)).to(self.device)
        future = torch.full_like(ahead, torch.nan)
        future[:, 0] = target
        loss = network(
            context=past.flatten(0, 1),
            group_ids=torch.arange(count, device=self.device).repeat_interleave(rows),
            future_covariates=ahead.flatten(0, 1),
            future_target=future.flatten(0, 1),
            num_output_patches=math.ceil(horizon / network.chronos_config.output_patch_size),
        ).loss
        return loss * len(index)

    def _score(self) -> float:
        """WQL of the days held back, for some of the series that had sold before them; computed as forecasts are."""
        loss, units = self._loss_of(self.job.known_days, self.windows.history)
        return loss / max(units, 1.0)

    def _gains(self) -> list[float]:
        """By how much the adapters lower the loss at each origin in the days held back, looking ahead to the next one."""
        ends = np.linspace(self.job.known_days, self.windows.history, ORIGINS + 1).astype(int).tolist()
        stretches = [(first, end) for first, end in pairwise(ends) if first < end]
        tuned = [self._loss_of(*stretch)[0] for stretch in stretches]
        with adapters_untouched(self.model.network):
            untouched = [self._loss_of(*stretch)[0] for stretch in stretches]
        return [theirs - mine for mine, theirs in zip(tuned, untouched, strict=True)]

    def _loss_of(self, known: int, end: int) -> tuple[float, float]:
        """Quantile loss and units of the days from `known` to before `end`, forecast from the night before them."""
        held = end - known
        nights = np.full(len(self.validated), known - 1)
        with torch.autocast(self.device.split(":", maxsplit=1)[0], enabled=False):
            values = predict(self.model, self.windows, self.validated, nights, held, at_once=self.loop.at_once)
        quantiles = QuantileFunction.of(self.model.levels, values).at(WQL_LEVELS)
        units = self.windows.targets(self.validated, nights, held, end)
        counts = ~np.isnan(units)
        actual = units[counts].astype(np.float64)
        loss = 2.0 * pinball(actual, quantiles[counts], np.array(WQL_LEVELS)).mean(axis=1).sum()
        return float(loss), float(actual.sum())


def train(peers: Peers, job: TuningJob) -> None:
    """One process of several; the first leaves the weights in the checkpoint."""
    ChronosTuning(job, peers).loop.run()
