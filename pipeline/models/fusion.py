"""A series network and a language model that learn together what an item's text says about its demand.

The network is the house's Transformer over weekly patches, with its likelihood; its context reads the pooled vector of the
item's text, which elsewhere stays as the language model made it, and here is fine-tuned together with the network.
"""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ModelError
from pipeline.model_settings import FineTuningSettings, MemberSettings, TrainingSettings
from pipeline.models.base import Compute, Dependence, Fitted, Forecast, Progress, TrainingReport, silent
from pipeline.models.history import require_history
from pipeline.models.language_model import find_language_model
from pipeline.models.networks.forecaster import FittedNetwork, NetworkForecaster, load_network
from pipeline.models.panel import Panel
from pipeline.settings import LanguageModelSettings

if TYPE_CHECKING:
    from pipeline.models.finetuning.fusion_training import FusionJob, FusionTraining
    from pipeline.models.finetuning.reader import TextReader

KIND = "fusion"
SERIES = "transformer"
"""Architecture of the series network."""
_SERIES_FOLDER = "series"
_SHARES = {"series": 0.5, "joint": 0.4, "refit": 0.1}
"""Shares of the seconds that reading the texts leaves."""
_READINGS = 2
"""Times that all texts are read: before the network learns, and after what reads them has learned."""
_READING_FILE = "reading.json"


@dataclass(frozen=True)
class Fusion:
    """The forecaster with its settings.

    Attributes:
        settings: seconds.
        fine_tuning: which weights of the language model learn, and how.
        training: the network's.
        language_model: the base model.
        home: folder that a relative language model is relative to.
        name: name in the registry.
    """

    settings: MemberSettings
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
    ) -> "FittedFusion":
        """Train the network, then both, then the network on the days held back; see `pipeline.models.base.Forecaster`.

        A panel without any item text is forecast by the network alone.

        Raises:
            HistoryError: less history than `training.min_history_days`, or nothing sold.
            ModelError: no such language model, a method that it cannot bear, a training that diverged or has too few
                seconds; or `start` is of another kind or base, or has seen all days of the panel.
        """
        from pipeline.models.finetuning.fusion_training import FusionJob, opened
        from pipeline.models.finetuning.methods import load_trained
        from pipeline.models.finetuning.reader import texts_of
        from pipeline.models.finetuning.stored import base_to_json
        from pipeline.models.networks.schedule import torch_threads

        require_history(panel, self.training, self.name)
        found = find_language_model(self.language_model, home=self.home)
        before = None if start is None else _start(start, found.model_id)
        device = compute.usable_device
        reader = opened(found, self.fine_tuning, self.training, self.language_model.max_tokens)
        learned = None if before is None else before.reader.learned()
        if learned is not None:
            load_trained(reader.adapted, learned)
        began = time.monotonic()
        with torch_threads(compute.threads):
            told = reader.told(panel, device)
        took = time.monotonic() - began
        texts = texts_of(panel)
        left = self._left(folder, panel, found.model_id, took) if any(texts) else self.settings.max_seconds
        try:
            series = self._network(_SHARES["series"] * left).fit(
                told,
                folder=folder / "series",
                compute=compute,
                progress=progress,
                start=None if before is None else before.series,
            )
        except ModelError as error:
            raise ModelError(
                f"{KIND}, whose network has half of what reading texts leaves of members.fusion.max_seconds: {error}"
            ) from error
        report = replace(series.report, seconds=series.report.seconds + took)
        alone = FittedFusion(series, reader, self, base_to_json(found, self.language_model), report, compute)
        if not any(texts) or series.validated is None:
            return alone.with_validated(series.validated)
        job = FusionJob(
            panel=told,
            tokens=reader.tokens(texts),
            max_tokens=reader.max_tokens,
            series=series.validated,
            fine_tuning=self.fine_tuning,
            training=self.training,
            found=found,
            folder=folder / "joint",
            max_seconds=_SHARES["joint"] * left,
            start=learned,
        )
        return self._together(job, alone, panel, progress)

    def _together(self, job: "FusionJob", alone: "FittedFusion", panel: Panel, progress: Progress) -> "FittedFusion":
        """Train both, then the network on the days held back; what the network was alone where that is no better."""
        from pipeline.models.finetuning.fusion_training import REFIT_SHARE
        from pipeline.models.finetuning.methods import load_trained, trained
        from pipeline.models.networks.schedule import torch_threads

        compute, reader = alone.compute, alone.reader
        joint = _run(job, compute, progress)
        state = joint.loop.state
        parameters = {
            **alone.report.parameters,
            "base": job.found.model_id,
            "method": self.fine_tuning.method,
            "texts": len({tuple(ids) for ids in job.tokens if ids}),
            "language_model_weights": sum(weight.numel() for weight in trained(reader.adapted).values()),
            "joint_steps": state.step,
            "joint_best_step": state.best_step,
            "joint_start_wql": state.curves["validation_loss"][0],
            "joint_validation_wql": state.score,
            "joint_recoveries": state.recoveries,
            "joint_budget": state.budget,
            "parts": joint.loop.parts,
            "halved": joint.loop.halved,
        }
        # curves are the network's: a report has one axis of steps
        report = replace(alone.report, parameters=parameters, seconds=alone.report.seconds + state.seconds)
        if state.best_step == 0:
            return replace(alone, report=report).with_validated(job.series)
        load_trained(reader.adapted, dict(trained(joint.model.backbone)))
        reader.known.clear()
        began = time.monotonic()
        with torch_threads(compute.threads):
            told = reader.told(panel, compute.usable_device)
        took = time.monotonic() - began
        validated = replace(job.series, network=joint.model.network.to("cpu").eval())
        refit = replace(
            job,
            panel=told,
            series=validated,
            folder=job.folder.parent / "refit",
            max_seconds=_SHARES["refit"] / _SHARES["joint"] * job.max_seconds,
            phase="refit",
            most_steps=max(1, round(REFIT_SHARE * state.best_step)),
        )
        last = _run(refit, compute, progress)
        report = replace(
            report,
            parameters={**parameters, "refit_steps": last.loop.state.step},
            seconds=report.seconds + took + last.loop.state.seconds,
            stopped=state.stopped,
        )
        series = replace(alone.series, network=last.model.network.to("cpu").eval())
        return replace(alone, series=series, report=report).with_validated(validated)

    def _left(self, folder: Path, panel: Panel, base: str, took: float) -> float:
        """Seconds that reading the texts leaves to train in.

        Args:
            folder: folder of the training; one that was killed goes on with the seconds that it had, for its checkpoints are
                those of its seconds.
            panel: the panel.
            base: id of the base model.
            took: seconds that all texts took to read.

        Raises:
            ModelError: nothing is left.
        """
        from pipeline.models.finetuning.reader import texts_of
        from pipeline.models.networks.checkpoint import fingerprint

        mark = fingerprint(panel, {"base": base, "fine_tuning": self.fine_tuning.model_dump(mode="json")})
        path = folder / _READING_FILE
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            took = float(stored["seconds"]) if stored["mark"] == mark else took
        except (OSError, ValueError, KeyError, TypeError):
            pass  # a training that begins
        most = self.settings.max_seconds
        if _READINGS * took >= most:
            texts = len(set(texts_of(panel)) - {""})
            raise ModelError(
                f"{KIND}: reading {texts} item texts takes {took:.1f} s and is done twice, which leaves nothing of "
                f"members.fusion.max_seconds ({most:g}) to train in; raise it in almanac.yaml to "
                f"{math.ceil(2 * _READINGS * took)} or more, or name a smaller language_model.model"
            )
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"mark": mark, "seconds": took}), encoding="utf-8")
        return most - _READINGS * took

    def _network(self, seconds: float) -> NetworkForecaster:
        return NetworkForecaster(self.training.model_copy(update={"max_seconds": seconds}), SERIES)


@dataclass(frozen=True)
class FittedFusion:
    """A network and the language model of its texts, ready for any panel of the shop.

    Attributes:
        series: the network.
        reader: the fine-tuned language model.
        forecaster: the settings that it was fitted with.
        base: how to find the base model again.
    """

    series: FittedNetwork
    reader: "TextReader"
    forecaster: Fusion
    base: Mapping[str, Any]
    report: TrainingReport
    compute: Compute = field(default_factory=Compute)
    name: str = KIND
    validated: "FittedFusion | None" = None

    @property
    def lookback_days(self) -> int:
        """See `pipeline.models.base.Fitted`."""
        return self.series.lookback_days

    @property
    def dependence(self) -> Dependence:
        """See `pipeline.models.base.Fitted`."""
        return self.series.dependence

    def with_validated(self, series: FittedNetwork | None) -> "FittedFusion":
        """The same, knowing the network that has not seen the days held back."""
        return replace(self, validated=None if series is None else replace(self, series=series))

    def forecast(self, panel: Panel, horizon: int, *, grid: bool = False, progress: Progress = silent) -> Forecast:
        """Forecast `horizon` days after the panel's night; see `pipeline.models.base.Fitted`.

        Raises:
            ModelError: the panel knows the calendar for fewer days.
        """
        from pipeline.models.networks.schedule import torch_threads

        with torch_threads(self.compute.threads):
            told = self.reader.told(panel, self.compute.usable_device)
        return self.series.forecast(told, horizon, grid=grid, progress=progress)

    def save(self, folder: Path) -> None:
        """Write the network into a folder of its own, and beside it what the language model learned."""
        from pipeline.models.finetuning.stored import sections_to_json, write

        tuned = self.forecaster
        self.series.save(folder / _SERIES_FOLDER)
        content = {
            "kind": KIND,
            **sections_to_json(tuned.settings, tuned.fine_tuning, tuned.training, self.base),
            "report": asdict(self.report),
        }
        write(folder, self.reader.learned(), content)

    def describe(self) -> dict[str, Any]:
        """What it is: network, base model, method."""
        return {
            "kind": KIND,
            "base": self.base["id"],
            "method": self.forecaster.fine_tuning.method,
            "series": self.series.describe(),
            "trained_on": dict(self.series.trained_on),
            "stopped": self.report.stopped,
        }


def load_fusion(folder: Path, compute: Compute | None = None) -> FittedFusion:
    """Read back what `FittedFusion.save` wrote.

    Raises:
        ModelError: a file is missing or damaged, or the base model is another one than it was fine-tuned from.
    """
    from pipeline.models.finetuning.fusion_training import opened
    from pipeline.models.finetuning.methods import load_trained
    from pipeline.models.finetuning.stored import find_base, naming, read, sections_of

    content, weights = read(folder, KIND)
    with naming(folder, KIND):
        found = find_base(content["base"], folder)
        by = sections_of(content)
        forecaster = Fusion(MemberSettings.model_validate(by.member), by.fine_tuning, by.training, by.language_model)
        reader = opened(found, forecaster.fine_tuning, forecaster.training, forecaster.language_model.max_tokens)
        load_trained(reader.adapted, weights)
        return FittedFusion(
            series=load_network(folder / _SERIES_FOLDER, compute),
            reader=reader,
            forecaster=forecaster,
            base=content["base"],
            report=TrainingReport(**content["report"]),
            compute=compute or Compute(),
        )


def _run(job: "FusionJob", compute: Compute, progress: Progress) -> "FusionTraining":
    """Run a training to its end, in as many processes as the settings say."""
    from pipeline.models.finetuning.distributed import Peers, launch
    from pipeline.models.finetuning.fusion_training import FusionTraining, train
    from pipeline.models.networks.schedule import torch_threads

    device = compute.usable_device
    # the refit is a small network alone: starting processes would cost more than it does
    processes = job.fine_tuning.processes if job.phase == "joint" else 1
    if processes > 1:
        progress(f"fine-tune in {processes} processes", 0, 1)
        launch(train, processes, device, compute.threads, job)
    with torch_threads(compute.threads):
        # after several processes this only reads what they left
        training = FusionTraining(job, Peers(device=device), progress)
        training.loop.run()
    return training


def _start(start: Fitted, model_id: str) -> FittedFusion:
    if not isinstance(start, FittedFusion) or start.base["id"] != model_id:
        raise ModelError(f"a {KIND} of {model_id} cannot go on from this {start.name!r}; train a new one")
    return start
