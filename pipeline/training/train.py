"""One training of the night's model: the panel it reads, the forecaster, and the refusal of too short a history."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.as_of import AsOfView
from pipeline.models.base import Forecaster
from pipeline.models.history import require_history
from pipeline.models.panel import Panel
from pipeline.models.registry import MODEL, make, start_from
from pipeline.settings import Settings
from pipeline.training.panel import build_panel

if TYPE_CHECKING:
    from pipeline.models.networks.encoder import Encoder


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
    require_history(panel, settings.training, f"the {MODEL}")
    return panel


def make_forecaster(
    settings: Settings, home: Path | None = None, encoders: "Mapping[str, Encoder] | None" = None
) -> Forecaster:
    """The forecaster that the night trains.

    Args:
        settings: the home's settings.
        home: folder that a relative language model is relative to.
        encoders: pretrained encoders that new networks start from, by architecture.
    """
    return start_from(make(MODEL, settings, home), encoders or {})
