"""How much history forecasters that learn need, how much they hold back, and how much they look back on."""

from datetime import date

from pipeline.errors import HistoryError, ModelError
from pipeline.model_settings import TrainingSettings
from pipeline.models.panel import Panel

LOOKBACK_DAYS = 730
"""Days of history that a forecast reads. The longest window is the 56 days up to a year ago, 420 days; the longest level
is of 400 days, and age counts to 182. The rest is for items sold once a year: their first sale, from which averages
count, is that of the season before the last."""


def require_history(panel: Panel, settings: TrainingSettings, name: str) -> None:
    """Refuse a panel too short to train on.

    Raises:
        HistoryError: says how many days there are, how many are needed, and which setting decides.
    """
    if panel.history < settings.min_history_days:
        raise HistoryError(
            f"too little history to train {name}: {panel.history} days of orders ({panel.first_day} to {panel.as_of}) "
            f"were known on the night of {panel.as_of}, {settings.min_history_days} are needed; choose a later --as-of, "
            "ingest older orders, or lower training.min_history_days in almanac.yaml"
        )
    if not (panel.units > 0).any():
        raise HistoryError(f"nothing was sold up to {panel.as_of} in the {panel.series} series to train {name} on")


def unseen_days(name: str, trained_as_of: str, panel: Panel) -> int:
    """Days of a panel that a forecaster to go on from has not seen.

    Args:
        name: the forecaster.
        trained_as_of: night that it was trained on, in ISO form.
        panel: what it is to learn.

    Raises:
        ModelError: it has seen them all.
    """
    seen = date.fromisoformat(trained_as_of)
    if panel.as_of <= seen:
        raise ModelError(f"the {name} to go on from was trained as of {seen} and has seen all days up to {panel.as_of}")
    return min((panel.as_of - seen).days, panel.history)


def validation_days(history: int, wanted: int, horizon: int) -> int:
    """Length of the validation window: what was asked, but at most a quarter of the history and the horizon."""
    return max(1, min(wanted, history // 4, horizon))
