"""The lake: parts that are written whole or not at all, and read while they are replaced."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from pipeline.errors import DamagedFileError, DiskFullError
from pipeline.lake import Lake
from pipeline.settings import ComputeSettings

DAY = {"known_on": "2024-01-01"}
CHANGE = (
    "SELECT 'mug' AS item_id, '' AS location, DATE '2024-01-01' AS demand_day, 'sale' AS reason, {units} AS units, "
    "1 AS lines, 2.5 AS revenue FROM range({rows})"
)


def changes(units: int = 1, rows: int = 1) -> str:
    return CHANGE.format(units=units, rows=rows)


def changes_on(days: int, first: date = date(2024, 1, 1)) -> str:
    return f"SELECT *, DATE '{first}' + (row_number() OVER () - 1)::INTEGER AS known_on FROM ({changes(rows=days)})"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path, ComputeSettings(threads=2, memory_limit="200MB"))


def read(lake: Lake, what: str = "count(*), sum(units)") -> tuple[Any, ...]:
    with lake.connect() as con:
        row: tuple[Any, ...] = con.execute(f"SELECT {what} FROM ({lake.select('demand_changes')})").fetchall()[0]
        return row


def scratch(lake: Lake) -> list[Path]:
    return sorted((lake.root / ".scratch").glob("*"))


def test_a_table_never_written_reads_as_no_rows_of_its_types(lake: Lake) -> None:
    assert read(lake, "count(*), any_value(typeof(units))") == (0, None)


def test_a_part_is_replaced_and_other_parts_stay(lake: Lake) -> None:
    with lake.connect() as con:
        assert lake.write(con, "demand_changes", DAY, changes(units=1, rows=3), part="a") == 3
        lake.write(con, "demand_changes", DAY, changes(units=10, rows=1), part="b")
        lake.write(con, "demand_changes", DAY, changes(units=2, rows=2), part="a")

    assert read(lake) == (3, 14)
    assert lake.parts("demand_changes") == {"a", "b"}
    assert lake.count("demand_changes") == 3


def test_an_empty_result_removes_the_part(lake: Lake) -> None:
    with lake.connect() as con:
        lake.write(con, "demand_changes", DAY, changes(rows=3))
        assert lake.write(con, "demand_changes", DAY, changes(rows=0)) == 0

    assert read(lake) == (0, None)
    assert lake.partitions("demand_changes") == []


def test_an_arrow_table_is_cast_to_the_declared_types(lake: Lake) -> None:
    table = pa.table({
        "item_id": [1], "location": [None], "demand_day": ["2024-01-01"], "reason": ["sale"], "units": ["4"],
        "lines": [1.0], "revenue": [2.5],
    })  # fmt: skip
    with lake.connect() as con:
        lake.write(con, "demand_changes", DAY, table)

    assert read(lake, "any_value(item_id), any_value(typeof(revenue)), sum(units)") == ("1", "DECIMAL(38,4)", 4)


@pytest.mark.parametrize("days", [3, 40], ids=["few partitions", "many partitions"])
def test_partitions_lose_what_the_same_work_does_not_make_again(lake: Lake, days: int) -> None:
    with lake.connect() as con:
        written = lake.write_partitions(con, "demand_changes", changes_on(days), "work")
        lake.write_partitions(con, "demand_changes", changes_on(days), "other")
        again = lake.write_partitions(con, "demand_changes", changes_on(days - 1), "work")

    assert (len(written), len(again)) == (days, days - 1)
    assert set(written.values()) == {1}
    assert read(lake)[0] == 2 * days - 1


def test_a_partition_written_by_several_threads_is_one_part(lake: Lake) -> None:
    query = "SELECT *, DATE '2024-01-01' + (units % 2)::INTEGER AS known_on FROM (SELECT * REPLACE (range AS units) FROM ({}))"
    many = query.format(changes(rows=0).replace("SELECT", "SELECT range,", 1).replace("range(0)", "range(600000)"))
    with lake.connect() as con:
        written = lake.write_partitions(con, "demand_changes", f"SELECT * EXCLUDE (range) FROM ({many})", "work")

    assert written == {("2024-01-01",): 300_000, ("2024-01-02",): 300_000}
    assert len(list(lake.folder("demand_changes").rglob("*.parquet"))) == 2


def test_values_with_odd_characters_come_back(lake: Lake) -> None:
    names = {"model_id": "org/model=1 ü%", "batch": "it's"}
    with lake.connect() as con:
        query = "SELECT 'h' AS text_hash, 'a text' AS item_text, [1.0::FLOAT] AS vector"
        lake.write(con, "item_text_features", names, query)
        found = con.execute(f"SELECT model_id, batch FROM ({lake.select('item_text_features')})").fetchall()

    assert found == [("org/model=1 ü%", "it's")]
    assert lake.partitions("item_text_features") == [names]


def test_a_partition_must_be_the_declared_one(lake: Lake) -> None:
    with pytest.raises(ValueError, match="partitioned by"):
        lake.part_path("demand_changes", {"day": "2024-01-01"}, "part")


def test_a_discarded_part_is_gone_from_every_partition(lake: Lake) -> None:
    with lake.connect() as con:
        lake.write_partitions(con, "demand_changes", changes_on(3), "work")
        lake.write_partitions(con, "demand_changes", changes_on(3), "other")
    lake.discard("demand_changes", "work")

    assert lake.parts("demand_changes") == {"other"}
    assert read(lake)[0] == 3


def test_batches_are_one_part_and_an_error_between_them_leaves_the_old_one(lake: Lake) -> None:
    schema = {"item_id": ["mug"], "location": [""], "demand_day": [date(2024, 1, 1)], "reason": ["sale"], "units": [5],
              "lines": [1], "revenue": [pa.scalar(1).cast(pa.decimal128(38, 4)).as_py()]}  # fmt: skip
    with lake.stream("demand_changes", DAY) as append:
        append(pa.table(schema))
        append(pa.table(schema))

    def broken() -> None:
        with lake.stream("demand_changes", DAY) as append:
            append(pa.table(schema))
            raise RuntimeError("broken off")

    with pytest.raises(RuntimeError):
        broken()

    assert read(lake) == (2, 10)
    assert scratch(lake) == []


# --- atomic ---------------------------------------------------------------------------------------------------------


def test_a_reader_sees_the_old_part_or_the_new_one(lake: Lake) -> None:
    with lake.connect() as con:
        lake.write(con, "demand_changes", DAY, changes(units=0, rows=5000))
    stop = threading.Event()

    def write() -> None:
        round_number = 0
        with lake.connect() as con:
            while not stop.is_set():
                round_number += 1
                lake.write(con, "demand_changes", DAY, changes(units=round_number, rows=5000))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = {read(lake, "count(*), min(units), max(units)") for _ in range(40)}
    finally:
        stop.set()
        writer.join()

    assert all(rows == 5000 and low == high for rows, low, high in seen)
    assert len(seen) > 1


@pytest.mark.parametrize("step", ["writing", "syncing", "renaming"])
def test_a_write_that_breaks_off_leaves_what_stood_before(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with lake.connect() as con:
        lake.write(con, "demand_changes", DAY, changes(units=7))

    def broken(*args: object) -> None:
        raise KeyboardInterrupt

    query = changes(units=8)
    if step == "writing":
        query = "SELECT * REPLACE (error('broken')::BIGINT AS units) FROM (" + changes() + ")"
    else:
        monkeypatch.setattr(*((os, "fsync", broken) if step == "syncing" else (Path, "replace", broken)))
    with lake.connect() as con, pytest.raises((KeyboardInterrupt, Exception)):
        lake.write(con, "demand_changes", DAY, query)
    monkeypatch.undo()

    assert read(lake) == (1, 7)
    assert scratch(lake) == []


def test_a_killed_writer_leaves_what_stood_before_and_its_scratch_is_swept(lake: Lake) -> None:
    with lake.connect() as con:
        lake.write(con, "demand_changes", DAY, changes(units=7))
    code = f"""
        from pathlib import Path
        from pipeline.lake import Lake
        lake = Lake(Path({str(lake.home)!r}))
        with lake.connect() as con:
            print("writing", flush=True)
            lake.write(con, "demand_changes", {DAY!r}, {changes(units=8, rows=10**9)!r})
    """
    writer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"writing\n"
    deadline = time.monotonic() + 20
    while not list((lake.root / ".scratch").rglob("part.parquet")) and time.monotonic() < deadline:
        time.sleep(0.02)
    with lake.scratch() as mine:
        assert len(scratch(lake)) > 1
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()

        assert read(lake) == (1, 7)
        assert lake.sweep() == 2
        assert scratch(lake) == [mine]


@pytest.mark.parametrize("work", ["one part", "partitions", "stream"])
def test_a_full_disk_is_named_and_leaves_what_stood_before(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    with lake.connect() as con:
        lake.write(con, "demand_changes", DAY, changes(units=7))

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    def write() -> None:
        with lake.connect() as con:
            if work == "one part":
                lake.write(con, "demand_changes", DAY, changes(units=8))
            elif work == "partitions":
                lake.write_partitions(con, "demand_changes", changes_on(3), "part")
            else:
                with lake.stream("demand_changes", DAY) as append:
                    append(con.sql(changes(units=8)).to_arrow_table())

    with pytest.raises(DiskFullError, match=r"lake: the disk is full; free some space"):
        write()
    monkeypatch.undo()

    assert read(lake) == (1, 7)


def test_duckdbs_own_words_for_a_full_disk_are_named_too(lake: Lake) -> None:
    def spill() -> None:
        with lake.connect() as con:
            con.execute("SET memory_limit = '20MB'; SET max_temp_directory_size = '1MB'; SET threads = 1")
            con.execute("CREATE TABLE big AS SELECT range, hash(range) AS h, hash(h) AS g FROM range(10000000)")

    with pytest.raises(DiskFullError):
        spill()


# --- reading little -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: content + b"x",
        lambda content: b"",
        lambda content: content[:-60] + b"\xff" * 40 + content[-20:],
        lambda content: b"no Parquet at all",
    ],
    ids=["a byte more", "empty", "broken footer", "text"],
)
def test_a_damaged_file_is_named_with_the_way_out(lake: Lake, harm: Any) -> None:
    with lake.connect() as con:
        for day in ("2024-01-01", "2024-01-02"):
            lake.write(con, "demand_changes", {"known_on": day}, changes())
    file = lake.part_path("demand_changes", {"known_on": "2024-01-02"}, "part")
    file.write_bytes(harm(file.read_bytes()))
    with pytest.raises(
        DamagedFileError, match=r"known_on=2024-01-02/part\.parquet: is damaged.*move it away and run again"
    ):
        read(lake)


def test_an_error_that_no_file_is_to_blame_for_stays_as_it_is(lake: Lake) -> None:
    with pytest.raises(duckdb.CatalogException), lake.connect() as con:
        con.execute("FROM nowhere")


def test_a_night_opens_no_file_of_a_later_day(lake: Lake) -> None:
    with lake.connect() as con:
        lake.write_partitions(con, "demand_changes", changes_on(30), "work")
        con.execute("SET VARIABLE as_of = DATE '2024-01-05'")
        con.execute(f"CREATE VIEW facts AS {lake.select('demand_changes')}")
        plan = con.execute(
            "EXPLAIN ANALYZE SELECT sum(units) FROM facts WHERE known_on <= getvariable('as_of')"
        ).fetchall()[0][1]
        # the files of later days made unreadable: whoever opened one would fail
        for day in range(5, 30):
            name = date(2024, 1, 1) + timedelta(days=day)
            lake.part_path("demand_changes", {"known_on": name}, "work").write_bytes(b"not parquet at all")
        total = con.execute("SELECT sum(units) FROM facts WHERE known_on <= getvariable('as_of')").fetchall()

    assert total == [(5,)]
    assert "5/30" in plan.replace(" ", "")


def test_one_delivery_is_read_alone(lake: Lake) -> None:
    with lake.connect() as con:
        for name in ("one", "two"):
            lake.write(con, "data_quality", {"file_hash": name}, f"SELECT '{name}' AS file_name, 's' AS source, 'lines' AS measure, 1 AS value")  # fmt: skip
        lake.part_path("data_quality", {"file_hash": "two"}, "part").write_bytes(b"not parquet at all")
        con.execute("SET VARIABLE file_hash = 'one'")
        con.execute(f"CREATE VIEW counts AS {lake.select('data_quality')}")
        found = con.execute("SELECT file_name FROM counts WHERE file_hash = getvariable('file_hash')").fetchall()

    assert found == [("one",)]
