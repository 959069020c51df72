"""Pretrained time-series models as forecasters: Chronos-2 and Chronos-Bolt, zero-shot or fine-tuned with LoRA.

Zero-shot they have never seen the shop, and answer for an item on its first weeks; fine-tuned, small adapters have
learned from its history. What is stored is the adapter (safetensors) and everything else as JSON, with the hash of the
pretrained model: that one is not copied, and no other is taken in its place.

Papers: Chronos-2, doi.org/10.48550/arXiv.2510.15821; Chronos and Chronos-Bolt, doi.org/10.48550/arXiv.2403.07815.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import ModelError
from pipeline.model_settings import ChronosSettings, FineTuningSettings, TrainingSettings
from pipeline.models.base import Compute, Dependence, Fitted, Forecast, Progress, TrainingReport, silent
from pipeline.models.description import read_description, save_description
from pipeline.models.history import validation_days
from pipeline.models.panel import Panel
from pipeline.models.pretrained.base import (
    CONTEXT_DAYS,
    Pretrained,
    base_in,
    find_base,
    load_base,
    require_chronos,
)
from pipeline.models.pretrained.prediction import predict
from pipeline.models.pretrained.quantile_function import QuantileFunction
from pipeline.models.pretrained.windows import COVARIATES, CalendarEffect, Windows
from pipeline.models.quantiles import GRID_LEVELS, whole_units
from pipeline.models.seasonal_naive import repeat_last_week
from pipeline.models.untrained import require_two_weeks
from pipeline.settings import QUANTILES

if TYPE_CHECKING:
    from pipeline.models.pretrained.tuning import TuningJob

NAME = "chronos"
ADAPTER_FILE = "adapter.safetensors"


@dataclass(frozen=True)
class Chronos:
    """The forecaster with its settings.

    Attributes:
        settings: which pretrained model, fine-tuned or not, and the budget of that.
        fine_tuning: rank, rates and lengths of the fine-tuning.
        training: seed, and how many days validate.
        home: folder that a relative model is relative to.
    """

    settings: ChronosSettings
    fine_tuning: FineTuningSettings = field(default_factory=FineTuningSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    home: Path | None = None
    name: str = NAME

    def fit(
        self,
        panel: Panel,
        *,
        folder: Path,
        compute: Compute,
        progress: Progress = silent,
        start: Fitted | None = None,  # noqa: ARG002 - it starts from the pretrained weights
    ) -> "FittedChronos":
        """Load the pretrained model and, with `members.chronos.fine_tune`, teach it the shop.

        Where what it learned does not forecast the days held back better than the pretrained weights, over three
        origins in them and at two at least, it stays zero-shot.

        Raises:
            HistoryError: less than two weeks of history, or no series old enough to fine-tune on.
            ModelError: the extra is not installed, or the model cannot be loaded; settings that its fine-tuning cannot
                have, or a fine-tuning that diverged, or has too few seconds or too little memory.
            TransientError: the Hub could not be reached.
        """
        require_two_weeks(panel, self.name)
        require_chronos()
        base = find_base(self.settings, self.home)
        known = panel.history - validation_days(panel.history, self.training.validation_days, panel.horizon)
        if self.settings.fine_tune:
            from pipeline.models.pretrained.tuning import TuningJob

            job = TuningJob(panel, base, self.settings, self.fine_tuning, self.training, known, folder)
            tuned = _tuned(job, compute, progress)
            if tuned.report.parameters["kept"] != "zero-shot":
                return replace(tuned, validated=tuned)
            report = tuned.report
        else:
            report = TrainingReport({"base": base.model_id, "fine_tuned": False}, stopped="zero-shot, nothing to train")
            progress(self.name, 1, 1)
        reads = base.family == "chronos-2"
        fitted = FittedChronos(
            model=load_base(base),
            effect=CalendarEffect.learn(panel, panel.history) if reads else None,
            trained_on=_trained_on(panel),
            compute=compute,
            report=report,
        )
        if not reads:
            return fitted
        return replace(fitted, validated=replace(fitted, effect=CalendarEffect.learn(panel, known)))


def _tuned(job: "TuningJob", compute: Compute, progress: Progress) -> "FittedChronos":
    from pipeline.models.finetuning.distributed import Peers, launch
    from pipeline.models.networks.schedule import torch_threads
    from pipeline.models.pretrained.tuning import ChronosTuning, train

    job.check()
    device, processes = compute.usable_device, job.fine_tuning.processes
    if processes > 1:
        progress(f"fine-tune in {processes} processes", 0, 1)
        launch(train, processes, device, compute.threads, job)
    with torch_threads(compute.threads):
        # after several processes this only reads what they left
        tuning = ChronosTuning(job, Peers(device=device), progress)
        report = tuning.run()
    tuning.model.network.to("cpu").eval()
    return FittedChronos(tuning.model, tuning.effect, _trained_on(job.panel), compute, tuning.adapter, report)


def _trained_on(panel: Panel) -> dict[str, str]:
    return {"first_day": panel.first_day.isoformat(), "as_of": panel.as_of.isoformat()}


@dataclass(frozen=True)
class FittedChronos:
    """A pretrained model, ready for any panel of the shop.

    Attributes:
        model: the loaded pretrained model, with adapters where it was fine-tuned.
        effect: what the calendar means to the shop, for a model that reads covariates.
        trained_on: first day and night of the panel.
        compute: what it may use of the machine.
        adapter: what makes its adapters; None for zero-shot.
    """

    model: Pretrained
    effect: CalendarEffect | None
    trained_on: Mapping[str, str]
    compute: Compute = field(default_factory=Compute)
    adapter: Mapping[str, Any] | None = None
    report: TrainingReport = field(default_factory=TrainingReport)
    name: str = NAME
    lookback_days: int = CONTEXT_DAYS
    dependence: Dependence = field(default_factory=Dependence)
    validated: "FittedChronos | None" = None

    def windows(self, panel: Panel) -> Windows:
        """The windows of a panel as this model reads them."""
        return Windows(panel, self.effect, self.model.context_days)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Run with the threads that it may use."""
        from pipeline.models.networks.schedule import torch_threads

        with torch_threads(self.compute.threads):
            yield

    def forecast(self, panel: Panel, horizon: int, *, grid: bool = False, progress: Progress = silent) -> Forecast:
        """Forecast `horizon` days after the panel's night; see `pipeline.models.base.Fitted`.

        Seasonal naive answers for a series that sold nothing in the days that are read.

        Raises:
            ModelError: the panel knows the calendar for fewer days.
        """
        if horizon > panel.horizon:
            raise ModelError(
                f"asked for {horizon} days, but the panel knows the calendar of {panel.horizon} days ahead"
            )
        windows = self.windows(panel)
        series, nights = np.arange(panel.series), np.full(panel.series, panel.history - 1)
        with self.at_work():
            self.model.network.to(self.compute.usable_device)
            own = predict(self.model, windows, series, nights, horizon, progress=progress)
        lost = ~(panel.units_winsorised[:, -windows.days :] > 0).any(axis=1) | ~np.isfinite(own).all(axis=(1, 2))
        own[lost] = 0.0
        function = QuantileFunction.of(self.model.levels, own)
        # nothing is sold while the shop is closed, which the model cannot know of the days ahead
        opened = ~panel.closed[panel.history : panel.history + horizon]
        mean = function.mean() * opened
        quantiles = function.at(QUANTILES) * opened[:, None]
        finer = function.at(GRID_LEVELS) * opened[:, None] if grid else None
        if lost.any():
            units, first = panel.units_winsorised[lost], panel.first_sold[lost]
            mean[lost], quantiles[lost] = repeat_last_week(units, first, horizon, QUANTILES)
            if finer is not None:
                finer[lost] = np.maximum(repeat_last_week(units, first, horizon, GRID_LEVELS)[1], 0.0)
        return Forecast(
            mean=mean,
            quantiles=whole_units(quantiles),
            grid=finer,
            grid_levels=np.array(GRID_LEVELS) if grid else None,
            fallbacks=int(lost.sum()),
        )

    def save(self, folder: Path) -> None:
        """Write the adapter (safetensors) and all else (JSON); the pretrained model stays where it is."""
        base = self.model.base
        content = {
            "kind": self.name,
            "base": {"model": base.model, "path": str(base.path), "id": base.model_id},
            "adapter": None if self.adapter is None else dict(self.adapter),
            "calendar_effect": None if self.effect is None else dict(self.effect.weights),
            "report": asdict(self.report),
            "trained_on": dict(self.trained_on),
        }
        save_description(folder, content)
        if self.adapter is not None:
            from safetensors.torch import save_file

            from pipeline.models.pretrained.adapter import adapter_weights

            save_file(adapter_weights(self.model.network), folder / ADAPTER_FILE)

    def describe(self) -> dict[str, Any]:
        """What it is: the pretrained model, zero-shot or fine-tuned, what it reads, and its training window."""
        return {
            "kind": self.name,
            "base": self.model.base.model_id,
            "family": self.model.base.family,
            "mode": "zero-shot" if self.adapter is None else "fine-tuned with LoRA",
            "adapter": None if self.adapter is None else dict(self.adapter),
            "context_days": self.model.context_days,
            "covariates": [] if self.effect is None else list(COVARIATES),
            "trained_on": dict(self.trained_on),
            "stopped": self.report.stopped,
        }


def load_chronos(folder: Path, compute: Compute | None = None) -> FittedChronos:
    """Read back what `FittedChronos.save` wrote, with the pretrained model from where it stood, or from the local cache.

    Raises:
        ModelError: a file is missing or damaged, or the pretrained model is gone or another one.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from pipeline.models.pretrained.adapter import add_adapter, set_adapter_weights

    content = read_description(folder, NAME)
    try:
        stored, adapter, effect = content["base"], content["adapter"], content["calendar_effect"]
        path, wanted = Path(stored["path"]), stored["id"]
        base = (
            base_in(path, stored["model"])
            if path.is_dir()
            else find_base(ChronosSettings(on=True, model=stored["model"]))
        )
        if base.model_id != wanted:
            raise ModelError(
                f"{folder}: was made with the pretrained model {wanted}, but {base.path} now holds {base.model_id}; "
                "put the former back, or train again"
            )
        model = load_base(base)
        if adapter is not None:
            add_adapter(model.network, adapter)
            set_adapter_weights(model.network, load_file(folder / ADAPTER_FILE))
        return FittedChronos(
            model,
            None if effect is None else CalendarEffect(effect),
            content["trained_on"],
            compute or Compute(),
            adapter,
            TrainingReport(**content["report"]),
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder}: the stored chronos cannot be read ({error}); train again") from error
