"""Files of the ledgers deleted by hand: named, and mended to the same ledgers."""

import shutil
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.cleaning.clean import LOOK_BACK_DAYS
from pipeline.cleaning.ledgers import WRITTEN
from pipeline.errors import DeliveryError
from pipeline.lake import Lake
from tests.cleaning.conftest import dying_after


def deliver_three(shop: Any, at: Callable[..., datetime]) -> list[str]:
    """Orders, a cancellation with a correction, and orders again, known on different days."""
    return [
        shop.deliver([{"quantity": 10}, {"order_id": "2", "quantity": 5, "ordered_at": at(1)}]),
        shop.deliver(
            [
                {"order_id": "C3", "quantity": -7, "ordered_at": at(2)},
                {"quantity": 9, "version": 2, "available_at": at(3)},
            ]
        ),
        shop.deliver([{"order_id": "4", "quantity": 2, "item_text": "BIG MUG", "ordered_at": at(4)}]),
    ]


def files_of(shop: Any, table: str, part: str) -> list[Path]:
    return sorted(shop.lake.folder(table).glob(f"*/{part}.parquet"))


def write_mark(shop: Any, table: str, part: str, rows: str) -> None:
    with shop.lake.connect() as con:
        shop.lake.write(con, table, {"file_hash": part}, rows)


@pytest.mark.parametrize(
    ("table", "place"),
    [
        ("order_lines", 0),
        ("order_lines", 1),
        ("netted_lines", 1),
        ("demand_changes", 0),
        ("demand_changes", 2),
        ("item_sightings", 0),
        ("item_sightings", 2),
    ],
)
def test_a_deleted_file_is_named_and_made_again(shop: Any, at: Callable[..., datetime], table: str, place: int) -> None:
    parts = deliver_three(shop, at)
    shop.clean()
    before = shop.ledger()
    files = files_of(shop, table, parts[place])
    files[0].unlink()
    assert shop.ledger() != before
    report = shop.clean()

    assert shop.ledger() == before
    assert report.deliveries == 3 - place
    (warning,) = report.warnings
    assert f"orders_00{place + 1}.csv" in warning
    assert f"lake/{table}" in warning
    assert f"{parts[place]}.parquet" in warning
    assert shop.clean().warnings == ()


@pytest.mark.parametrize(("table", "column", "place"), [("demand_changes", "units", 0), ("order_lines", "quantity", 1)])
def test_content_changed_by_hand_is_named_and_made_again(
    shop: Any, at: Callable[..., datetime], table: str, column: str, place: int
) -> None:
    parts = deliver_three(shop, at)
    shop.clean()
    before = shop.ledger()
    file = files_of(shop, table, parts[place])[0]
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE t AS FROM read_parquet('{file}', hive_partitioning = false)")
        con.execute(f"UPDATE t SET {column} = {column} * 50")
        con.execute(f"COPY t TO '{file}' (FORMAT parquet)")
    report = shop.clean()

    assert shop.ledger() == before
    (warning,) = report.warnings
    assert f"orders_00{place + 1}.csv: files {parts[place]}.parquet in lake/{table} are not what was written" in warning
    assert shop.clean().warnings == ()


def test_without_the_noted_sizes_nothing_is_cleaned_again(shop: Any, at: Callable[..., datetime]) -> None:
    deliver_three(shop, at)
    shop.clean()
    shutil.rmtree(shop.lake.home / ".cache")
    report = shop.clean()
    assert (report.deliveries, report.warnings) == (0, ())


def test_a_deleted_partition_and_a_deleted_table_are_made_again(shop: Any, at: Callable[..., datetime]) -> None:
    deliver_three(shop, at)
    shop.clean()
    before = shop.ledger()
    shutil.rmtree(shop.lake.folder("order_lines") / "known_on=2024-03-02")
    shutil.rmtree(shop.lake.folder("item_sightings"))
    report = shop.clean()

    assert shop.ledger() == before
    assert [warning.partition(":")[0] for warning in report.warnings] == ["orders_001.csv", "orders_003.csv"]


def test_a_deleted_mark_cleans_its_delivery_again_and_those_after_it(shop: Any, at: Callable[..., datetime]) -> None:
    parts = deliver_three(shop, at)
    shop.clean()
    before = shop.ledger()
    shop.lake.part_path("cleaning_report", {"file_hash": parts[0]}, "part").unlink()
    report = shop.clean()

    assert shop.ledger() == before
    assert report.deliveries == 3
    assert "cleaning_report" in report.warnings[0]


def test_reports_of_before_files_were_counted_are_taken_as_they_are(shop: Any, at: Callable[..., datetime]) -> None:
    parts = deliver_three(shop, at)
    shop.clean()
    for part in parts:
        old = f"SELECT * FROM ({shop.lake.select('cleaning_report')}) WHERE file_hash = '{part}' AND measure NOT LIKE 'files:%'"
        write_mark(shop, "cleaning_report", part, old)
    files_of(shop, "order_lines", parts[0])[0].unlink()
    report = shop.clean()

    assert (report.deliveries, report.warnings) == (0, ())


def test_ledgers_are_left_alone_when_the_delivered_lines_are_gone_too(shop: Any, at: Callable[..., datetime]) -> None:
    parts = deliver_three(shop, at)
    shop.clean()
    files_of(shop, "order_lines", parts[0])[0].unlink()
    shop.lake.part_path("raw_order_lines", {"file_hash": parts[2]}, "part").unlink()
    before = shop.ledger()

    with pytest.raises(DeliveryError, match=rf"orders_003\.csv: lake/raw_order_lines/file_hash={parts[2]} is gone"):
        shop.clean()
    assert shop.ledger() == before


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 11])
def test_mending_that_is_killed_is_mended_by_the_next_run(shop: Any, at: Callable[..., datetime], steps: int) -> None:
    parts = deliver_three(shop, at)
    shop.clean()
    before = shop.ledger()
    files_of(shop, "demand_changes", parts[0])[0].unlink()
    with dying_after(steps):
        shop.clean()
    shop.clean()

    assert shop.ledger() == before


def test_a_delivery_of_which_nothing_is_left_is_cleaned_in_its_place(shop: Any, at: Callable[..., datetime]) -> None:
    parts = deliver_three(shop, at)
    shop.clean()
    before = shop.ledger()
    for table in WRITTEN:
        for file in files_of(shop, table, parts[0]):
            file.unlink()
    shop.lake.part_path("cleaning_report", {"file_hash": parts[0]}, "part").unlink()
    report = shop.clean()

    assert shop.ledger() == before
    assert "its mark" in report.warnings[0]


@given(data=st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_deleted_comes_back(
    new_shop: Callable[..., Any], at: Callable[..., datetime], data: st.DataObject
) -> None:
    shop = new_shop()
    parts = deliver_three(shop, at)
    shop.clean()
    before = shop.ledger()
    standing = sorted(file for table in WRITTEN for part in parts for file in files_of(shop, table, part))
    standing += [shop.lake.part_path("cleaning_report", {"file_hash": part}, "part") for part in parts]
    for file in data.draw(st.sets(st.sampled_from(standing), min_size=1)):
        file.unlink()
    shop.clean()

    assert shop.ledger() == before


def test_a_delivery_reads_the_ledgers_no_further_back_than_netting_looks(
    shop: Any, at: Callable[..., datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    days = range(-1500, 0, 100)
    shop.deliver([{"order_id": f"{n}", "quantity": 10, "ordered_at": at(n)} for n in days])
    shop.deliver([{"order_id": f"C{n}", "quantity": -1, "ordered_at": at(n, 5)} for n in days])
    shop.clean()
    shop.deliver([{"order_id": "C", "quantity": -4, "ordered_at": at(0)}, {"order_id": "1", "ordered_at": at(0)}])
    read: set[date] = set()
    select = Lake.select

    def noting(self: Lake, table: str, part: str | None = None, *, files: Any = None) -> str:
        # the summaries of quarters are made from the ledgers after all deliveries
        if table in WRITTEN and self is shop.lake:
            assert files is not None, f"{table} is read whole"
            read.update(date.fromisoformat(file.parent.name.removeprefix("known_on=")) for file in files)
        return select(self, table, part, files=files)

    monkeypatch.setattr(Lake, "select", noting)
    monkeypatch.setattr("pipeline.cleaning.clean.keep_checkpoints", lambda lake: 0)
    report = shop.clean()

    assert report.measures["netted"] == (1, 4)
    assert min(read) >= date(2024, 3, 1) - timedelta(days=LOOK_BACK_DAYS + 1)
    assert len(read) == 5
