"""The as-of view: a night reads what was known that night, and nothing else."""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.as_of import ANNOUNCED_DAYS, AsOfView, as_of_view, known_days
from pipeline.errors import HistoryError
from pipeline.lake import Lake
from pipeline.settings import ComputeSettings
from pipeline.tables import TABLES

FIRST = date(2024, 1, 1)
VIEWS = (
    "order_lines", "demand_daily", "shop_days", "items", "prices_daily", "promotions", "promotions_daily",
    "calendar_occurrences", "calendar_daily", "calendar_events", "announced_items",
)  # fmt: skip

Facts = Mapping[str, Iterable[Mapping[str, Any]]]


def on(days: int) -> date:
    return FIRST + timedelta(days=days)


@pytest.fixture
def lake_with(tmp_path: Path) -> Callable[[Facts], Lake]:
    """Makes a lake that holds facts."""
    made = 0

    def make(facts: Facts) -> Lake:
        nonlocal made
        made += 1
        lake = Lake(tmp_path / str(made), ComputeSettings(threads=1, memory_limit="200MB"))
        with lake.connect() as con:
            for table, rows in facts.items():
                declared = TABLES[table]
                parts: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
                for row in rows:
                    parts.setdefault(tuple(row[name] for name in declared.partition), []).append(row)
                for values, part in parts.items():
                    stored = [name for name in declared.column_names if name not in declared.partition]
                    columns = {name: [row.get(name) for row in part] for name in stored}
                    lake.write(con, table, dict(zip(declared.partition, values, strict=True)), pa.table(columns))
        return lake

    return make


def change(
    item: str = "mug", day: int = 0, units: int = 1, known: int | None = None, reason: str = "sale", location: str = ""
) -> dict[str, Any]:
    return {
        "item_id": item,
        "location": location,
        "demand_day": on(day),
        "reason": reason,
        "units": units,
        "lines": 1 if units > 0 else 0,
        "revenue": str(2 * units),
        "known_on": on(day if known is None else known),
    }


def sighting(
    item: str, text: str, known: int, lines: int = 1, origin: str = "orders", category: str = ""
) -> dict[str, Any]:
    return {
        "item_id": item, "item_text": text, "category": category, "origin": origin, "lines": lines, "known_on": on(known)
    }  # fmt: skip


def rows(view: AsOfView, query: str) -> list[tuple[Any, ...]]:
    return view.con.execute(query).fetchall()


# --- each view ------------------------------------------------------------------------------------------------------


def test_demand_is_what_was_ordered_less_what_was_cancelled_by_then(lake_with: Callable[[Facts], Lake]) -> None:
    facts = [
        change(units=10),
        change(units=-4, known=3, reason="cancellation"),
        change(units=-2, known=5, reason="return"),
    ]
    lake = lake_with({"demand_changes": facts})
    seen = {}
    for night in (0, 3, 5):
        with as_of_view(lake, on(night)) as view:
            seen[night] = rows(
                view, "SELECT units, units_gross, revenue::DOUBLE, revenue_gross::DOUBLE FROM demand_daily"
            )

    assert seen == {0: [(10, 10, 20.0, 20.0)], 3: [(6, 10, 12.0, 20.0)], 5: [(4, 10, 8.0, 20.0)]}


def test_locations_are_summed_or_kept_apart(lake_with: Callable[[Facts], Lake]) -> None:
    lake = lake_with({"demand_changes": [change(location="a", units=2), change(location="b", units=3)]})
    with as_of_view(lake, FIRST) as view:
        together = rows(view, "SELECT location, units FROM demand_daily")
    with as_of_view(lake, FIRST, by_location=True) as view:
        apart = rows(view, "SELECT location, units FROM demand_daily")

    assert together == [("", 5)]
    assert apart == [("a", 2), ("b", 3)]


def test_the_newest_version_known_is_the_line(lake_with: Callable[[Facts], Lake]) -> None:
    line = {"source": "s", "order_id": "1", "item_id": "mug", "line_no": 1, "demand_day": FIRST, "kind": "sale"}
    versions = [{**line, "version": v, "quantity": 10 * v, "known_on": on(2 * (v - 1))} for v in (1, 2, 3)]
    other = {**line, "order_id": "2", "version": 1, "quantity": 1, "known_on": FIRST}
    lake = lake_with({"order_lines": [*versions, other], "demand_changes": [change()]})
    seen = {}
    for night in (0, 1, 2, 9):
        with as_of_view(lake, on(night)) as view:
            seen[night] = rows(view, "SELECT order_id, quantity FROM order_lines ORDER BY 1")

    assert {night: found[0][1] for night, found in seen.items()} == {0: 10, 1: 10, 2: 20, 9: 30}
    assert all(found[1:] == [("2", 1)] for found in seen.values())


def test_the_text_on_most_lines_wins_until_a_master_text_comes(lake_with: Callable[[Facts], Lake]) -> None:
    facts = {
        "demand_changes": [change()],
        "item_sightings": [
            sighting("mug", "mgu", 0, lines=1),
            sighting("mug", "a mug", 1, lines=5),
            sighting("mug", "the mug", 2, lines=0, origin="master", category="cups"),
            sighting("mug", "the new mug", 3, lines=0, origin="master"),
        ],
    }
    lake = lake_with(facts)
    seen = []
    for night in range(4):
        with as_of_view(lake, on(night)) as view:
            seen += rows(view, "SELECT item_text, category FROM items")

    assert seen == [("mgu", ""), ("a mug", ""), ("the mug", "cups"), ("the new mug", "cups")]


def test_a_sighting_taken_back_is_no_text(lake_with: Callable[[Facts], Lake]) -> None:
    facts = [sighting("mug", "mgu", 0), sighting("mug", "mgu", 1, lines=-1), sighting("mug", "a mug", 1)]
    lake = lake_with({"demand_changes": [change()], "item_sightings": facts})
    with as_of_view(lake, on(1)) as view:
        assert rows(view, "SELECT item_text FROM items") == [("a mug",)]


def test_an_item_knows_its_first_and_last_sale_of_the_night(lake_with: Callable[[Facts], Lake]) -> None:
    facts = [change(day=0), change(day=0, units=-1, known=2, reason="cancellation"), change(day=1), change(day=4)]
    lake = lake_with({"demand_changes": facts})
    seen = {}
    for night in (1, 3, 4):
        with as_of_view(lake, on(night)) as view:
            seen[night] = rows(view, "SELECT first_sold, last_sold FROM items")[0]

    assert seen == {1: (on(0), on(1)), 3: (on(1), on(1)), 4: (on(1), on(4))}


def announced(view: AsOfView) -> list[tuple[Any, ...]]:
    return rows(view, "SELECT item_id, on_sale_from, unit_price FROM announced_items ORDER BY item_id")


def test_an_item_is_announced_from_its_announcement_to_its_first_sale(lake_with: Callable[[Facts], Lake]) -> None:
    lake = lake_with(
        {
            "demand_changes": [change(), change("jug", day=20)],
            "item_sightings": [
                sighting("mug", "a mug", 0),
                *(sighting(item, f"a {item}", 5, 0, "master") for item in ("jug", "mug", "urn")),
                sighting("jug", "a jug", 20),
            ],
            "announced_items": [
                {"item_id": "jug", "on_sale_from": on(15), "unit_price": 4.0, "known_on": on(5)},
                {"item_id": "jug", "on_sale_from": on(18), "unit_price": None, "known_on": on(9)},
                {"item_id": "mug", "on_sale_from": on(15), "unit_price": 4.0, "known_on": on(5)},
            ],
        }
    )

    def known(night: int) -> list[tuple[Any, ...]]:
        with as_of_view(lake, on(night)) as view:
            return announced(view)

    assert known(4) == []
    assert known(5) == [("jug", on(15), 4.0), ("urn", on(5), None)]  # without a day it counts from when it was named
    assert known(9) == [("jug", on(18), 4.0), ("urn", on(5), None)]  # what was said last counts, of each for itself
    assert known(20) == [("urn", on(5), None)]
    assert known(5 + ANNOUNCED_DAYS) == []  # it never sold


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_things_said_of_a_launch_on_one_day_the_later_start_and_the_higher_price_count(
    lake_with: Callable[[Facts], Lake], turned: bool
) -> None:
    said = [
        {"item_id": "jug", "on_sale_from": on(15), "unit_price": 5.0, "known_on": on(5)},
        {"item_id": "jug", "on_sale_from": on(18), "unit_price": 4.0, "known_on": on(5)},
    ]
    named = [sighting("mug", "a mug", 0), sighting("jug", "a jug", 5, 0, "master")]
    facts = {"demand_changes": [change()], "item_sightings": named, "announced_items": said[:: -1 if turned else 1]}
    with as_of_view(lake_with(facts), on(9)) as view:
        assert announced(view) == [("jug", on(18), 5.0)]


def test_prices_are_what_was_paid_whatever_was_cancelled(lake_with: Callable[[Facts], Lake]) -> None:
    lake = lake_with({"demand_changes": [change(units=10), change(units=-10, reason="cancellation")]})
    with as_of_view(lake, FIRST) as view:
        assert rows(view, "SELECT unit_price FROM prices_daily") == [(2.0,)]
        assert rows(view, "SELECT units FROM demand_daily") == [(0,)]


def test_a_bulk_day_is_flagged_and_stays_in_the_truth(lake_with: Callable[[Facts], Lake]) -> None:
    facts = [change(day=day, units=5 + day % 4) for day in range(60)] + [
        change(item="cup", day=day) for day in range(60)
    ]
    facts.append(change(day=30, units=20_000, known=45))
    lake = lake_with({"demand_changes": facts})
    with as_of_view(lake, on(44)) as view:
        before = rows(view, "SELECT day FROM demand_daily WHERE is_outlier")
    with as_of_view(lake, on(59)) as view:
        after = rows(view, "SELECT item_id, day, units FROM demand_daily WHERE is_outlier")

    assert before == []
    assert after == [("mug", on(30), 20_007)]


def test_nothing_known_yet_is_a_clear_error(lake_with: Callable[[Facts], Lake]) -> None:
    lake = lake_with({"demand_changes": [change(day=5)]})

    words = r"night of 2024-01-03: the first order became known on 2024-01-06"
    with pytest.raises(HistoryError, match=words), as_of_view(lake, on(2)):
        pass
    assert known_days(lake) == (on(5), on(5))


def test_an_empty_home_is_a_clear_error(lake_with: Callable[[Facts], Lake]) -> None:
    lake = lake_with({})

    with pytest.raises(HistoryError, match="no order was ingested"), as_of_view(lake, FIRST):
        pass
    with pytest.raises(HistoryError, match="no order was ingested"):
        known_days(lake)


# --- closed days ----------------------------------------------------------------------------------------------------


def closed(lake: Lake, night: date) -> list[date]:
    with as_of_view(lake, night) as view:
        return [day for (day,) in rows(view, "SELECT day FROM shop_days WHERE is_closed")]


def sold(days: Iterable[int], lines: int) -> list[dict[str, Any]]:
    return [{**change(day=day, units=lines), "lines": lines} for day in days]


def test_a_day_without_an_order_in_a_busy_shop_was_closed(lake_with: Callable[[Facts], Lake]) -> None:
    lake = lake_with({"demand_changes": sold((day for day in range(60) if day not in (20, 41)), 50)})

    assert closed(lake, on(59)) == [on(20), on(41)]


def test_a_day_without_an_order_in_a_small_shop_had_no_demand(lake_with: Callable[[Facts], Lake]) -> None:
    lake = lake_with({"demand_changes": sold((day for day in range(60) if day not in (20, 41)), 3)})

    assert closed(lake, on(59)) == []


def test_a_weekday_always_empty_in_a_small_shop_is_closed(lake_with: Callable[[Facts], Lake]) -> None:
    lake = lake_with({"demand_changes": sold((day for day in range(70) if on(day).isoweekday() != 7), 6)})

    told = closed(lake, on(69))

    assert {day.isoweekday() for day in told} == {7}
    assert on(69) in told or on(69).isoweekday() != 7
    assert len(told) >= 6


def test_a_weekday_that_hardly_sells_had_no_demand(lake_with: Callable[[Facts], Lake]) -> None:
    sundays = [day for day in range(60) if on(day).isoweekday() == 7]
    busy = sold((day for day in range(60) if day not in sundays), 50)
    lake = lake_with({"demand_changes": busy + sold(sundays[::2], 1)})

    assert closed(lake, on(59)) == []


def test_a_closure_of_months_is_closed_to_its_end(lake_with: Callable[[Facts], Lake]) -> None:
    lake = lake_with({"demand_changes": sold([*range(100), *range(190, 210)], 50)})

    assert closed(lake, on(209)) == [on(day) for day in range(100, 190)]


# --- point in time --------------------------------------------------------------------------------------------------

DAYS = st.integers(0, 25)
ITEMS = st.sampled_from(["mug", "cup", "pot"])
CHANGES = st.builds(
    lambda item, day, late, units, reason, location: change(item, day, units, day + late, reason, location),
    ITEMS, DAYS, st.sampled_from([0, 0, 1, 9]), st.integers(-5, 60),
    st.sampled_from(["sale", "sale", "cancellation", "return", "correction"]), st.sampled_from(["", "shop 2"]),
)  # fmt: skip
SIGHTINGS = st.builds(
    sighting, ITEMS, st.sampled_from(["", "a mug", "a cup"]), DAYS, st.integers(-1, 4),
    st.sampled_from(["orders", "master"]), st.sampled_from(["", "cups"]),
)  # fmt: skip
PROMOTIONS = st.builds(
    lambda item, kind, starts, length, known, share: {
        "item_id": item, "location": "", "kind": kind, "starts_on": on(starts), "ends_on": on(starts + length),
        "share": share, "known_on": on(known),
    },
    ITEMS, st.sampled_from(["display", "mailer"]), DAYS, st.integers(0, 6), DAYS, st.sampled_from([0.5, 1.0]),
)  # fmt: skip
LINES = st.builds(
    lambda item, day, late, version, quantity: {
        "source": "s", "order_id": str(day), "item_id": item, "line_no": 1, "version": version, "quantity": quantity,
        "kind": "sale", "demand_day": on(day), "known_on": on(day + late), "ordered_at": datetime(2024, 1, 1),
    },
    ITEMS, DAYS, st.sampled_from([0, 3, 12]), st.integers(1, 3), st.integers(1, 9),
)  # fmt: skip
OCCURRENCES = st.builds(
    lambda event, starts, announced: {
        "country": "FR", "event": event, "name": event, "kind": "own", "starts_on": on(starts), "ends_on": on(starts + 1),
        "announced_on": None if announced is None else on(announced), "made_from": "x",
    },
    st.sampled_from(["fair", "sale"]), DAYS, st.one_of(st.none(), DAYS),
)  # fmt: skip
ANNOUNCEMENTS = st.builds(
    lambda item, starts, price, known: {
        "item_id": item, "on_sale_from": None if starts is None else on(starts), "unit_price": price, "known_on": on(known),
    },
    st.sampled_from(["mug", "jug", "urn"]), st.one_of(st.none(), DAYS), st.sampled_from([None, 2.0, 3.5]), DAYS,
)  # fmt: skip
CALENDAR = [
    {"country": "FR", "day": on(day), "weekday": on(day).isoweekday(), "is_holiday": False, "holiday": "", "events": []}
    for day in range(-10, 60)
]


def announced_on(row: Mapping[str, Any]) -> date:
    known: date | None = row.get("known_on", row.get("announced_on"))
    return known or date.min


def contents(lake: Lake, night: date, by_location: bool) -> dict[str, Any]:
    """Everything that a night can read."""
    with as_of_view(lake, night, by_location=by_location) as view:
        found: dict[str, Any] = {name: sorted(map(repr, rows(view, f"SELECT * FROM {name}"))) for name in VIEWS}
        return {**found, "snapshot": view.snapshot, "first_day": view.first_day}


@given(
    facts=st.fixed_dictionaries(
        {
            "demand_changes": st.lists(CHANGES, max_size=25),
            "item_sightings": st.lists(SIGHTINGS, max_size=8),
            "promotions": st.lists(PROMOTIONS, max_size=5),
            "announced_items": st.lists(ANNOUNCEMENTS, max_size=4),
            "order_lines": st.lists(LINES, max_size=8),
            "calendar_occurrences": st.lists(OCCURRENCES, max_size=4),
        }
    ),
    night=st.integers(0, 25),
    by_location=st.booleans(),
)
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_facts_that_became_known_later_change_nothing(
    lake_with: Callable[[Facts], Lake], facts: dict[str, list[dict[str, Any]]], night: int, by_location: bool
) -> None:
    facts = {**facts, "demand_changes": [change(), *facts["demand_changes"]], "calendar_daily": CALENDAR}
    known = {table: [row for row in found if announced_on(row) <= on(night)] for table, found in facts.items()}

    everything = contents(lake_with(facts), on(night), by_location)
    only_known = contents(lake_with(known), on(night), by_location)

    assert everything == only_known


def test_the_snapshot_changes_with_what_is_known_and_not_with_its_files(lake_with: Callable[[Facts], Lake]) -> None:
    facts = [change(day=day, units=day + 1) for day in range(5)]
    one, other_order, more = (
        lake_with({"demand_changes": found}) for found in (facts, facts[::-1], [*facts, change(item="cup", day=2)])
    )
    with other_order.connect() as con:
        other_order.write(con, "demand_changes", {"known_on": on(9)}, pa.table({
            name: [value] for name, value in change(item="late", day=9).items() if name != "known_on"
        }), part="another")  # fmt: skip
    snapshots = []
    for lake in (one, other_order, more):
        with as_of_view(lake, on(6)) as view:
            snapshots.append(view.snapshot)

    assert snapshots[0] == snapshots[1] != snapshots[2]
