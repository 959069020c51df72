"""Fine-tuning a language model on the seasons of a panel's items: months, events and level at once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.model_settings import FineTuningSettings
from pipeline.models.base import Progress, silent
from pipeline.models.finetuning.backbone import Backbone, padded
from pipeline.models.finetuning.distributed import Peers
from pipeline.models.finetuning.heads import TextModel
from pipeline.models.finetuning.loop import Loop
from pipeline.models.finetuning.plan import Course, Task
from pipeline.models.finetuning.reader import texts_of
from pipeline.models.finetuning.rewording import Rewording
from pipeline.models.finetuning.stored import open_adapted
from pipeline.models.language_model import ModelFolder
from pipeline.models.launches.facts import LEAST_SALES, Facts
from pipeline.models.networks.checkpoint import fingerprint
from pipeline.models.panel import Panel
from pipeline.models.seasons.belief import LEAST_LIFT
from pipeline.models.seasons.heads import EVENTS, LEVEL, SHARES, season_heads
from pipeline.models.seasons.sums import MONTH, SeasonSums

HELD_SHARE = 0.1
"""Share of the items that are validated on and not learned."""
_MOST_SALES = 200.0
"""Sales beyond which an item's season is not known better."""
_PRIOR = 6.0
"""Sales that every item is believed to have had in the shop's own seasons, beside its own."""
_LEAST_STEPS = 40


@dataclass(frozen=True)
class SeasonJob:
    """What each process of a training is told.

    Attributes:
        panel: the panel.
        fine_tuning: which weights learn, and how.
        seed: of everything random.
        max_tokens: tokens of a text that are read.
        max_seconds: most seconds.
        found: the base model.
        folder: folder of the checkpoint.
    """

    panel: Panel
    fine_tuning: FineTuningSettings
    seed: int
    max_tokens: int
    max_seconds: float
    found: ModelFolder
    folder: Path


class SeasonTraining:
    """A training, ready to run."""

    def __init__(self, job: SeasonJob, peers: Peers, progress: Progress = silent) -> None:
        """Open the model, read the targets and set up the loop.

        Args:
            job: what to train.
            peers: processes that share each batch.
            progress: told how far it is.
        """
        self.job, self.device = job, peers.device
        facts = Facts(job.panel)
        sums, texts = SeasonSums.of(facts), texts_of(job.panel)
        rows = np.array([row for row in np.flatnonzero(sums.total >= LEAST_SALES) if texts[row]], dtype=np.int64)
        self.rows = rows
        self.texts = [texts[row] for row in rows]
        events = sum(season.kind != MONTH for season in sums.seasons)
        self.model, self.backbone = season_model(job.found, job.fine_tuning, events, job.seed)
        self.model.to(peers.device)
        self.tokens = self.backbone.tokens(self.texts, job.max_tokens)
        self._tensors = _tensors(sums, facts.levels(job.panel.history)[:, 1], rows)
        order = np.random.default_rng([job.seed, 41]).permutation(len(self.texts))
        held = round(HELD_SHARE * len(order))
        self.held, self.learned = np.sort(order[:held]), np.sort(order[held:])
        shaping = {
            "kind": "seasons",
            "base": job.found.model_id,
            "device": peers.device.split(":", maxsplit=1)[0],
            "fine_tuning": job.fine_tuning.model_dump(mode="json"),
            "seed": job.seed,
            "max_tokens": job.max_tokens,
        }
        course = Course(
            folder=job.folder,
            mark=fingerprint(job.panel, shaping),
            seed=job.seed,
            max_seconds=job.max_seconds,
            setting="members.launches.max_seconds",
            least_steps=_LEAST_STEPS,
            peers=peers,
            progress=progress,
        )
        self.rewording = Rewording.of(self.texts, self.backbone, job.fine_tuning)
        task = Task(
            examples=len(self.learned),
            weight=lambda index: float(self._weights(self.learned[index])),
            loss=lambda index: self._loss(self.learned[index]),
            score=self._score,
            reworded=None if self.rewording is None else self._reworded,
        )
        self.loop = Loop(self.model, task, job.fine_tuning, course)

    def _reworded(self, index: NDArray[np.int64], generator: np.random.Generator) -> Callable[[], Tensor]:
        rewording = self.rewording
        assert rewording is not None  # noqa: S101 - the loop asks only where texts are reworded
        texts = [rewording.reworded(self.texts[row], generator) for row in self.learned[index]]
        return partial(self._loss, self.learned[index], self.backbone.tokens(texts, self.job.max_tokens))

    def _weights(self, rows: NDArray[np.int64]) -> Tensor:
        return self._tensors[f"{SHARES}_weights"][rows].sum()

    def _loss(self, rows: NDArray[np.int64], tokens: list[list[int]] | None = None) -> Tensor:
        """Weighted sum of the loss of some items, read from other words than their own where those are given."""
        read = padded(tokens if tokens is not None else [self.tokens[row] for row in rows], self.device)
        answers = self.model(*read)
        chosen = {name: tensor[rows].to(self.device) for name, tensor in self._tensors.items()}
        return self.model.heads.loss(
            answers,
            {name: chosen[name] for name in answers},
            {name: chosen[f"{name}_weights"] for name in answers},
        )

    def _score(self) -> float:
        parts = np.array_split(self.held, -(-len(self.held) // self.loop.at_once))
        return sum(float(self._loss(part)) for part in parts) / max(float(self._weights(self.held)), 1e-9)


def season_model(
    found: ModelFolder, fine_tuning: FineTuningSettings, events: int, seed: int
) -> tuple[TextModel, Backbone]:
    """Language model with the heads of seasons, before any training, and its tokenizer."""
    backbone, adapted = open_adapted(found, fine_tuning, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = season_heads(backbone.width, events, fine_tuning.dropout)
    return TextModel(adapted, heads), backbone


def train(peers: Peers, job: SeasonJob) -> None:
    """One process of several; the first leaves the weights in the checkpoint."""
    SeasonTraining(job, peers).loop.run()


def _tensors(sums: SeasonSums, level: NDArray[np.float64], rows: NDArray[np.int64]) -> dict[str, Tensor]:
    """Targets and weights of each task, of some rows."""
    is_month = np.array([season.kind == MONTH for season in sums.seasons])
    total, lifts = sums.total[rows], sums.lifts()[rows][:, ~is_month]
    weight = np.sqrt(np.minimum(total, _MOST_SALES))
    known = sums.known()[rows][:, is_month]
    base = np.where(known, sums.usual()[rows][:, is_month] / total[:, None], 0.0)
    shares = np.where(known, sums.came[rows][:, is_month] + _PRIOR * base, 0.0)
    found = {
        SHARES: np.stack([shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-9), base], axis=1),
        f"{SHARES}_weights": (weight / weight.mean())[:, None],
        EVENTS: np.where(np.isfinite(lifts), np.exp(np.nan_to_num(lifts)) >= LEAST_LIFT, 0.0),
        f"{EVENTS}_weights": np.isfinite(lifts) / max(lifts.shape[1], 1),
        LEVEL: np.nan_to_num(level[rows])[:, None],
        f"{LEVEL}_weights": np.isfinite(level[rows])[:, None].astype(np.float64),
    }
    return {name: torch.as_tensor(values, dtype=torch.float32) for name, values in found.items()}
