"""A language model tuned on the seasons of a shop's items: vectors by which items of like seasons are near each other."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import HistoryError
from pipeline.model_settings import FineTuningSettings, LaunchesSettings
from pipeline.models.base import Compute, Progress, TrainingReport, silent
from pipeline.models.language_model import find_language_model
from pipeline.models.panel import Panel
from pipeline.settings import LanguageModelSettings

if TYPE_CHECKING:
    from pipeline.models.finetuning.reader import TextReader

KIND = "season_words"
LEAST_ITEMS = 200
"""Items with a text and a season below which a language model learns them by heart."""


@dataclass(frozen=True)
class SeasonTuning:
    """How the language model is tuned.

    Attributes:
        member: seconds.
        fine_tuning: which weights learn, and how.
        language_model: the base model.
        seed: of everything random.
        home: folder that a relative language model is relative to.
    """

    member: LaunchesSettings
    fine_tuning: FineTuningSettings
    language_model: LanguageModelSettings
    seed: int
    home: Path | None = None

    def fit(self, panel: Panel, *, folder: Path, compute: Compute, progress: Progress = silent) -> "TunedWords":
        """Fine-tune on the seasons of a panel's items: month shares, events, level.

        Raises:
            HistoryError: too few items have a season and a text.
            ModelError: no such language model, a method that it cannot bear, or a fine-tuning that diverged or has too few seconds.
        """
        from pipeline.models.finetuning.distributed import Peers, launch
        from pipeline.models.finetuning.reader import TextReader
        from pipeline.models.finetuning.stored import base_to_json
        from pipeline.models.networks.schedule import torch_threads
        from pipeline.models.seasons.training import SeasonJob, SeasonTraining, train

        found = find_language_model(self.language_model, home=self.home)
        device = compute.usable_device
        job = SeasonJob(
            panel=panel,
            fine_tuning=self.fine_tuning,
            seed=self.seed,
            max_tokens=self.language_model.max_tokens,
            max_seconds=self.member.max_seconds,
            found=found,
            folder=folder,
        )
        if self.fine_tuning.processes > 1:
            progress(f"tune words in {self.fine_tuning.processes} processes", 0, 1)
            launch(train, self.fine_tuning.processes, device, compute.threads, job)
        with torch_threads(compute.threads):
            # after several processes this only reads what they left
            training = SeasonTraining(job, Peers(device=device), progress)
            if len(training.texts) < LEAST_ITEMS:
                raise HistoryError(
                    f"{len(training.texts)} items have a text and a season, {LEAST_ITEMS} are needed to tune the language model on"
                )
            state = training.loop.run()
        model = training.model.to("cpu").eval()
        report = TrainingReport(
            {"items": len(training.texts), "best_step": state.best_step, "best_validation_loss": state.score},
            state.curves,
            state.curve_steps,
            state.seconds,
            state.stopped,
        )
        return TunedWords(
            reader=TextReader(model.backbone, training.backbone, self.language_model.max_tokens),
            tuning=self,
            base=base_to_json(found, self.language_model),
            learned=frozenset(panel.item_id[training.rows[training.learned]].tolist()),
            report=report,
            compute=compute,
        )


@dataclass(frozen=True)
class TunedWords:
    """A tuned language model.

    Attributes:
        reader: reads texts.
        tuning: how it was tuned.
        base: how to find the base model again.
        learned: items whose seasons it learned; it says nothing of how well it reads them.
        report: what the training did.
        compute: what it may use of the machine.
    """

    reader: "TextReader"
    tuning: SeasonTuning
    base: Mapping[str, Any]
    learned: frozenset[str]
    report: TrainingReport = field(default_factory=TrainingReport)
    compute: Compute = field(default_factory=Compute)

    def told(self, panel: Panel) -> Panel:
        """The panel with this model's vectors of its items' texts."""
        from pipeline.models.networks.schedule import torch_threads

        with torch_threads(self.compute.threads):
            return self.reader.told(panel, self.compute.usable_device)

    def unseen(self, items: NDArray[np.str_]) -> NDArray[np.bool_]:
        """(N,) whether it has not learned the seasons of items."""
        return np.array([item not in self.learned for item in items.tolist()], dtype=np.bool_)

    def save(self, folder: Path) -> None:
        """Write what was trained (safetensors) and all else (JSON); the base model is named, not copied."""
        from pipeline.models.finetuning.stored import write

        content = {
            "kind": KIND,
            "base": dict(self.base),
            "settings": self.tuning.member.model_dump(mode="json"),
            "fine_tuning": self.tuning.fine_tuning.model_dump(mode="json"),
            "seed": self.tuning.seed,
            "learned": sorted(self.learned),
            "report": asdict(self.report),
        }
        write(folder, self.reader.learned(), content)


def load_tuned(folder: Path, compute: Compute) -> TunedWords:
    """Read back what `TunedWords.save` wrote.

    Raises:
        ModelError: a file is missing or damaged, or the base model is another one than it was fine-tuned from.
    """
    from pipeline.models.finetuning.methods import load_trained
    from pipeline.models.finetuning.reader import TextReader
    from pipeline.models.finetuning.stored import find_base, naming, open_adapted, read

    content, weights = read(folder, KIND)
    with naming(folder, KIND):
        base = content["base"]
        fine_tuning = FineTuningSettings.model_validate(content["fine_tuning"])
        backbone, adapted = open_adapted(find_base(base, folder), fine_tuning, content["seed"])
        load_trained(adapted, weights)
        return TunedWords(
            reader=TextReader(adapted.eval(), backbone, base["max_tokens"]),
            tuning=SeasonTuning(
                LaunchesSettings.model_validate(content["settings"]),
                fine_tuning,
                LanguageModelSettings(model=base["model"], max_tokens=base["max_tokens"]),
                content["seed"],
            ),
            base=base,
            learned=frozenset(content["learned"]),
            report=TrainingReport(**content["report"]),
            compute=compute,
        )
