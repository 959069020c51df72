"""Summaries of the ledgers: they change no view, and no kill or late delivery leaves a wrong one."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.as_of import as_of_view
from pipeline.cleaning.checkpoints import LEDGERS, drop_checkpoints, keep_checkpoints
from pipeline.lake import Lake
from pipeline.settings import ComputeSettings
from tests.cleaning.conftest import dying_after

FIRST = date(2023, 1, 1)
SIGHTING = st.tuples(
    st.sampled_from(["mug", "cup"]), st.sampled_from(["", "a mug", "a cup"]), st.sampled_from(["", "cups"]),
    st.sampled_from(["orders", "orders", "master"]), st.integers(-3, 4),
    # the ends of two quarters, and the days after them
    st.one_of(st.integers(0, 500), st.sampled_from([89, 90, 180, 181])),
)  # fmt: skip


def on(days: int) -> date:
    return FIRST + timedelta(days=days)


def write(lake: Lake, sightings: list[tuple[str, str, str, str, int, int]], part: str) -> None:
    """Sightings, and a sale of each item on its day."""
    names = ("item_id", "item_text", "category", "origin", "lines", "known_on")
    columns = dict(zip(names, map(list, zip(*sightings, strict=True)), strict=True))
    columns["known_on"] = [on(day) for day in columns["known_on"]]
    with lake.connect() as con:
        con.register("seen", pa.table(columns))
        lake.write_partitions(
            con,
            "item_sightings",
            "SELECT item_id, item_text, category, origin, sum(lines)::BIGINT AS lines, known_on FROM seen GROUP BY ALL",
            part,
        )
        sold = (
            "SELECT DISTINCT item_id, '' AS location, known_on - 3 AS demand_day, 'sale' AS reason, 1 AS units, 1 AS lines, "
            "2.5 AS revenue, known_on FROM seen"
        )
        lake.write_partitions(con, "demand_changes", sold, part)


def night_of(lake: Lake, night: date) -> list[Any]:
    with as_of_view(lake, night) as view:
        return [view.first_day, view.snapshot, *view.con.execute("SELECT * FROM items ORDER BY ALL").fetchall()]


def summaries(lake: Lake) -> dict[str, list[Any]]:
    found = {}
    with lake.connect() as con:
        for table in LEDGERS.values():
            found[table] = con.execute(f"SELECT * FROM ({lake.select(table)}) ORDER BY ALL").fetchall()
    return found


def made_anew(lake: Lake) -> dict[str, list[Any]]:
    """The summaries that the ledger as it stands gives."""
    drop_checkpoints(lake, date.min)
    assert not any(summaries(lake).values())
    keep_checkpoints(lake)
    return summaries(lake)


@given(
    sightings=st.lists(SIGHTING, min_size=1, max_size=20),
    late=st.lists(SIGHTING, max_size=4),
    nights=st.lists(st.integers(0, 520), min_size=2, max_size=2),
)
@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_a_night_reads_the_same_with_and_without_summaries(
    tmp_path_factory: pytest.TempPathFactory, sightings: list[Any], late: list[Any], nights: list[int]
) -> None:
    lake = Lake(tmp_path_factory.mktemp("summed"), ComputeSettings(threads=1, memory_limit="300MB"))
    write(lake, [("pot", "a pot", "", "orders", 1, 0), *sightings], "first")
    without = [night_of(lake, on(night)) for night in nights]
    keep_checkpoints(lake)
    assert [night_of(lake, on(night)) for night in nights] == without

    if late:
        drop_checkpoints(lake, min(on(day) for *_, day in late))
        between = [night_of(lake, on(night)) for night in nights]
        assert between == without
        write(lake, late, "late")
        fewer = [night_of(lake, on(night)) for night in nights]
        keep_checkpoints(lake)
        kept = [night_of(lake, on(night)) for night in nights]
        standing = summaries(lake)
        drop_checkpoints(lake, date.min)
        assert [night_of(lake, on(night)) for night in nights] == kept == fewer
        assert made_anew(lake) == standing


def test_a_night_reads_the_newest_summary_that_it_may_know(tmp_path: Any) -> None:
    """Shown by taking away the ledger that was summed up: the night after a quarter needs the summary only."""
    lake = Lake(tmp_path, ComputeSettings(threads=1, memory_limit="300MB"))
    # on the last day of the quarter, and on the first of the next
    texts = [(3, 10, "a mug"), (2, 89, "a cup"), (2, 90, "a cup"), (9, 185, "a pot")]
    write(lake, [("mug", text, "", "orders", lines, day) for lines, day, text in texts], "part")
    assert keep_checkpoints(lake) == 4
    seen = {night: night_of(lake, on(night)) for night in (88, 89, 90, 184, 185)}
    for table in LEDGERS:
        for file in lake.folder(table).glob("*/*.parquet"):
            if file.parent.name <= "known_on=2023-03-31":
                file.unlink()

    assert [rows[2][1] for rows in seen.values()] == ["a mug", "a mug", "a cup", "a cup", "a pot"]
    for night in (90, 184, 185):
        rows = night_of(lake, on(night))
        assert rows[0] == on(7)
        assert rows[2][1] == seen[night][2][1]


def test_quarters_that_brought_nothing_or_are_not_over_have_no_summary(tmp_path: Any) -> None:
    lake = Lake(tmp_path, ComputeSettings(threads=1, memory_limit="300MB"))
    assert keep_checkpoints(lake) == 0
    write(lake, [("mug", "a mug", "", "orders", 1, day) for day in (0, 5, 300, 364)], "part")

    assert keep_checkpoints(lake) == 2
    assert keep_checkpoints(lake) == 0
    expected = [{"known_until": "2023-03-31"}]
    assert all(lake.partitions(table) == expected for table in LEDGERS.values())
    write(lake, [("mug", "a mug", "", "orders", 1, 365)], "next")
    assert keep_checkpoints(lake) == 2
    assert drop_checkpoints(lake, date(2023, 4, 1)) == 2
    assert all(lake.partitions(table) == expected for table in LEDGERS.values())


# --- in cleaning ------------------------------------------------------------------------------------------------------

NIGHTS = [date(2024, 3, 31), date(2024, 7, 5), date(2024, 12, 31)]


def deliver_three_quarters(shop: Any, at: Callable[..., datetime]) -> None:
    shop.deliver_items([{"item_id": "mug", "item_text": "MUG", "category": "CUPS"}], date(2024, 3, 1))
    for number in range(4):
        lines = [
            {
                "order_id": f"{number}-{day}",
                "item_text": f"MUG {number}",
                "quantity": 5,
                "ordered_at": at(50 * number + day),
            }
            for day in range(3)
        ]
        shop.deliver(lines)


def deliver_old_orders(shop: Any, at: Callable[..., datetime]) -> None:
    shop.deliver([{"order_id": "late", "item_text": "OLD MUG", "quantity": 30, "ordered_at": at(-40)}])


def deliver_a_correction(shop: Any, at: Callable[..., datetime]) -> None:
    line = {"order_id": "1-0", "item_text": "MUGS", "quantity": 1, "version": 2}
    shop.deliver([{**line, "ordered_at": at(50), "available_at": at(60)}])


def deliver_old_items(shop: Any, at: Callable[..., datetime]) -> None:
    shop.deliver_items([{"item_id": "mug", "item_text": "A MUG", "category": "POTS"}], at(-29).date())


LATE = [deliver_old_orders, deliver_a_correction, deliver_old_items]


@pytest.mark.parametrize("deliver", LATE)
def test_late_deliveries_leave_the_summaries_of_the_whole_ledger(
    shop: Any, at: Callable[..., datetime], deliver: Callable[..., None]
) -> None:
    deliver_three_quarters(shop, at)
    shop.clean()
    before = summaries(shop.lake)
    assert all(before.values())
    deliver(shop, at)
    shop.clean()
    after = summaries(shop.lake)

    assert after["item_sightings_until"] != before["item_sightings_until"]
    assert (after["demand_changes_until"] != before["demand_changes_until"]) == (deliver is deliver_old_orders)
    assert made_anew(shop.lake) == after


@pytest.mark.parametrize("step", [1, 4, 7, 10, 13, 17])
def test_a_kill_anywhere_in_cleaning_leaves_no_wrong_summary(
    new_shop: Callable[..., Any], at: Callable[..., datetime], step: int
) -> None:
    whole, killed = new_shop(), new_shop()
    for shop in (whole, killed):
        deliver_three_quarters(shop, at)
        shop.clean()
        for deliver in LATE:
            deliver(shop, at)
    whole.clean()
    with dying_after(step):
        killed.clean()
    # whatever stands now speaks of the ledger as it stands now
    standing = [night_of(killed.lake, night) for night in NIGHTS]
    kept = {table: {row["known_until"] for row in killed.lake.partitions(table)} for table in LEDGERS.values()}
    drop_checkpoints(killed.lake, date.min)
    assert [night_of(killed.lake, night) for night in NIGHTS] == standing, kept
    killed.clean()

    assert killed.ledger() == whole.ledger()
    assert summaries(killed.lake) == summaries(whole.lake)
    assert [night_of(killed.lake, night) for night in NIGHTS] == [night_of(whole.lake, night) for night in NIGHTS]
