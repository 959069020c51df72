"""A language model that reads sales as text: one prompt per series and week ahead, a fine-tuned model, a head for the week.

The literature's way (PromptCast, Xue and Salim 2023), kept as a reference to measure others by: it reads fourteen days and
eight weeks in words, knows nothing of other series, and costs a pass of the language model per series and week.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import ModelError
from pipeline.model_settings import FineTuningSettings, TextRegressionSettings, TrainingSettings
from pipeline.models.base import Array, Compute, Dependence, Fitted, Forecast, Progress, TrainingReport, silent
from pipeline.models.history import LOOKBACK_DAYS, require_history, unseen_days
from pipeline.models.language_model import ModelFolder, find_language_model
from pipeline.models.panel import Panel
from pipeline.models.quantiles import GRID_LEVELS, whole_units
from pipeline.settings import QUANTILES, LanguageModelSettings

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.models.finetuning.answers import Reading
    from pipeline.models.finetuning.backbone import Backbone
    from pipeline.models.finetuning.heads import TextModel

KIND = "text_regression"
DAYS = 7
_IN_GRID = [GRID_LEVELS.index(level) for level in QUANTILES]
_ROWS_AT_ONCE = 256
"""Series whose prompts are held at once."""


@dataclass(frozen=True)
class TextRegression:
    """The forecaster with its settings.

    Attributes:
        settings: head and seconds.
        fine_tuning: which weights learn, and how.
        training: seed, validation days and shortest history.
        language_model: the base model.
        home: folder that a relative language model is relative to.
        name: name in the registry.
    """

    settings: TextRegressionSettings
    fine_tuning: FineTuningSettings
    training: TrainingSettings
    language_model: LanguageModelSettings
    home: Path | None = None
    name: str = KIND

    def fit(
        self,
        panel: Panel,
        *,
        folder: Path,
        compute: Compute,
        progress: Progress = silent,
        start: Fitted | None = None,
    ) -> "FittedTextRegression":
        """Fine-tune on weeks of the panel's history; see `pipeline.models.base.Forecaster`.

        The last days are validated on and never learned. With `start` its weights are trained on, for a few steps.

        Raises:
            HistoryError: less history than `training.min_history_days`, or nothing sold.
            ModelError: no such language model, a method that it cannot bear, a fine-tuning that diverged, learned nothing or
                has too few seconds; or `start` is of another kind or base, or has seen all days of the panel.
        """
        from pipeline.models.finetuning.distributed import Peers, launch
        from pipeline.models.finetuning.stored import base_to_json
        from pipeline.models.finetuning.text_training import TextJob, TextTraining, train
        from pipeline.models.networks.schedule import torch_threads

        require_history(panel, self.training, self.name)
        found = find_language_model(self.language_model, home=self.home)
        device = compute.usable_device
        job = TextJob(
            panel=panel,
            settings=self.settings,
            fine_tuning=self.fine_tuning,
            training=self.training,
            found=found,
            folder=folder,
            start=None if start is None else _start(start, panel, found).learned(),
        )
        if self.fine_tuning.processes > 1:
            progress(f"fine-tune in {self.fine_tuning.processes} processes", 0, 1)
            launch(train, self.fine_tuning.processes, device, compute.threads, job)
        with torch_threads(compute.threads):
            # after several processes this only reads what they left
            training = TextTraining(job, Peers(device=device), progress)
            loop = training.loop
            state = loop.run()
            if start is None and state.best_step == 0:
                raise self._learned_nothing(state.step)
            reading, dependence = training.reading()
        parameters = {
            "series": panel.series,
            "history_days": panel.history,
            "horizon_days": panel.horizon,
            "base": found.model_id,
            "method": self.fine_tuning.method,
            "head": self.settings.head,
            "weights": sum(weight.numel() for weight in loop.weights.values()),
            "examples": loop.task.examples,
            "parts": loop.parts,
            "halved": loop.halved,
            "best_step": state.best_step,
            "best_validation_loss": state.score,
            "recoveries": state.recoveries,
            "budget": state.budget,
            "steps": state.step,
        }
        return FittedTextRegression(
            model=training.model.to("cpu").eval(),
            backbone=training.backbone,
            forecaster=self,
            base=base_to_json(found, self.language_model),
            reading=reading,
            dependence=dependence,
            report=TrainingReport(parameters, state.curves, state.curve_steps, state.seconds, state.stopped),
            trained_on={"first_day": panel.first_day.isoformat(), "as_of": panel.as_of.isoformat()},
            compute=compute,
            just_fitted=True,
        )

    def _learned_nothing(self, steps: int) -> ModelError:
        return ModelError(
            f"the {KIND} learned nothing: after none of {steps} steps was it better on the days held back than before the "
            f"first one; raise members.{KIND}.max_seconds (now {self.settings.max_seconds:g}) or fine_tuning.epochs (now "
            f"{self.fine_tuning.epochs:g}) in almanac.yaml, or lower fine_tuning.learning_rate and "
            "fine_tuning.head_learning_rate"
        )


@dataclass(frozen=True)
class FittedTextRegression:
    """A fine-tuned language model, ready for any panel of the shop.

    Attributes:
        model: adapted language model and heads.
        backbone: the base model's tokenizer.
        forecaster: the settings that it was fitted with.
        base: how to find the base model again.
        reading: how answers become a distribution.
        trained_on: first day and night of the panel.
        just_fitted: fitted in this process rather than read from a folder.
    """

    model: "TextModel"
    backbone: "Backbone"
    forecaster: TextRegression
    base: Mapping[str, Any]
    reading: "Reading"
    dependence: Dependence
    report: TrainingReport
    trained_on: Mapping[str, str]
    compute: Compute = field(default_factory=Compute)
    lookback_days: int = LOOKBACK_DAYS
    name: str = KIND
    just_fitted: bool = False

    @property
    def validated(self) -> "FittedTextRegression | None":
        """Itself: the days held back are never learned."""
        return self if self.just_fitted else None

    def forecast(self, panel: Panel, horizon: int, *, grid: bool = False, progress: Progress = silent) -> Forecast:
        """Forecast `horizon` days after the panel's night; see `pipeline.models.base.Fitted`.

        Raises:
            ModelError: the panel knows the calendar for fewer days.
        """
        from pipeline.models.networks.schedule import torch_threads

        if horizon > panel.horizon:
            raise ModelError(
                f"asked for {horizon} days, but the panel knows the calendar of {panel.horizon} days ahead"
            )
        mean = np.zeros((panel.series, horizon))
        fine = np.zeros((panel.series, horizon, len(GRID_LEVELS)))
        device = self.compute.usable_device
        self.model.to(device)
        with torch_threads(self.compute.threads):
            for start in range(0, panel.series, _ROWS_AT_ONCE):
                rows = slice(start, start + _ROWS_AT_ONCE)
                mean[rows], fine[rows] = self._rows(panel.rows(rows), horizon, device)
                progress("forecast", min(start + _ROWS_AT_ONCE, panel.series), panel.series)
        opened = ~panel.closed[panel.history : panel.history + horizon]
        fine *= opened[:, None]
        return Forecast(
            mean * opened,
            whole_units(fine[..., _IN_GRID]),
            fine if grid else None,
            np.array(GRID_LEVELS) if grid else None,
        )

    def _rows(self, panel: Panel, horizon: int, device: str) -> tuple[Array, Array]:
        import torch

        from pipeline.models.finetuning.prompts import Prompts
        from pipeline.models.finetuning.text_training import answers_of
        from pipeline.models.finetuning.weeks import first_weekday, prompt_tokens, windows_of

        windows = windows_of(panel)
        night = torch.full((panel.series,), panel.history - 1)
        scale = windows.scale(torch.arange(panel.series), night).double().numpy()
        weeks = -(-horizon // DAYS)
        rows, ahead = np.repeat(np.arange(panel.series), weeks), np.tile(np.arange(weeks), panel.series)
        which = (rows, np.full(len(rows), panel.history - 1), ahead)
        tokens = prompt_tokens(Prompts(panel), self.backbone, which, scale[rows])
        mean, fine = self.reading.read(answers_of(self.model, tokens, device), scale[rows])
        days = weeks * DAYS
        # answers are Monday first
        first = int(first_weekday(panel, which[1][:1])[0])
        mean, fine = np.roll(mean, -first, axis=1), np.roll(fine, -first, axis=1)
        return (
            mean.reshape(panel.series, days)[:, :horizon],
            fine.reshape(panel.series, days, len(GRID_LEVELS))[:, :horizon],
        )

    def learned(self) -> "dict[str, Tensor]":
        """The weights that were trained."""
        from pipeline.models.finetuning.methods import trained

        return {name: weight.detach().cpu().clone() for name, weight in trained(self.model).items()}

    def save(self, folder: Path) -> None:
        """Write what was trained (safetensors) and all else (JSON); the base model is named, not copied."""
        from pipeline.models.finetuning.stored import sections_to_json, write

        tuned = self.forecaster
        content = {
            "kind": KIND,
            **sections_to_json(tuned.settings, tuned.fine_tuning, tuned.training, self.base),
            "reading": self.reading.to_json(),
            "dependence": asdict(self.dependence),
            "report": asdict(self.report),
            "trained_on": dict(self.trained_on),
        }
        write(folder, self.learned(), content)

    def describe(self) -> dict[str, Any]:
        """What it is: base model, method, head, training window."""
        return {
            "kind": KIND,
            "base": self.base["id"],
            "method": self.forecaster.fine_tuning.method,
            "head": self.forecaster.settings.head,
            "trained_on": dict(self.trained_on),
            "dependence": asdict(self.dependence),
            "stopped": self.report.stopped,
        }


def load_text_regression(folder: Path, compute: Compute | None = None) -> FittedTextRegression:
    """Read back what `FittedTextRegression.save` wrote.

    Raises:
        ModelError: a file is missing or damaged, or the base model is another one than it was fine-tuned from.
    """
    from pipeline.models.finetuning.answers import Reading
    from pipeline.models.finetuning.methods import load_trained
    from pipeline.models.finetuning.stored import find_base, naming, read, sections_of
    from pipeline.models.finetuning.text_training import text_model

    content, weights = read(folder, KIND)
    with naming(folder, KIND):
        found = find_base(content["base"], folder)
        by = sections_of(content)
        forecaster = TextRegression(
            TextRegressionSettings.model_validate(by.member), by.fine_tuning, by.training, by.language_model
        )
        model, backbone = text_model(found, forecaster.settings, forecaster.fine_tuning, forecaster.training.seed)
        load_trained(model, weights)
        return FittedTextRegression(
            model=model.eval(),
            backbone=backbone,
            forecaster=forecaster,
            base=content["base"],
            reading=Reading.from_json(content["reading"]),
            dependence=Dependence(**content["dependence"]),
            report=TrainingReport(**content["report"]),
            trained_on=content["trained_on"],
            compute=compute or Compute(),
        )


def _start(start: Fitted, panel: Panel, found: ModelFolder) -> FittedTextRegression:
    if not isinstance(start, FittedTextRegression) or start.base["id"] != found.model_id:
        raise ModelError(f"a {KIND} of {found.model_id} cannot go on from this {start.name!r}; train a new one")
    unseen_days(KIND, start.trained_on["as_of"], panel)
    return start
