"""A view that begins at a day: the rows of the whole view from then on, and no more of the ledger read than they need."""

from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.as_of import as_of_view, changes_from, known_days, reads_from
from pipeline.cleaning.checkpoints import keep_checkpoints
from pipeline.lake import Lake
from pipeline.settings import ComputeSettings
from tests.forecasting.fakes import write_demand

FIRST = date(2021, 2, 10)
DAYS = 1100
BOUNDED = ("demand_daily", "shop_days", "prices_daily")
WHOLE = ("promotions", "calendar_occurrences", "calendar_daily", "order_lines")
FEW = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
ITEMS = 9
ONLY_THE_FIRST_YEAR = "old"
Fact = tuple[str, str, date, str, int, int, date]
"""Item, location, demand day, reason, units, lines, day on which it became known."""


def on(days: int) -> date:
    return FIRST + timedelta(days=days)


def write_ledger(lake: Lake, ledger: list[Fact], part: str) -> None:
    names = ("item_id", "location", "demand_day", "reason", "units", "lines", "known_on")
    columns = {name: list(values) for name, values in zip(names, zip(*ledger, strict=True), strict=True)}
    columns["revenue"] = [2.5 * units for units in columns["units"]]
    with lake.connect() as con:
        con.register("ledger", pa.table(columns))
        query = (
            "SELECT item_id, location, demand_day, reason, sum(units)::BIGINT AS units, sum(lines)::BIGINT AS lines, "
            "sum(revenue)::DECIMAL(38, 4) AS revenue, known_on FROM ledger GROUP BY ALL"
        )
        lake.write_partitions(con, "demand_changes", query, part)


def random_ledger(seed: int) -> list[Fact]:
    """Items of different levels and gaps; bulk orders, busy days, closures, times of many and of few lines; late facts.

    Thousands of units a day: what is left of an outlier is whole units, and tells a cap to many digits.
    """
    random = np.random.default_rng(seed)
    ledger: list[Fact] = []
    closed = {int(day) for start in random.integers(0, DAYS, 25) for day in range(start, start + random.integers(1, 9))}
    busy = dict(zip(random.integers(0, DAYS, 40).tolist(), random.uniform(2, 20, 40).tolist(), strict=True))
    for number in range(ITEMS):
        level, chance = random.lognormal(8, 1), random.uniform(0.03, 0.6)
        item = ONLY_THE_FIRST_YEAR if number == 0 else f"item-{number}"
        for day in range(365 if number == 0 else DAYS):
            if day in closed or random.random() > chance:
                continue
            grown = busy.get(day, 1.0) * (1 + day // 365)
            units = int(level * grown * random.lognormal(0, 0.4) * (1 if random.random() > 0.03 else 500)) + 1
            lines = 1 if day // 200 % 2 else 30
            where = str(random.choice(["", "shop 2"]))
            # deliveries come every five days, and some facts later
            known = day + (-day) % 5 + int(random.choice([0, 0, 0, 5, 40, 400]))
            ledger.append((item, where, on(day), "sale", units, lines, on(known)))
            if random.random() < 0.1:
                reason = str(random.choice(["cancellation", "return", "correction"]))
                back = on(known + int(random.choice([0, 10, 200])))
                ledger.append((item, where, on(day), reason, -int(random.integers(1, units + 3)), 0, back))
    return ledger


@pytest.fixture(scope="module", params=[1, 2])
def history(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Three years of demand, with the summaries that cleaning keeps."""
    lake = Lake(tmp_path_factory.mktemp("history"), ComputeSettings(threads=2, memory_limit="300MB"))
    write_ledger(lake, random_ledger(request.param), "history")
    keep_checkpoints(lake)
    return lake


def contents(lake: Lake, night: date, *, since: date | None = None, **options: Any) -> dict[str, list[Any]]:
    """All rows of all views of a night."""
    with as_of_view(lake, night, since=since, **options) as view:
        found = {name: view.con.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall() for name in (*BOUNDED, *WHOLE)}
        days = {name: view.con.execute(f"SELECT day FROM {name} ORDER BY ALL").fetchall() for name in BOUNDED}
        first = min((day for (day,) in days["shop_days"]), default=view.begins)
        assert first == view.begins
        return found | {"first_day": [view.first_day]}


DAY_COLUMN = {"demand_daily": 2, "shop_days": 0, "prices_daily": 2}


# --- exact -----------------------------------------------------------------------------------------------------------


@given(
    night=st.integers(30, DAYS + 30),
    # just behind the first of a quarter a view must read one quarter more
    since=st.one_of(
        st.integers(-10, DAYS), st.builds(lambda day: (date(2022, 10, 1) - FIRST).days + day, st.integers(0, 27))
    ),
    by_location=st.booleans(),
)
@FEW
def test_a_view_that_begins_later_has_the_rows_of_the_whole_one(
    history: Lake, night: int, since: int, by_location: bool
) -> None:
    night = max(night, since)
    first = on(since)
    whole = contents(history, on(night), by_location=by_location)
    bounded = contents(history, on(night), by_location=by_location, since=first)

    for name in BOUNDED:
        assert bounded[name] == [row for row in whole[name] if row[DAY_COLUMN[name]] >= first], name
    for name in (*WHOLE, "first_day"):
        assert bounded[name] == whole[name], name


@given(night=st.integers(200, DAYS), about=st.integers(0, 1000), units=st.integers(1, 100_000), old=st.booleans())
@FEW
def test_a_new_fact_changes_no_day_before_the_one_promised(
    history: Lake, night: int, about: int, units: int, old: bool
) -> None:
    """Publishing replaces the days from `changes_from` on; any other day must stand as it stood."""
    day = on(min(about, night))
    before = contents(history, on(night))
    item = ONLY_THE_FIRST_YEAR if old else "item-0"
    write_ledger(history, [(item, "", day, "sale", units, 1, on(night))], "new")
    try:
        after = contents(history, on(night))
    finally:
        history.discard("demand_changes", "new")

    assert after["demand_daily"] != before["demand_daily"]
    for name in BOUNDED:
        kept = [[row for row in rows[name] if row[DAY_COLUMN[name]] < changes_from(day)] for rows in (before, after)]
        assert kept[0] == kept[1], name


def test_a_new_fact_does_change_days_of_its_quarter_before_it(tmp_path: Path) -> None:
    """What the promise of `changes_from` is about: late facts tell that a day of January was no outlier."""
    lake = Lake(tmp_path, ComputeSettings(threads=1, memory_limit="300MB"))
    january, march = date(2024, 1, 20), date(2024, 3, 30)
    sales = [("mug", "", date(2024, 1, 1) + timedelta(days=day), 1) for day in range(12)]
    write_demand(lake, [*sales, ("mug", "", january, 600)])
    night = date(2024, 4, 30)
    with as_of_view(lake, night) as view:
        before = view.con.execute("SELECT day FROM demand_daily WHERE is_outlier").fetchall()
    write_demand(lake, [("mug", "", march - timedelta(days=2 * day), 80) for day in range(13)], known_on=night)
    with as_of_view(lake, night) as view:
        after = view.con.execute("SELECT day FROM demand_daily WHERE is_outlier").fetchall()

    assert before == [(january,)]
    assert after == []


@pytest.mark.parametrize(
    ("since", "reads", "changes"),
    [
        (date(2024, 5, 20), date(2023, 7, 1), date(2024, 3, 4)),
        (date(2024, 1, 28), date(2023, 1, 1), date(2023, 12, 4)),
        (date(2024, 1, 29), date(2023, 4, 1), date(2023, 12, 4)),
        (date(2024, 12, 31), date(2024, 1, 1), date(2024, 9, 3)),
    ],
    ids=str,
)
def test_how_far_a_view_reads_back_and_a_fact_reaches(since: date, reads: date, changes: date) -> None:
    assert (reads_from(since), changes_from(since)) == (reads, changes)


def test_both_bounds_move_on_with_the_days() -> None:
    for one, next_one in pairwise(on(day) for day in range(800)):
        assert reads_from(one) <= reads_from(next_one) < next_one - timedelta(days=182)
        assert changes_from(one) <= changes_from(next_one) <= next_one - timedelta(days=28)


def test_the_snapshot_tells_views_of_other_days_apart(history: Lake) -> None:
    snapshots = set()
    for since in (None, on(500), on(501), on(500)):
        with as_of_view(history, on(900), since=since) as view:
            snapshots.add(view.snapshot)

    assert len(snapshots) == 3


def test_items_do_not_know_their_first_sale_where_the_view_does_not_begin_with_the_shop(history: Lake) -> None:
    query = "SELECT item_id, first_sold, last_sold FROM items ORDER BY item_id"
    with as_of_view(history, on(900)) as view:
        whole = view.con.execute(query).fetchall()
    with as_of_view(history, on(900), since=on(0) - timedelta(days=30)) as view:
        from_the_first_day = view.con.execute(query).fetchall()
    with as_of_view(history, on(900), since=on(600)) as view:
        bounded = view.con.execute(query).fetchall()

    assert whole == from_the_first_day
    assert all(first for _, first, _ in whole)
    assert {item for item, *_ in whole} - {item for item, *_ in bounded} == {ONLY_THE_FIRST_YEAR}
    assert all(first is None and last is None for _, first, last in bounded)


# --- and no more read than needed --------------------------------------------------------------------------------------


def test_files_known_before_are_not_read(tmp_path: Path) -> None:
    """Shown by spoiling them: whoever reads such a file fails."""
    lake = Lake(tmp_path, ComputeSettings(threads=1, memory_limit="300MB"))
    write_demand(lake, [("mug", "", on(day), 5) for day in range(0, 800, 2)])
    keep_checkpoints(lake)
    since = on(700)
    with as_of_view(lake, on(800), since=since) as view:
        before = view.snapshot
    files = sorted(lake.folder("demand_changes").glob("*/*.parquet"))
    assert len(files) == 400
    old = [file for file in files if file.parent.name < f"known_on={reads_from(since)}"]
    assert len(old) > 100
    # the first file of a table tells its columns
    for file in old[1:]:
        file.write_bytes(b"spoilt")
    with as_of_view(lake, on(800), since=since) as view:
        assert (view.snapshot, view.first_day) == (before, FIRST)
    assert known_days(lake) == (FIRST, on(798))
    with pytest.raises(Exception, match=r"(?i)parquet|magic"), as_of_view(lake, on(800)):
        pass


@given(
    deliveries=st.lists(st.tuples(st.integers(0, 700), st.sampled_from([0, 0, 3, 30, 350])), min_size=1, max_size=12),
    kept=st.booleans(),
)
@FEW
def test_the_known_days_are_those_of_the_whole_ledger(
    tmp_path_factory: pytest.TempPathFactory, deliveries: list[tuple[int, int]], kept: bool
) -> None:
    lake = Lake(tmp_path_factory.mktemp("days"), ComputeSettings(threads=1, memory_limit="300MB"))
    write_ledger(lake, [("mug", "", on(day), "sale", 1, 1, on(day + late)) for day, late in deliveries], "one")
    if kept:
        keep_checkpoints(lake)
    days = [day for day, _ in deliveries]

    assert known_days(lake) == (on(min(days)), on(max(days)))
    night = max(day + late for day, late in deliveries) - 1
    known = [day for day, late in deliveries if day + late <= night]
    if known:
        with as_of_view(lake, on(night)) as view:
            assert view.first_day == on(min(known))
