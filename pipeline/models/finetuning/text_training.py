"""How the text regression is trained: its model, its loop, and what it learns from the weeks held back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.model_settings import FineTuningSettings, TextRegressionSettings, TrainingSettings
from pipeline.models.base import Dependence, Progress, silent
from pipeline.models.finetuning.answers import Reading, heads_of, targets_of
from pipeline.models.finetuning.backbone import Backbone, apart, padded
from pipeline.models.finetuning.distributed import Peers
from pipeline.models.finetuning.heads import TextModel
from pipeline.models.finetuning.loop import Loop
from pipeline.models.finetuning.methods import load_trained
from pipeline.models.finetuning.plan import Course, Task
from pipeline.models.finetuning.prompts import Prompts
from pipeline.models.finetuning.reader import texts_of
from pipeline.models.finetuning.rewording import Rewording
from pipeline.models.finetuning.stored import open_adapted
from pipeline.models.finetuning.weeks import Weeks, prompt_tokens
from pipeline.models.language_model import ModelFolder
from pipeline.models.networks.checkpoint import fingerprint, weights_hash
from pipeline.models.networks.schedule import dependence_of, validation_days
from pipeline.models.panel import Panel
from pipeline.models.quantiles import GRID_LEVELS

Array = NDArray[np.float64]
_UPDATE_RATE = 0.3
_LEAST_STEPS = 40
"""Steps below which a new head says hardly more than before any training."""


@dataclass(frozen=True)
class TextJob:
    """What each process of a training is told.

    Attributes:
        panel: the panel.
        settings: head and seconds.
        fine_tuning: which weights learn, and how.
        training: seed and validation days.
        found: the base model.
        folder: folder of the checkpoint.
        start: trained weights to go on from; None for a new model.
    """

    panel: Panel
    settings: TextRegressionSettings
    fine_tuning: FineTuningSettings
    training: TrainingSettings
    found: ModelFolder
    folder: Path
    start: Mapping[str, Tensor] | None = None

    @property
    def known_days(self) -> int:
        """Days that are learned."""
        days = self.panel.history
        return days - validation_days(days, self.training.validation_days, self.panel.horizon)


class TextTraining:
    """A training, ready to run."""

    def __init__(self, job: TextJob, peers: Peers, progress: Progress = silent) -> None:
        """Open the model, draw the examples and set up the loop.

        Args:
            job: what to train.
            peers: processes that share each batch.
            progress: told how far it is.
        """
        self.job, self.device = job, peers.device
        self.model, self.backbone = text_model(job.found, job.settings, job.fine_tuning, job.training.seed)
        if job.start is not None:
            load_trained(self.model, dict(job.start))
        start = None if job.start is None else weights_hash(self.model)
        self.model.to(peers.device)
        self.drawn = Weeks.drawn(job.panel, self.backbone, job.known_days, job.training.seed)
        self.held = Weeks.held_back(job.panel, self.backbone, job.known_days)
        shaping = {
            "kind": "text_regression",
            "base": job.found.model_id,
            "device": peers.device.split(":", maxsplit=1)[0],
            "settings": job.settings.model_dump(mode="json"),
            "fine_tuning": job.fine_tuning.model_dump(mode="json"),
            "training": job.training.model_dump(mode="json", include={"seed", "validation_days", "update_steps"}),
            "start": start,
        }
        course = Course(
            folder=job.folder,
            mark=fingerprint(job.panel, shaping),
            seed=job.training.seed,
            max_seconds=job.settings.max_seconds,
            setting="members.text_regression.max_seconds",
            most_steps=None if start is None else job.training.update_steps,
            least_steps=_LEAST_STEPS if start is None else 0,
            rate=1.0 if start is None else _UPDATE_RATE,
            peers=peers,
            progress=progress,
        )
        self.rewording = Rewording.of(texts_of(job.panel), self.backbone, job.fine_tuning)
        task = Task(
            examples=len(self.drawn.rows),
            weight=lambda index: float(self.drawn.weights[index].sum()),
            loss=lambda index: self._loss(self.drawn, index),
            score=self._score,
            reworded=None if self.rewording is None else self._reworded,
        )
        self.loop = Loop(self.model, task, job.fine_tuning, course)

    @cached_property
    def prompts(self) -> Prompts:
        """The prompts of the panel, which only other wordings ask for again."""
        return Prompts(self.job.panel)

    def reading(self) -> tuple[Reading, Dependence]:
        """The spread of points, and how days and series move together, on the weeks held back."""
        held = self.held
        answers = answers_of(self.model, held.tokens, self.device)
        reading = Reading.learn(self.job.settings.head, answers, held.ratio, held.counts)
        _, grid = reading.read(answers, held.scale)
        units = np.rint(held.ratio.double().numpy() * held.scale[:, None])
        uniform = np.random.default_rng([self.job.training.seed, 99]).random(units.shape)
        series = len(np.unique(held.rows))
        scores = _normal_scores(units, grid, uniform).reshape(series, -1)
        return reading, dependence_of(scores, held.counts.numpy().reshape(series, -1))

    def _reworded(self, index: NDArray[np.int64], generator: np.random.Generator) -> Callable[[], Tensor]:
        """The loss of drawn weeks, the item's text of each of them in other words."""
        weeks, rewording = self.drawn, self.rewording
        assert rewording is not None  # noqa: S101 - the loop asks only where texts are reworded
        rows, nights, ahead = (numbers[index] for numbers in (weeks.rows, weeks.nights, weeks.ahead))
        texts = [rewording.reworded(self.prompts.text(int(row)), generator) for row in rows]
        tokens = prompt_tokens(self.prompts, self.backbone, (rows, nights, ahead), weeks.scale[index], texts=texts)
        return partial(self._loss, weeks, index, tokens)

    def _loss(self, weeks: Weeks, index: NDArray[np.int64], tokens: list[list[int]] | None = None) -> Tensor:
        """Weighted sum of the loss of some weeks, read from other prompts than their own where those are given."""
        read = weeks.batch(index, self.device) if tokens is None else padded(tokens, self.device)
        answers = self.model(*read)
        ratio, revenue, weights = (part[index].to(self.device) for part in (weeks.ratio, weeks.revenue, weeks.weights))
        targets = targets_of(self.model.heads, ratio, revenue)
        return self.model.heads.loss(answers, targets, dict.fromkeys(targets, weights))

    def _score(self) -> float:
        every = np.arange(len(self.held.rows))
        parts = np.array_split(every, -(-len(every) // self.loop.at_once))
        return sum(float(self._loss(self.held, part)) for part in parts) / max(float(self.held.weights.sum()), 1e-9)


def train(peers: Peers, job: TextJob) -> None:
    """One process of several; the first leaves the weights in the checkpoint."""
    TextTraining(job, peers).loop.run()


def text_model(
    found: ModelFolder, settings: TextRegressionSettings, fine_tuning: FineTuningSettings, seed: int
) -> tuple[TextModel, Backbone]:
    """Language model with heads, before any training, and its tokenizer.

    Args:
        found: the base model.
        settings: the head.
        fine_tuning: which weights learn.
        seed: seed of new weights.
    """
    backbone, adapted = open_adapted(found, fine_tuning, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = heads_of(settings.head, backbone.width, fine_tuning.dropout)
    return TextModel(adapted, heads), backbone


def answers_of(model: TextModel, tokens: list[list[int]], device: str) -> dict[str, Tensor]:
    """Answers of prompts, each of which depends on its own prompt alone; on the CPU."""
    model.eval()
    return apart(model, tokens, device)


def _normal_scores(units: Array, grid: Array, uniform: Array) -> Array:
    """Randomised PIT of whole units read off the grid, as standard normal scores."""
    levels = np.array([0.0, *GRID_LEVELS])

    def reached(bound: Array) -> Array:
        below: Array = levels[(grid < bound[..., None]).sum(-1)]
        return below

    upper, lower = reached(units + 0.5), np.where(units > 0, reached(units - 0.5), 0.0)
    level = np.clip(lower + uniform * np.maximum(upper - lower, 0.0), 1e-4, 1 - 1e-4)
    scores: Array = torch.special.ndtri(torch.as_tensor(level)).numpy()
    return scores
