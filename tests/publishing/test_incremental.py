"""A file that is brought up to date night by night is the file that would be built in full, whatever happened in between."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import duckdb
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.as_of import as_of_view
from pipeline.enrichment.calendar import build_calendar
from pipeline.errors import DamagedFileError
from pipeline.forecasting.vintages import vintages, write_vintage
from pipeline.lake import Lake
from pipeline.publishing import plan
from pipeline.publishing.fill import BY_DELIVERY, FROM_LAKE, PUBLISHED
from pipeline.publishing.publish import PublishReport, publish, published_file
from pipeline.settings import CalendarSettings, OwnEvent, Settings
from tests.forecasting.fakes import some_settings
from tests.publishing.happenings import deliver, happen, know, sell
from tests.publishing.shop import ITEMS, NIGHT, write_shop, write_vintage_of

FEW_NIGHTS = 3 * len(ITEMS) * 91
"""Rows of the forecasts of three nights: what the file may hold beside newer ones."""
VIEWS = (
    *("forecast_latest", "forecast_totals_latest", "forecast_weekly", "forecast_vs_actual", "forecast_accuracy"),
    *("accuracy_by_lead", "forecast_stability", f"forecast_as_of(DATE '{NIGHT}' + 3)"),
    f"demand_as_known(DATE '{NIGHT}' + 5)",
    f"accuracy_as_known(DATE '{NIGHT}' + 9)",
    f"season_vintages(DATE '{NIGHT}' + 3, DATE '{NIGHT}' + 40)",
    f"known_then(DATE '{NIGHT}' + 4)",
    f"rising_items(DATE '{NIGHT}' + 3, DATE '{NIGHT}' + 80)",
)

item = st.sampled_from(sorted(ITEMS))
event = st.one_of(
    st.tuples(st.just("late"), item, st.integers(1, 200)),
    st.tuples(st.just("cancelled"), st.just("20"), st.integers(1, 90)),
    st.tuples(st.just("bulk"), item, st.integers(0, 40)),
    st.tuples(st.just("before the first day"), item, st.just(500)),
    st.tuples(st.just("dated back"), item, st.integers(0, 20)),
    st.tuples(st.just("older night"), st.just(""), st.integers(1, 60)),
    st.tuples(st.just("named replay"), st.just(""), st.integers(0, 1)),
    st.tuples(st.just("made anew"), st.just(""), st.just(0)),
    st.tuples(st.just("removed"), st.just(""), st.just(0)),
    st.tuples(st.just("bad lines"), st.just(""), st.integers(-1, 40)),
    st.tuples(st.just("new item"), st.just(""), st.just(0)),
    st.tuples(st.just("backtest"), st.just(""), st.just(0)),
    st.tuples(st.just("review"), item, st.integers(0, 60)),
)
step = st.tuples(st.integers(1, 45), st.lists(event, max_size=4))


def shop_settings(*, by_location: bool = False) -> Settings:
    """A shop that announces an event of its own between the nights, and publishes few of them."""
    opening = OwnEvent(
        name="opening",
        starts_on=NIGHT + timedelta(days=50),
        ends_on=NIGHT + timedelta(days=52),
        announced_on=NIGHT + timedelta(days=10),
    )
    settings = some_settings(by_location=by_location)
    few = settings.publishing.model_copy(update={"max_forecast_rows": FEW_NIGHTS})
    return settings.model_copy(update={"calendar": CalendarSettings(own_events=(opening,)), "publishing": few})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = write_shop(Lake(tmp_path_factory.mktemp("base")))
    build_calendar(lake, shop_settings(), NIGHT - timedelta(days=500), NIGHT)
    return lake.home


@pytest.fixture
def lake(base: Path, tmp_path: Path) -> Lake:
    return copied(base, tmp_path / "home")


def copied(base: Path, home: Path) -> Lake:
    shutil.copytree(base, home)
    return Lake(home)


@contextmanager
def both(lake: Lake, night: date, settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """The home's file, and one built in full from the same lake, attached as `one` and `other`."""
    other = lake.home.with_name(f"full-{uuid4().hex}")
    other.mkdir()
    (other / "lake").symlink_to(lake.root)
    assert publish(Lake(other), settings, night).why_full == "no file stands yet"
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{published_file(lake.home)}' AS one (READ_ONLY)")
        con.execute(f"ATTACH '{published_file(other)}' AS other (READ_ONLY)")
        yield con
    shutil.rmtree(other)


def content(con: duckdb.DuckDBPyConnection, name: str) -> list[tuple]:
    """All rows of a table or view, sorted; sums of floats as far as their order does not matter."""
    columns = con.execute(f"DESCRIBE FROM {name}").fetchall()
    shown = ", ".join(f'round("{c[0]}", 8)' if c[1] == "DOUBLE" else f'"{c[0]}"' for c in columns)
    return con.execute(f"SELECT {shown} FROM {name} ORDER BY ALL").fetchall()


def assert_same(lake: Lake, night: date, settings: Settings) -> None:
    """Every table and view of the home's file is what a full build gives."""
    with both(lake, night, settings) as con:
        for name in (*(table for table in PUBLISHED if table != "publication"), *VIEWS):
            found = []
            for database in ("one", "other"):
                con.execute(f"USE {database}")
                found.append([str(row) for row in content(con, name)])
            assert found[0] == found[1], name


def night_after(lake: Lake, settings: Settings, before: date, days: int, events: list) -> tuple[date, PublishReport]:
    """Some days on: what happened, a night's forecasts, and the published file."""
    night = before + timedelta(days=days)
    sell(lake, before, night)
    for what in events:
        happen(lake, before, night, *what)
    write_vintage_of(lake, night)
    return night, publish(lake, settings, night)


@pytest.mark.slow
@pytest.mark.parametrize("by_location", [False, True], ids=["over all", "by location"])
@given(steps=st.lists(step, min_size=1, max_size=4))
@hypothesis_settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_happens_between_nights_the_file_is_the_one_built_in_full(base, tmp_path_factory, by_location, steps):
    settings = shop_settings(by_location=by_location)
    lake = copied(base, tmp_path_factory.mktemp("nights") / "home")
    night = NIGHT
    publish(lake, settings, night)
    for days, events in steps:
        dated_back = any(what == "dated back" for what, *_ in events)
        night, report = night_after(lake, settings, night, days, events)
        assert not report.why_full or dated_back
        assert_same(lake, night, settings)
    for days in (0, 3, 20):
        assert_known(lake, min(NIGHT + timedelta(days=days), night), by_location=by_location)


EVERYTHING = [
    pytest.param(
        [("late", "10", 100), ("cancelled", "20", 60), ("bulk", "11", 3)], id="late, cancelled and bulk orders"
    ),
    pytest.param([("new item", "", 0), ("before the first day", "10", 520)], id="another first day, a new item"),
    pytest.param(
        [("older night", "", 30), ("named replay", "", 1), ("made anew", "", 0)], id="older and other vintages"
    ),
    pytest.param(
        [("removed", "", 0), ("bad lines", "", 2), ("bad lines", "", -1), ("backtest", "", 0)], id="removed; bad"
    ),
]


@pytest.mark.parametrize("events", EVERYTHING)
def test_a_file_brought_up_to_date_is_the_one_built_in_full(lake, events):
    settings = shop_settings()
    publish(lake, settings, NIGHT)
    night, report = night_after(lake, settings, NIGHT, 12, events)
    assert report.why_full == ""
    assert_same(lake, night, settings)
    night, report = night_after(lake, settings, night, 1, [])
    assert report.why_full == ""
    assert_same(lake, night, settings)


def test_only_rows_that_changed_are_written(lake):
    settings = shop_settings()
    publish(lake, settings, NIGHT)
    with duckdb.connect(str(published_file(lake.home)), read_only=True) as con:
        before = dict(con.execute("SELECT (item_id, day), rowid FROM demand_daily").fetchall())
    night, report = night_after(lake, settings, NIGHT, 1, [])
    assert report.since < NIGHT
    with duckdb.connect(str(published_file(lake.home)), read_only=True) as con:
        after = con.execute("SELECT (item_id, day), rowid FROM demand_daily").fetchall()
    assert {key: row for key, row in after if key[1] < night} == before


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        pytest.param(
            lambda lake: know(lake, NIGHT, "10", NIGHT, 3), "demand_changes known on 2017-11-26", id="dated back"
        ),
        pytest.param(
            lambda lake: shutil.rmtree(lake.folder("item_sightings")), "item_sightings known on", id="a fact removed"
        ),
        pytest.param(
            lambda lake: published_file(lake.home).write_bytes(b"no database"), "cannot be read", id="no database"
        ),
        pytest.param(lambda lake: published_file(lake.home).unlink(), "no file stands yet", id="no file"),
    ],
)
def test_what_makes_a_full_build_necessary_is_told(lake, spoil, why):
    publish(lake, shop_settings(), NIGHT)
    spoil(lake)
    know(lake, NIGHT + timedelta(days=1), "10", NIGHT, 1)
    write_vintage_of(lake, NIGHT + timedelta(days=1), {"10": ITEMS["10"]})
    report = publish(lake, shop_settings(), NIGHT + timedelta(days=1))
    assert why in report.why_full


def test_an_older_night_other_settings_and_a_word_make_a_full_build(lake):
    publish(lake, shop_settings(), NIGHT)
    assert publish(lake, shop_settings(), NIGHT).why_full == ""
    assert "settings" in publish(lake, shop_settings(by_location=True), NIGHT).why_full
    assert publish(lake, shop_settings(by_location=True), NIGHT, full=True).why_full == "asked for"
    older = publish(lake, shop_settings(by_location=True), NIGHT - timedelta(days=7))
    assert f"later night of {NIGHT}" in older.why_full


def test_a_delivery_of_days_to_come_stays_out_until_its_night(lake):
    deliver(lake, "early", NIGHT + timedelta(days=2))
    publish(lake, shop_settings(), NIGHT)
    seen = []
    for _ in range(2):
        with duckdb.connect(str(published_file(lake.home)), read_only=True) as con:
            counted = [f"SELECT count(*) FROM {table} WHERE file_hash = 'early'" for table in BY_DELIVERY]
            seen.append([con.execute(sql).fetchall()[0][0] for sql in counted])
        night_after(lake, shop_settings(), NIGHT, 2, [])
    assert seen == [[0] * len(BY_DELIVERY), [1] * len(BY_DELIVERY)]


def test_a_vintage_whose_row_was_written_anew_is_published_anew(lake):
    publish(lake, shop_settings(), NIGHT)
    (vintage,) = vintages(lake, NIGHT)
    write_vintage(lake, replace(vintage, made_at=datetime(2031, 1, 1)))
    assert publish(lake, shop_settings(), NIGHT).why_full == ""
    assert_same(lake, NIGHT, shop_settings())


def test_a_file_that_has_grown_is_built_in_full(lake, monkeypatch):
    small = publish(lake, shop_settings(), NIGHT).bytes
    monkeypatch.setattr(plan, "ROOM", 0)
    monkeypatch.setattr(plan, "GROWN", 0.9)
    report = publish(lake, shop_settings(), NIGHT)
    assert "has grown to more than 0.9 times" in report.why_full
    assert report.bytes == pytest.approx(small, rel=0.2)


def test_only_what_changed_is_read(lake):
    """Files of the lake that a night has no business with may be anything, as long as nobody touched them."""
    for days in (30, 1):
        deliver(lake, f"old{days}", NIGHT - timedelta(days=days))
    publish(lake, shop_settings(), NIGHT)
    deliver(lake, "new", NIGHT + timedelta(days=1))
    old = [
        path
        for table in FROM_LAKE
        if table != "backtest_forecasts"
        for path in lake.folder(table).rglob("*.parquet")
        if path.parent.name != "file_hash=new"
    ]
    for path in old:
        times = path.stat()
        path.write_bytes(b"x" * times.st_size)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    night, report = night_after(lake, shop_settings(), NIGHT, 1, [])
    assert report.why_full == ""
    assert report.nights == 3
    assert report.rows["raw_files"] == 3
    with pytest.raises(DamagedFileError):
        publish(lake, shop_settings(), night, full=True)


def test_a_file_that_somebody_wrote_into_is_built_in_full(lake):
    publish(lake, shop_settings(), NIGHT)
    with duckdb.connect(str(published_file(lake.home))) as con:
        con.execute("DROP TABLE forecasts")
    report = publish(lake, shop_settings(), NIGHT)
    assert "cannot be brought up to date" in report.why_full
    assert_same(lake, NIGHT, shop_settings())


def assert_known(lake: Lake, night: date, *, by_location: bool) -> list[tuple]:
    """The published file says of a night what the view of that night knows; its demand."""
    with duckdb.connect(str(published_file(lake.home)), read_only=True) as con:
        asked = f"SELECT item_id, location, day, units FROM demand_as_known(DATE '{night}') ORDER BY ALL"
        found = con.execute(asked).fetchall()
    with as_of_view(lake, night, by_location=by_location) as view:
        known = "SELECT item_id, location, day, units FROM demand_daily WHERE units > 0 ORDER BY ALL"
        assert found == view.con.execute(known).fetchall(), night
    return found


@pytest.mark.parametrize("by_location", [False, True], ids=["over all", "by location"])
def test_demand_as_known_is_the_demand_of_the_view_of_that_night(lake, by_location):
    settings = shop_settings(by_location=by_location)
    happenings = [("late", "10", 30), ("cancelled", "20", 5), ("late", "20", 24), ("bulk", "10", 0)]
    publish(lake, settings, NIGHT)
    first, _ = night_after(lake, settings, NIGHT, 8, happenings)
    last, _ = night_after(lake, settings, first, 9, happenings)
    nights = (NIGHT, NIGHT + timedelta(days=5), first, first + timedelta(days=3), last)
    known = [assert_known(lake, night, by_location=by_location) for night in nights]
    then = [[row for row in rows if row[2] <= NIGHT] for rows in known]
    assert then[0] == then[1] != then[2] == then[3] != then[4], "nothing about the past was known later"


@pytest.mark.parametrize("how", ["late", "cancelled"])
def test_a_file_without_its_revisions_would_be_caught(lake, how):
    publish(lake, shop_settings(), NIGHT)
    night_after(lake, shop_settings(), NIGHT, 8, [(how, "20", 10)])
    with duckdb.connect(str(published_file(lake.home))) as con:
        con.execute("DELETE FROM demand_revisions WHERE known_on > $1", [NIGHT])
    with pytest.raises(AssertionError):
        assert_known(lake, NIGHT, by_location=False)
