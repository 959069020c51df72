"""The calendar of a home: `calendar_daily` and `calendar_occurrences`, one partition per country.

Days are whole years, from the year before the first order to three years after the last, and only ever grow; a
night's view is cut to its own years (`as_of.sql`), so a grown calendar changes nothing for it. The lake's
`calendar_daily` holds what is always known; what was announced (own events, decreed days off) stands in
`calendar_occurrences` with its day of announcement, and the view puts the two together. `days_to` and `days_since`
are made by the view from the occurrences.
"""

import hashlib
import importlib.metadata
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import pyarrow as pa

from pipeline.enrichment.events import Occurrence, merged, slug
from pipeline.enrichment.festivals import festivals
from pipeline.enrichment.lunar import lunar_day, lunar_festivals, solar_term_events
from pipeline.enrichment.public_holidays import public_holidays
from pipeline.enrichment.solar_terms import solar_terms
from pipeline.lake import Lake
from pipeline.settings import CalendarSettings, Settings
from pipeline.tables import TABLES

_YEARS_BEFORE, _YEARS_AFTER = 1, 3
_RULES = 1
"""Raise it when the rules of this room change: every home then computes its calendar anew."""

_SAME_EVENT = {
    "christmas_day": "christmas",
    "easter_sunday": "easter",
    "thanksgiving_day": "thanksgiving",
    "chinese_new_year_spring_festival": "spring_festival",
    "tomb_sweeping_day": "qingming",
    "dragon_boat_festival": "dragon_boat",
    "mid_autumn_festival": "mid_autumn",
}
"""Public holidays that are events of another kind: their days off make the event longer."""


@dataclass(frozen=True)
class CalendarReport:
    """What `build_calendar` did.

    Attributes:
        first_day: first day of the calendar.
        last_day: last day of the calendar.
        rows: rows of `calendar_daily` that stand now, by country.
        occurrences: rows of `calendar_occurrences` that stand now, by country.
        written: countries computed anew; the others were up to date.
        seconds: duration.
    """

    first_day: date
    last_day: date
    rows: dict[str, int]
    occurrences: dict[str, int]
    written: tuple[str, ...]
    seconds: float


def build_calendar(lake: Lake, settings: Settings, first: date, last: date) -> CalendarReport:
    """Bring the calendar of every country up to date; cheap when nothing changed.

    Args:
        lake: the home's lake.
        settings: the home's settings; `calendar` and `holiday_countries` count.
        first: day of the first order.
        last: day of the last order, or the night.

    Raises:
        SettingsError: a country without public holidays in `holidays`.
    """
    start = time.monotonic()
    first_year, last_year = _years(lake, first, last)
    rows: dict[str, int] = {}
    counts: dict[str, int] = {}
    written: list[str] = []
    for country in settings.holiday_countries:
        made_from = _made_from(country, settings.calendar, first_year, last_year)
        if _standing(lake, country) != made_from:
            occurrences = country_events(country, settings.calendar, first_year, last_year)
            daily = _daily(country, occurrences, date(first_year, 1, 1), date(last_year, 12, 31))
            _write(lake, occurrences, daily, country, made_from)
            written.append(country)
        rows[country], counts[country] = (
            _count(lake, table, country) for table in ("calendar_daily", "calendar_occurrences")
        )
    return CalendarReport(
        date(first_year, 1, 1), date(last_year, 12, 31), rows, counts, tuple(written), time.monotonic() - start
    )


def country_events(country: str, calendar: CalendarSettings, first_year: int, last_year: int) -> list[Occurrence]:
    """All occurrences of all events of a country, from two years before the range to two years after it."""
    # days_to and days_since look 400 days to both sides; with all of those there, a grown range changes no day
    years = range(first_year - 2, last_year + 3)
    found: list[Occurrence] = []
    if calendar.festivals:
        found += [one for year in years for one in festivals(country, year)]
    if calendar.lunar:
        found += [one for year in years for one in (*lunar_festivals(year), *solar_term_events(year))]
    found += _renamed(public_holidays(country, years[0], years[-1]), found)
    found += [
        Occurrence(slug(own.name), own.starts_on, own.ends_on, "own", own.name, own.announced_on)
        for own in calendar.own_events
    ]
    return merged(found)


def _renamed(holidays: Iterable[Occurrence], others: Sequence[Occurrence]) -> list[Occurrence]:
    """Holidays under the name of the event that they are, where it begins the same day (or is not kept at all)."""
    starts = {(one.event, one.starts_on) for one in others}
    events = {one.event for one in others}
    renamed = []
    for one in holidays:
        event = _SAME_EVENT.get(one.event, one.event)
        same = (event, one.starts_on) in starts or event not in events
        renamed.append(replace(one, event=event) if same else one)
    return renamed


def _years(lake: Lake, first: date, last: date) -> tuple[int, int]:
    """Years of the calendar: what is asked for, and what stands already; it never shrinks."""
    first_year, last_year = first.year - _YEARS_BEFORE, last.year + _YEARS_AFTER
    with lake.connect() as con:
        rows = con.execute(
            f"SELECT year(min(day)), year(max(day)) FROM ({lake.select('calendar_daily')}) AS daily"
        ).fetchall()
    if rows[0][0] is None:
        return first_year, last_year
    return min(first_year, int(rows[0][0])), max(last_year, int(rows[0][1]))


def _made_from(country: str, calendar: CalendarSettings, first_year: int, last_year: int) -> str:
    versions = {name: importlib.metadata.version(name) for name in ("holidays", "lunardate", "astronomy-engine")}
    settings = calendar.model_dump(mode="json", exclude={"countries"})
    text = json.dumps([_RULES, country, settings, first_year, last_year, versions], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _standing(lake: Lake, country: str) -> str | None:
    """What the standing partition was made from; None without one."""
    if not lake.part_path("calendar_daily", {"country": country}, "part").exists():
        return None
    with lake.connect() as con:
        rows = con.execute(
            f"SELECT any_value(made_from) FROM ({lake.select('calendar_occurrences')}) AS o WHERE country = $1",
            [country],
        ).fetchall()
    return None if rows[0][0] is None else str(rows[0][0])


def _count(lake: Lake, table: str, country: str) -> int:
    with lake.connect() as con:
        rows = con.execute(f"SELECT count(*) FROM ({lake.select(table)}) AS t WHERE country = $1", [country]).fetchall()
    return int(rows[0][0])


def _write(lake: Lake, occurrences: Sequence[Occurrence], daily: pa.Table, country: str, made_from: str) -> None:
    """Write both tables of a country; the occurrences last, because they say what the calendar was made from."""
    rows = [
        {
            "country": country,
            "event": one.event,
            "name": one.name,
            "kind": one.kind,
            "starts_on": one.starts_on,
            "ends_on": one.ends_on,
            "announced_on": one.announced_on,
            "made_from": made_from,
        }
        for one in occurrences
    ]
    schema = TABLES["calendar_occurrences"].arrow_schema
    with lake.connect() as con:
        lake.write(con, "calendar_daily", {"country": country}, daily)
        lake.write(con, "calendar_occurrences", {"country": country}, pa.Table.from_pylist(rows, schema=schema))


def _daily(country: str, occurrences: Sequence[Occurrence], first: date, last: date) -> pa.Table:
    """One row per day with what is always known."""
    events: dict[date, set[str]] = {}
    holidays: dict[date, set[str]] = {}
    for one in occurrences:
        if one.announced_on is not None:
            continue
        for day in _days(one.starts_on, one.ends_on):
            events.setdefault(day, set()).add(one.event)
    for one in public_holidays(country, first.year, last.year):
        if one.announced_on is None:
            for day in _days(one.starts_on, one.ends_on):
                holidays.setdefault(day, set()).add(one.name)
    terms = {day: name for year in range(first.year, last.year + 1) for name, day in solar_terms(year)}
    rows = []
    for day in _days(first, last):
        lunar = lunar_day(day)
        rows.append(
            {
                "country": country,
                "day": day,
                "weekday": day.isoweekday(),
                "week_of_year": day.isocalendar().week,
                "is_holiday": day in holidays,
                "holiday": "; ".join(sorted(holidays.get(day, ()))),
                "lunar_month": lunar.month if lunar else None,
                "lunar_day": lunar.day if lunar else None,
                "is_leap_month": lunar.is_leap_month if lunar else None,
                "solar_term": terms.get(day),
                "events": sorted(events.get(day, ())),
            }
        )
    return pa.Table.from_pylist(rows, schema=TABLES["calendar_daily"].arrow_schema)


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
