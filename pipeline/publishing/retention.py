"""Retention: forget forecasts of old nights, when the settings say so, and never otherwise.

A vintage's row says first that its forecasts were removed, then the files go: a killed run leaves files that are not wanted,
which the next run removes, and never a row that claims what is not there. Rows of `vintages` stay for ever.
"""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from pipeline.forecasting.vintages import FORECAST_TABLES, vintages, write_vintage
from pipeline.lake import Lake
from pipeline.settings import Settings


@dataclass(frozen=True)
class RetentionReport:
    """What retention removed.

    Attributes:
        nights: nights whose forecasts were removed, in order.
        files: files removed.
        bytes: their size.
    """

    nights: tuple[date, ...] = ()
    files: int = 0
    bytes: int = 0


def apply_retention(lake: Lake, settings: Settings, *, today: date | None = None) -> RetentionReport:
    """Remove the forecasts of nights that are older than `retention.forecast_days`; without it nothing.

    Args:
        lake: the home's lake.
        settings: the home's settings: retention and seasons.
        today: what `removed_on` says; default: the day, UTC.
    """
    days = settings.retention.forecast_days
    if days is None:
        return RetentionReport()
    written = {date.fromisoformat(night["as_of"]) for night in lake.partitions("vintages")}
    if not written:
        return RetentionReport()
    oldest_kept = max(written) - timedelta(days=days)
    # only nights that still have files: those removed long ago are not looked at again
    there = {date.fromisoformat(night["as_of"]) for table in FORECAST_TABLES for night in lake.partitions(table)}
    nights = sorted(night for night in written & there if night < oldest_kept and not _in_season(settings, night))
    files = size = 0
    for night in nights:
        for vintage in vintages(lake, night):
            if vintage.removed_on is None:
                write_vintage(lake, replace(vintage, removed_on=today or datetime.now(UTC).date()))
            for path in (*vintage.files(lake).values(), *vintage.beside(lake)):
                if path.exists():
                    files, size = files + 1, size + path.stat().st_size
                    path.unlink()
    return RetentionReport(tuple(nights), files, size)


def _in_season(settings: Settings, night: date) -> bool:
    seasons = settings.seasons.values() if settings.retention.keep_seasons else ()
    return any(season.first <= night <= season.last for season in seasons)
