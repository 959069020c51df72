"""How a language model is trained together with a series network: the joint model, its examples, its loop.

The network is trained first, on vectors of the language model as it stands; then both go on for a few hundred steps, in
which the texts of each batch go through the language model; then the network learns the days that were held back, on the
vectors that came of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.model_settings import FineTuningSettings, TrainingSettings
from pipeline.models.base import Progress, silent
from pipeline.models.finetuning.backbone import padded, width
from pipeline.models.finetuning.distributed import Peers
from pipeline.models.finetuning.loop import Loop
from pipeline.models.finetuning.methods import load_trained
from pipeline.models.finetuning.plan import Course, Task, Tunable
from pipeline.models.finetuning.reader import TextReader, texts_of, unit_vectors
from pipeline.models.finetuning.rewording import Rewording
from pipeline.models.finetuning.stored import open_adapted
from pipeline.models.language_model import ModelFolder
from pipeline.models.networks.checkpoint import fingerprint, weights_hash
from pipeline.models.networks.features import Batch, Windows
from pipeline.models.networks.forecaster import FittedNetwork
from pipeline.models.networks.likelihoods import Likelihood
from pipeline.models.networks.loss import weighted_loss, window_weights
from pipeline.models.networks.network import Network
from pipeline.models.networks.schedule import Sampler, validation_days
from pipeline.models.panel import Panel
from pipeline.settings import QUANTILES

JOINT_STEPS = 300
"""Most steps in which both learn."""
REFIT_SHARE = 0.35
"""Steps that learn the days held back, as a share of the best step; as the networks do."""
_RATE = 0.3
"""The network has been trained: it goes on at the rate of an update."""
_MOST_EXAMPLES = 8192
_LEADS = 12
_VALIDATION_SERIES = 200


class FusionModel(Tunable):
    """A language model whose vectors are the texts of a series network."""

    def __init__(self, backbone: nn.Module, network: Network) -> None:
        """Put them together.

        Args:
            backbone: adapted language model; an empty module where vectors are not to change any more.
            network: series network that reads vectors of the same length.
        """
        super().__init__()
        self.backbone = backbone
        self.network = network

    def forward(self, batch: Batch, texts: "Texts | None" = None) -> Likelihood:
        """Likelihoods of windows.

        Args:
            batch: windows.
            texts: their items' texts; None: the vectors that the batch has.
        """
        if texts is not None:
            batch = replace(batch, text=texts.vectors(self.backbone))
        likelihood: Likelihood = self.network(batch)
        return likelihood


@dataclass(frozen=True)
class Texts:
    """Texts of some windows: each distinct one once.

    Attributes:
        tokens: U distinct texts.
        place: (B,) number of each window's text from 1; 0 for none.
        device: torch device.
    """

    tokens: list[list[int]]
    place: Tensor
    device: str

    def vectors(self, backbone: nn.Module) -> Tensor:
        """(B, D) vectors of length 1; zero without a text."""
        none = torch.zeros((1, width(backbone)), device=self.device)
        if not self.tokens:
            return none[self.place]
        return torch.cat([none, unit_vectors(backbone, *padded(self.tokens, self.device))])[self.place]


@dataclass(frozen=True)
class FusionJob:
    """What each process of a joint training is told.

    Attributes:
        panel: the panel; its text vectors are those that the network was trained on.
        tokens: tokens of each series' text, empty without one.
        max_tokens: tokens of a text that are read.
        series: the trained network.
        fine_tuning: which weights of the language model learn, and how.
        training: seed and validation days.
        found: the base model.
        folder: folder of the checkpoint.
        max_seconds: most seconds.
        start: learned weights of the language model to go on from.
        phase: "joint", or "refit": the network alone, on all days.
        most_steps: most steps.
    """

    panel: Panel
    tokens: list[list[int]]
    max_tokens: int
    series: FittedNetwork
    fine_tuning: FineTuningSettings
    training: TrainingSettings
    found: ModelFolder
    folder: Path
    max_seconds: float
    start: Mapping[str, Tensor] | None
    phase: Literal["joint", "refit"] = "joint"
    most_steps: int = JOINT_STEPS

    @property
    def held_back(self) -> int:
        """Days that are validated on."""
        days = self.panel.history
        return validation_days(days, self.training.validation_days, self.panel.horizon)


class FusionTraining:
    """A training of both, or of the network alone, ready to run."""

    def __init__(self, job: FusionJob, peers: Peers, progress: Progress = silent) -> None:
        """Open the model, draw the examples and set up the loop.

        Args:
            job: what to train.
            peers: processes that share each batch.
            progress: told how far it is.
        """
        self.job, self.device = job, peers.device
        self.rewording: Rewording | None = None
        joint = job.phase == "joint"
        if joint:
            self.base, backbone = open_adapted(job.found, job.fine_tuning, job.training.seed)
            if job.start is not None:
                load_trained(backbone, dict(job.start))
            self.said = texts_of(job.panel)
            self.rewording = Rewording.of(self.said, self.base, job.fine_tuning)
        else:
            backbone = nn.Module()
        network = type(job.series.network)(job.series.network.sizes)
        network.load_state_dict(job.series.network.state_dict())
        self.model = FusionModel(backbone, network).to(peers.device)
        panel = job.panel
        self.windows = Windows(panel, job.series.spec, peers.device)
        self.known = panel.history - job.held_back if joint else panel.history
        self._draw()
        shaping = {
            "kind": f"fusion, {job.phase}",
            "base": job.found.model_id,
            "device": peers.device.split(":", maxsplit=1)[0],
            "fine_tuning": job.fine_tuning.model_dump(mode="json"),
            "training": job.training.model_dump(mode="json", include={"seed", "validation_days"}),
            "weights": weights_hash(self.model),
            "seconds": job.max_seconds,
            "steps": job.most_steps,
        }
        course = Course(
            folder=job.folder,
            mark=fingerprint(panel, shaping),
            seed=job.training.seed,
            max_seconds=job.max_seconds,
            setting="members.fusion.max_seconds",
            most_steps=job.most_steps,
            rate=_RATE,
            peers=peers,
            progress=progress,
        )
        task = Task(
            examples=len(self.rows),
            weight=lambda index: float(self.weights[index].sum()),
            loss=self._loss,
            score=self._score if joint else None,
            reworded=None if self.rewording is None else self._reworded,
        )
        # the refit has no language model
        alone = job.fine_tuning.model_copy(update={"gradient_checkpointing": False, "adversarial": 0.0})
        settings = job.fine_tuning if joint else alone
        self.loop = Loop(self.model, task, settings, course)

    def _draw(self) -> None:
        """Windows to learn from, drawn as those of the networks are."""
        windows, seed = self.windows, self.job.training.seed
        sampler = Sampler.of(windows.units, windows.first_sold, self.known)
        random = np.random.default_rng([seed, 51])
        count = int(np.clip(windows.units.shape[0] * self.known // 7, 64, _MOST_EXAMPLES))
        rows, nights = sampler.draw(random, count)
        leads = np.ceil(windows.ahead * random.random((count, _LEADS)) ** 2).clip(1).astype(np.int64)
        self.rows, self.nights, self.leads = (
            torch.as_tensor(part, device=self.device) for part in (rows, nights, leads)
        )
        self.units, counts = windows.targets(self.rows, self.nights, self.leads, self.known)
        undo = torch.as_tensor(sampler.weight[rows], device=self.device)
        self.weights = window_weights(windows.scale(self.rows, self.nights), undo, counts)

    def _texts(self, rows: Tensor, generator: np.random.Generator | None = None) -> Texts | None:
        """The texts of some series, in other words where a generator is given; None where vectors stay."""
        if self.job.phase == "refit":
            return None
        tokens = self.job.tokens
        each = [tuple(tokens[row]) for row in rows.tolist()] if generator is None else self._other(rows, generator)
        distinct = sorted({ids for ids in each if ids})
        place = {ids: number for number, ids in enumerate(distinct, start=1)} | {(): 0}
        at = torch.tensor([place[ids] for ids in each], device=self.device)
        return Texts([list(ids) for ids in distinct], at, self.device)

    def _other(self, rows: Tensor, generator: np.random.Generator) -> list[tuple[int, ...]]:
        """Tokens of each series' text, each distinct text in one other wording."""
        assert self.rewording is not None  # noqa: S101 - the loop asks only where texts are reworded
        texts = [self.said[row] for row in rows.tolist()]
        distinct = sorted(set(texts) - {""})
        others = [self.rewording.reworded(text, generator) for text in distinct]
        read = dict(zip(distinct, self.base.tokens(others, self.job.max_tokens), strict=True))
        return [tuple(read.get(text, ())) for text in texts]

    def _reworded(self, index: NDArray[np.int64], generator: np.random.Generator) -> Callable[[], Tensor]:
        """The loss of drawn windows, their items' texts in other words."""
        return partial(self._loss, index, self._texts(self.rows[index], generator))

    def _loss(self, index: NDArray[np.int64], texts: Texts | None = None) -> Tensor:
        rows = self.rows[index]
        batch = self.windows.cut(rows, self.nights[index], self.leads[index])
        likelihood = self.model(batch, self._texts(rows) if texts is None else texts)
        return weighted_loss(likelihood, batch, self.units[index], self.weights[index])

    def _score(self) -> float:
        """Weighted quantile loss of the days held back, of the biggest series."""
        windows, days = self.windows, self.job.held_back
        level = windows.sum_units[:, self.known].cpu().numpy()
        level = level + (windows.first_sold.cpu().numpy() >= self.known) * -1e18
        chosen = np.sort(np.argsort(-level, kind="stable")[:_VALIDATION_SERIES])
        levels = torch.tensor(QUANTILES, device=self.device)
        lost = total = 0.0
        for rows in torch.split(torch.as_tensor(chosen, device=self.device), self.loop.at_once):
            nights, leads = torch.full_like(rows, self.known - 1), windows.leads(days)
            likelihood = self.model(windows.cut(rows, nights, leads), self._texts(rows))
            units, counts = windows.targets(rows, nights, leads, windows.days)
            error = (units.unsqueeze(-1) - likelihood.quantiles(levels)) * counts.unsqueeze(-1)
            lost += float(2 * torch.maximum(levels * error, (levels - 1) * error).mean(-1).sum())
            total += float((units * counts).sum())
        return lost / total if total > 0 else float("inf")


def train(peers: Peers, job: FusionJob) -> None:
    """One process of several; the first leaves the weights in the checkpoint."""
    FusionTraining(job, peers).loop.run()


def opened(found: ModelFolder, settings: FineTuningSettings, training: TrainingSettings, max_tokens: int) -> TextReader:
    """The language model of a folder as a reader of item texts, before any training.

    Args:
        found: the base model.
        settings: which weights learn.
        training: seed of new weights.
        max_tokens: tokens of a text that are read.
    """
    backbone, adapted = open_adapted(found, settings, training.seed)
    return TextReader(adapted, backbone, max_tokens)
