"""One training of the night's model: the panel it reads, the forecaster, and the refusal of too short a history."""

from pathlib import Path

from pipeline.as_of import AsOfView
from pipeline.models.base import Compute, Progress, silent
from pipeline.models.lstm import FittedLstm, Lstm, require_history
from pipeline.models.panel import Panel
from pipeline.settings import Settings, TrainingSettings
from pipeline.training.panel import build_panel


def build_training_panel(view: AsOfView, settings: Settings, *, home: Path | None = None) -> Panel:
    """The panel that the night's model is trained on, with the horizon that it will forecast.

    Args:
        view: what was known on the night.
        settings: the home's settings.
        home: folder that a relative language model is relative to.

    Raises:
        HistoryError: fewer days of orders were known than `training.min_history_days`, or none within the active days.
    """
    panel = build_panel(view, settings, horizon=settings.forecast.horizon_days, home=home)
    require_history(panel, settings.training)
    return panel


def make_forecaster(settings: Settings) -> Lstm:
    """The forecaster that the night trains."""
    return Lstm(settings.training)


def train(
    panel: Panel, settings: TrainingSettings, compute: Compute, folder: Path, progress: Progress = silent
) -> FittedLstm:
    """Train the night's model, or go on with a training of the same panel and settings that was killed.

    Args:
        panel: what was known on the night.
        settings: budgets, sizes and rates.
        compute: device, threads and precision.
        folder: folder of the checkpoint; `Lstm.clear` removes it when the result is stored elsewhere.
        progress: told how far it is.

    Raises:
        HistoryError: too little history.
        ModelError: the training diverged.
    """
    return Lstm(settings).fit(panel, folder=folder, compute=compute, progress=progress)
