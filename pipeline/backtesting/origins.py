"""Which past nights a backtest forecasts from, and which items it scores there."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import HistoryError
from pipeline.models.panel import Panel
from pipeline.settings import SETTINGS_FILE, BacktestSettings, Settings

YEAR = 365


@dataclass(frozen=True)
class Plan:
    """Origins of a backtest.

    Attributes:
        origins: nights to forecast from, earliest first.
        skipped: nights asked for that are not possible, with the reason.
        asked: how many origins the settings ask for.
        first_day: first day with demand, as known on the night.
        as_of: the night.
    """

    origins: tuple[date, ...]
    skipped: dict[date, str]
    asked: int
    first_day: date
    as_of: date

    def too_little(self, settings: Settings, skipped: dict[date, str]) -> HistoryError:
        """The error when not one origin is left: how many fit, why, and what to change."""
        days = (self.as_of - self.first_day).days + 1
        needed = settings.training.min_history_days + settings.backtest.horizon_days
        reasons = "\n".join(f"  {origin}: {reason}" for origin, reason in sorted(skipped.items()))
        return HistoryError(
            f"backtest of {self.as_of}: 0 of {self.asked} origins fit. The orders known that night cover {days} days "
            f"({self.first_day} to {self.as_of}); one origin needs {needed}: {settings.training.min_history_days} before "
            f"it (training.min_history_days) and {settings.backtest.horizon_days} after it (backtest.horizon_days).\n"
            f"{reasons}\n"
            f"Choose a later night, or lower one of the settings named in {SETTINGS_FILE}."
        )


def plan_origins(settings: Settings, first_day: date, as_of: date) -> Plan:
    """Origins for one night: the explicit ones, else rolling ones, the newest scored to its end by the night.

    Args:
        settings: all settings.
        first_day: first day with demand.
        as_of: the night; nothing after it is scored.
    """
    asked = _asked(settings.backtest, as_of)
    last = as_of - timedelta(days=settings.backtest.horizon_days)
    first = first_day + timedelta(days=settings.training.min_history_days - 1)
    skipped: dict[date, str] = {}
    for origin in asked:
        if origin > last:
            skipped[origin] = (
                f"its {settings.backtest.horizon_days} days (backtest.horizon_days) are not over by {as_of}; "
                f"the last possible origin is {last}"
            )
        elif origin < first:
            had = max((origin - first_day).days + 1, 0)
            skipped[origin] = (
                f"only {had} days of orders before it, training asks for {settings.training.min_history_days} "
                f"(training.min_history_days); the first possible origin is {first}"
            )
    return Plan(tuple(o for o in asked if o not in skipped), skipped, len(asked), first_day, as_of)


def _asked(settings: BacktestSettings, as_of: date) -> list[date]:
    if settings.on:
        return sorted(set(settings.on))
    newest = as_of - timedelta(days=settings.horizon_days)
    return sorted(newest - timedelta(days=settings.every_days * k) for k in range(settings.origins))


def scored_rows(panel: Panel, settings: BacktestSettings) -> NDArray[np.int64]:
    """Rows of the series that are scored: sold often enough in the year up to the origin, best sellers first to stay.

    Only the year before the origin decides, so the choice knows nothing of what is scored.
    """
    units = panel.units[:, -YEAR:]
    often: NDArray[Any] = np.flatnonzero((units > 0).sum(axis=1) >= settings.min_sale_days)
    if len(often) > settings.max_items:
        best = np.argsort(-units[often].sum(axis=1, dtype=np.float64), kind="stable")[: settings.max_items]
        often = np.sort(often[best])
    return often.astype(np.int64)
