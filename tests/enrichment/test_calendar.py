"""The calendar of a home: complete, cheap to keep, and cut to what a night knew."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from pipeline.as_of import as_of_view
from pipeline.enrichment.calendar import build_calendar
from pipeline.settings import CalendarSettings, OwnEvent, Settings

FIRST, LAST = date(2009, 12, 1), date(2011, 8, 31)
FAIR = {"starts_on": "2011-06-01", "ends_on": "2011-06-05", "announced_on": "2011-04-01"}


def own_event(name: str = "Summer Fair", **changes: str) -> OwnEvent:
    return OwnEvent.model_validate({"name": name, **FAIR, **changes})


@pytest.fixture
def selling(shop):
    shop.sell([("a", FIRST, 1, 2.0)])
    return shop


def fetch(shop, as_of: date, query: str) -> list[tuple]:
    with as_of_view(shop.lake, as_of) as view:
        return view.con.execute(query).fetchall()


def written_at(home: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in home.rglob("*.parquet")}


def test_every_day_of_whole_years_has_its_row(selling) -> None:
    report = build_calendar(selling.lake, selling.settings(), FIRST, LAST)
    assert (report.first_day, report.last_day) == (date(2008, 1, 1), date(2014, 12, 31))
    assert report.rows == {"GB": (report.last_day - report.first_day).days + 1}
    rows = fetch(selling, LAST, "SELECT count(*), count(DISTINCT day), min(day), max(day) FROM calendar_daily")
    assert rows == [(2192, 2192, date(2008, 1, 1), date(2013, 12, 31))]


def test_a_day_says_what_it_is(selling) -> None:
    build_calendar(selling.lake, selling.settings(calendar=CalendarSettings(countries=("CN",))), FIRST, LAST)
    rows = fetch(
        selling,
        LAST,
        "SELECT weekday, week_of_year, is_holiday, holiday, lunar_month, lunar_day, is_leap_month, solar_term, events "
        "FROM calendar_daily WHERE day IN ('2011-02-03', '2011-02-04', '2011-02-12') ORDER BY day",
    )
    spring = "Chinese New Year (Spring Festival)"
    assert rows == [
        (4, 5, True, spring, 1, 1, False, None, ["spring_festival"]),
        (5, 5, True, spring, 1, 2, False, "start_of_spring", ["spring_festival", "start_of_spring"]),
        (6, 6, False, "", 1, 10, False, None, ["adjusted_workday"]),
    ]


def test_days_to_and_since_count_to_the_first_day(selling) -> None:
    build_calendar(selling.lake, selling.settings(), FIRST, LAST)
    query = (
        "SELECT days_to, days_since, is_on FROM calendar_events "
        "WHERE country = 'GB' AND event = '{}' AND day BETWEEN '{}' AND '{}' ORDER BY day"
    )
    assert fetch(selling, LAST, query.format("christmas", "2010-12-24", "2010-12-26")) == [
        (1, 364, False),
        (0, 0, True),
        (364, 1, False),
    ]
    ((to, since, _),) = fetch(selling, LAST, query.format("easter", "2011-01-01", "2011-01-01"))
    assert (to, since) == ((date(2011, 4, 24) - date(2011, 1, 1)).days, (date(2011, 1, 1) - date(2010, 4, 4)).days)


def test_every_event_has_days_to_and_since_on_every_day(selling) -> None:
    build_calendar(selling.lake, selling.settings(calendar=CalendarSettings(countries=("CN",))), FIRST, LAST)
    rows = fetch(
        selling,
        LAST,
        "SELECT event, count(*), count(days_to), count(days_since) FROM calendar_events "
        "WHERE kind IN ('lunar', 'solar_term', 'festival') GROUP BY event",
    )
    assert len(rows) == 10 + 24 + 11
    assert {row[1:] for row in rows} == {(2192, 2192, 2192)}


def test_an_announced_event_is_invisible_before(selling) -> None:
    calendar = CalendarSettings(own_events=(own_event(),))
    build_calendar(selling.lake, selling.settings(calendar=calendar), FIRST, LAST)
    queries = (
        "SELECT count(*) FROM calendar_events WHERE event = 'summer_fair'",
        "SELECT count(*) FROM calendar_occurrences WHERE event = 'summer_fair'",
        "SELECT count(*) FROM calendar_daily WHERE list_contains(events, 'summer_fair')",
    )
    assert [fetch(selling, date(2011, 3, 31), query) for query in queries] == [[(0,)]] * 3
    on = fetch(selling, date(2011, 4, 1), "SELECT day FROM calendar_daily WHERE list_contains(events, 'summer_fair')")
    assert sorted(on) == [(date(2011, 6, day),) for day in range(1, 6)]


def test_a_later_occurrence_of_a_known_event_stays_unknown(selling) -> None:
    again = own_event(starts_on="2011-09-01", ends_on="2011-09-02", announced_on="2011-07-01")
    calendar = CalendarSettings(own_events=(own_event(), again))
    build_calendar(selling.lake, selling.settings(calendar=calendar), FIRST, LAST)
    query = "SELECT days_to, days_since FROM calendar_events WHERE event = 'summer_fair' AND day = '2011-06-11'"
    assert fetch(selling, date(2011, 6, 30), query) == [(None, 10)]
    assert fetch(selling, date(2011, 7, 1), query) == [(82, 10)]


def test_a_decreed_day_off_is_invisible_before(selling) -> None:
    build_calendar(selling.lake, selling.settings(), FIRST, LAST)
    query = "SELECT is_holiday, holiday FROM calendar_daily WHERE day = '2011-04-29'"
    assert fetch(selling, date(2010, 11, 22), query) == [(False, "")]
    assert fetch(selling, date(2010, 11, 23), query) == [(True, "Wedding of William and Catherine")]


def test_an_event_announced_later_does_not_change_the_night(selling) -> None:
    night = date(2011, 3, 31)
    build_calendar(selling.lake, selling.settings(), FIRST, LAST)
    with as_of_view(selling.lake, night) as view:
        before = view.snapshot
    build_calendar(selling.lake, selling.settings(calendar=CalendarSettings(own_events=(own_event(),))), FIRST, LAST)
    with as_of_view(selling.lake, night) as view:
        assert view.snapshot == before
    with as_of_view(selling.lake, date(2011, 4, 1)) as view:
        assert view.snapshot != before


def test_nothing_is_rewritten_without_a_change(selling) -> None:
    settings = selling.settings()
    assert build_calendar(selling.lake, settings, FIRST, LAST).written == ("GB",)
    before = written_at(selling.lake.root)
    again = build_calendar(selling.lake, settings, FIRST + timedelta(days=40), LAST - timedelta(days=300))
    assert again.written == ()
    assert again.rows == {"GB": 2557}
    assert written_at(selling.lake.root) == before


@pytest.mark.parametrize(
    "changed",
    [CalendarSettings(lunar=False), CalendarSettings(festivals=False), CalendarSettings(own_events=(own_event(),))],
    ids=["no lunar", "no festivals", "own event"],
)
def test_changed_settings_rewrite_the_calendar(selling, changed: CalendarSettings) -> None:
    build_calendar(selling.lake, selling.settings(), FIRST, LAST)
    settings: Settings = selling.settings(calendar=changed)
    assert build_calendar(selling.lake, settings, FIRST, LAST).written == ("GB",)


def test_switched_off_events_are_not_there(selling) -> None:
    calendar = CalendarSettings(lunar=False, festivals=False)
    build_calendar(selling.lake, selling.settings(calendar=calendar), FIRST, LAST)
    assert fetch(selling, LAST, "SELECT DISTINCT kind FROM calendar_events") == [("holiday",)]


def test_the_range_grows_by_whole_years_and_an_old_night_stays_the_same(selling) -> None:
    night = date(2010, 6, 1)
    everything = "SELECT event, starts_on FROM calendar_occurrences ORDER BY ALL"
    build_calendar(selling.lake, selling.settings(), FIRST, LAST)
    with as_of_view(selling.lake, night) as view:
        snapshot, events = view.snapshot, view.con.execute(everything).fetchall()
    report = build_calendar(selling.lake, selling.settings(), date(2005, 3, 1), date(2013, 1, 1))
    assert (report.first_day, report.last_day) == (date(2004, 1, 1), date(2016, 12, 31))
    with as_of_view(selling.lake, night) as view:
        assert view.con.execute(everything).fetchall() == events
        assert view.snapshot == snapshot


def test_an_interrupted_write_is_made_good(selling) -> None:
    settings = selling.settings()
    build_calendar(selling.lake, settings, FIRST, LAST)
    selling.lake.part_path("calendar_occurrences", {"country": "GB"}, "part").unlink()
    assert build_calendar(selling.lake, settings, FIRST, LAST).written == ("GB",)


@pytest.mark.parametrize("table", ["calendar_daily", "calendar_occurrences"])
def test_a_deleted_calendar_is_made_again(selling, table: str) -> None:
    build_calendar(selling.lake, selling.settings(), FIRST, LAST)
    queries = [f"SELECT * FROM {name} ORDER BY ALL" for name in ("calendar_daily", "calendar_occurrences")]
    before = [fetch(selling, LAST, query) for query in queries]
    selling.lake.part_path(table, {"country": "GB"}, "part").unlink()
    report = build_calendar(selling.lake, selling.settings(), FIRST, LAST)
    assert report.written == ("GB",)
    assert [fetch(selling, LAST, query) for query in queries] == before
