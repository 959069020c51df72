"""The calendar as features of days, for forecasters: few, bounded to [−1, 1], known before the day.

What belongs here: turning a night's `calendar_daily` and `calendar_events` into columns. What does not: demand, and
what a shop's closed days are. Flags of many events overfit a short history, so only the events that people shop for
get columns, by the country's culture; all else is in the tables. A column that was never on in the history a model
was trained on must be masked when it forecasts: `untrained` says which.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import duckdb
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import HistoryError

Floats = NDArray[np.float32]

_YEAR_PAIRS = 3
_YEAR_DAYS = 365.2425
_LUNAR_MONTH_DAYS = 29.530589
_CHINESE = frozenset({"CN", "HK", "MO", "TW", "SG", "MY"})
_WORKDAY = "adjusted_workday"


@dataclass(frozen=True)
class _Ramp:
    """How demand runs up to an event and down after it: columns exp(−days/scale), 0 beyond three scales.

    Attributes:
        before: scales in days before the event; 1 on its first day.
        after: scale in days after its last day; 0: no column.
    """

    before: tuple[int, ...]
    after: int = 0


_LARGE = _Ramp(before=(3, 14), after=4)
_SMALL = _Ramp(before=(7,), after=3)

_WESTERN_EVENTS: dict[str, _Ramp] = {
    "christmas": _LARGE,
    "black_friday": _LARGE,
    "easter": _SMALL,
    "valentine": _SMALL,
    "mothers_day": _SMALL,
    "fathers_day": _SMALL,
    "halloween": _SMALL,
}
_AMERICAN_EVENTS: dict[str, _Ramp] = {"thanksgiving": _SMALL}
_CHINESE_EVENTS: dict[str, _Ramp] = {
    "spring_festival": _LARGE,
    "shopping_618": _LARGE,
    "double_11": _LARGE,
    "double_12": _SMALL,
    "mid_autumn": _SMALL,
    "dragon_boat": _SMALL,
    "qixi": _SMALL,
    "christmas": _SMALL,
}
_OWN = _Ramp(before=(3,), after=3)
_REACH = 3 * 14 + 1
"""Days before and after the array that its events are read from."""


def event_features(
    con: duckdb.DuckDBPyConnection, countries: Sequence[str], first_day: date, days: int
) -> tuple[tuple[str, ...], Floats]:
    """Features of consecutive days, the same for all items.

    With several countries a day counts as what it is in any of them. Names depend on the countries only, so arrays
    of different nights of a home have the same columns.

    Args:
        con: connection of an as-of view.
        countries: countries of the calendar.
        first_day: day of row 0.
        days: number of days.

    Returns:
        Names of the C columns, and (days, C) float32.

    Raises:
        HistoryError: the calendar does not cover the days.
    """
    span = np.arange(days)
    daily = _daily(con, countries, first_day, days)
    columns: dict[str, NDArray[np.float64]] = {}
    weekday = (first_day.weekday() + span) % 7
    for number, name in enumerate(("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")):
        columns[name] = (weekday == number).astype(float)
    # row 0 of `daily` is the day before the first, the last row the day after the last
    columns["holiday"] = daily["holiday"][1:-1]
    columns["day_before_holiday"] = daily["holiday"][2:]
    columns["day_after_holiday"] = daily["holiday"][:-2]
    columns |= _cycles(first_day, days)
    main = _main_events(countries)
    if _CHINESE & set(countries):
        columns[_WORKDAY] = daily["workday"][1:-1]
        angle = 2 * np.pi * (daily["lunar_day"][1:-1] - 1) / _LUNAR_MONTH_DAYS
        columns["lunar_month_sin"], columns["lunar_month_cos"] = np.sin(angle), np.cos(angle)
    occurrences = _occurrences(con, countries, first_day, days, main)
    for event, ramp in main.items():
        columns |= _ramps(event, ramp, occurrences.get(event, []), days)
    own = _own_occurrences(con, countries, first_day, days)
    columns |= _ramps("own_event", _OWN, own, days)
    columns["own_event_on"] = _on(own, days)
    return tuple(columns), np.stack(list(columns.values()), axis=1).astype(np.float32)


def untrained(features: Floats, history: int) -> NDArray[np.bool_]:
    """Columns whose weight cannot be learned from the first `history` days: constant there, or hardly on.

    A model keeps this mask of its training and blanks these columns in what it forecasts; else a flag that is on for
    the first time in the horizon meets an untrained weight.
    """
    past = features[:history]
    if not len(past):
        return np.ones(features.shape[1], dtype=bool)
    hardly = np.abs(past).max(axis=0) < 0.5 * np.abs(features).max(axis=0)
    blank: NDArray[np.bool_] = hardly | (np.ptp(past, axis=0) == 0)
    return blank


def _main_events(countries: Sequence[str]) -> dict[str, _Ramp]:
    main: dict[str, _Ramp] = {}
    if set(countries) - _CHINESE:
        main |= _WESTERN_EVENTS
    if {"US", "CA"} & set(countries):
        main |= _AMERICAN_EVENTS
    if _CHINESE & set(countries):
        main |= {event: ramp for event, ramp in _CHINESE_EVENTS.items() if event not in main}
    return main


def _daily(
    con: duckdb.DuckDBPyConnection, countries: Sequence[str], first_day: date, days: int
) -> dict[str, NDArray[np.float64]]:
    """Flags per day, with one more day on both sides."""
    first, last = first_day - timedelta(days=1), first_day + timedelta(days=days)
    rows = con.execute(
        "SELECT max(is_holiday::INT), max(list_contains(events, $1)::INT), coalesce(any_value(lunar_day), 1) "
        "FROM calendar_daily WHERE list_contains($2, country) AND day BETWEEN $3 AND $4 GROUP BY day ORDER BY day",
        [_WORKDAY, list(countries), first, last],
    ).fetchall()
    if len(rows) != days + 2:
        raise HistoryError(
            f"calendar_daily: {len(rows)} of the {days + 2} days from {first} to {last} are there for "
            f"{', '.join(countries)}; run the enrichment of this night, and ask for at most a year ahead of it"
        )
    table = np.array(rows, dtype=float)
    return {"holiday": table[:, 0], "workday": table[:, 1], "lunar_day": table[:, 2]}


def _occurrences(
    con: duckdb.DuckDBPyConnection, countries: Sequence[str], first_day: date, days: int, events: dict[str, _Ramp]
) -> dict[str, list[tuple[int, int]]]:
    """First and last day of each occurrence, as days from `first_day`, by event."""
    rows = con.execute(
        "SELECT DISTINCT event, starts_on - $1, ends_on - $1 FROM calendar_occurrences "
        "WHERE list_contains($2, country) AND list_contains($3, event) AND kind <> 'own' "
        "AND ends_on >= $1 - $5 AND starts_on <= $1 + $4 + $5 ORDER BY ALL",
        [first_day, list(countries), list(events), days, _REACH],
    ).fetchall()
    found: dict[str, list[tuple[int, int]]] = {}
    for event, start, end in rows:
        found.setdefault(event, []).append((start, end))
    return found


def _own_occurrences(
    con: duckdb.DuckDBPyConnection, countries: Sequence[str], first_day: date, days: int
) -> list[tuple[int, int]]:
    rows = con.execute(
        "SELECT DISTINCT starts_on - $1, ends_on - $1 FROM calendar_occurrences WHERE list_contains($2, country) "
        "AND kind = 'own' AND ends_on >= $1 - $4 AND starts_on <= $1 + $3 + $4 ORDER BY ALL",
        [first_day, list(countries), days, _REACH],
    ).fetchall()
    return [(start, end) for start, end in rows]


def _cycles(first_day: date, days: int) -> dict[str, NDArray[np.float64]]:
    """The year as harmonics, and the two ends of the month, when wages come."""
    dates = np.datetime64(first_day, "D") + np.arange(days)
    years = dates.astype("datetime64[Y]")
    position = (dates - years.astype("datetime64[D]")).astype(int) / _YEAR_DAYS
    columns: dict[str, NDArray[np.float64]] = {}
    for pair in range(1, _YEAR_PAIRS + 1):
        columns[f"year_sin_{pair}"] = np.sin(2 * np.pi * pair * position)
        columns[f"year_cos_{pair}"] = np.cos(2 * np.pi * pair * position)
    months = dates.astype("datetime64[M]")
    since = (dates - months.astype("datetime64[D]")).astype(int)
    until = ((months + 1).astype("datetime64[D]") - dates).astype(int) - 1
    columns["month_start"], columns["month_end"] = np.exp(-since / 3), np.exp(-until / 3)
    return columns


def _ramps(event: str, ramp: _Ramp, occurrences: list[tuple[int, int]], days: int) -> dict[str, NDArray[np.float64]]:
    span = np.arange(days)
    columns = {f"{event}_before_{scale}": np.zeros(days) for scale in ramp.before}
    if ramp.after:
        columns[f"{event}_after_{ramp.after}"] = np.zeros(days)
    for start, end in occurrences:
        for scale in ramp.before:
            column = columns[f"{event}_before_{scale}"]
            np.maximum(column, _decay(start - span, scale), out=column)
        if ramp.after:
            column = columns[f"{event}_after_{ramp.after}"]
            np.maximum(column, _decay(span - end - 1, ramp.after), out=column)
    return columns


def _decay(distance: NDArray[np.int64], scale: int) -> NDArray[np.float64]:
    """exp(−distance / scale) for distances from 0 to three scales, else 0."""
    inside = (distance >= 0) & (distance <= 3 * scale)
    return np.where(inside, np.exp(-np.where(inside, distance, 0) / scale), 0.0)


def _on(occurrences: list[tuple[int, int]], days: int) -> NDArray[np.float64]:
    span = np.arange(days)
    on = np.zeros(days)
    for start, end in occurrences:
        on[(span >= start) & (span <= end)] = 1.0
    return on
