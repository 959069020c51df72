"""The kept copies of mark tables say what the files say, whatever happened to either."""

import os
from datetime import datetime

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.ingestion.standing import MARKS, attach_marks, deliveries, fingerprint, keep_marks, standing
from pipeline.tables import TABLES

TABLE = "data_quality"


def mark(home, part, value):
    row = {"file_name": f"{part}.csv", "source": "small", "measure": "lines", "value": value}
    with home.lake.connect() as con:
        home.lake.write(con, TABLE, {"file_hash": part}, pa.Table.from_pylist([row]))


def kept_rows(home, table=TABLE):
    with home.lake.connect() as con:
        attach_marks(home.lake, con, table)
        return con.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall()


def rows(home, table=TABLE):
    with home.lake.connect() as con:
        return con.execute(f"SELECT * FROM ({home.lake.select(table)}) ORDER BY ALL").fetchall()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from("abcd"), st.integers(0, 9)),
        st.tuples(st.just("delete"), st.sampled_from("abcd"), st.just(0)),
        st.tuples(st.sampled_from(["keep", "forget", "damage"]), st.just(""), st.just(0)),
    ),
    max_size=12,
)


@given(steps=STEPS)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_marks_are_those_of_the_files_that_stand(new_home, steps):
    home = new_home()
    copy = home.path / ".cache" / "marks" / f"{TABLE}.parquet"
    for step, part, value in steps:
        if step == "write":
            mark(home, part, value)
        elif step == "delete":
            home.lake.part_path(TABLE, {"file_hash": part}, "part").unlink(missing_ok=True)
        elif step == "keep":
            keep_marks(home.lake, TABLE)
        elif copy.exists():
            copy.unlink() if step == "forget" else copy.write_bytes(b"PAR1 no more")
        assert kept_rows(home) == rows(home)
    assert deliveries(home.lake, TABLE) == {row[0] for row in rows(home)}


def test_a_copy_is_written_when_something_is_new_and_only_then(home):
    mark(home, "a", 1)
    keep_marks(home.lake, TABLE)
    copy = home.path / ".cache" / "marks" / f"{TABLE}.parquet"
    before = copy.stat().st_mtime_ns
    keep_marks(home.lake, TABLE)
    assert copy.stat().st_mtime_ns == before
    mark(home, "b", 2)
    keep_marks(home.lake, TABLE)
    assert copy.stat().st_mtime_ns != before


def test_kept_marks_are_read_from_one_file(home, monkeypatch):
    for part in "abc":
        mark(home, part, 1)
    keep_marks(home.lake, TABLE)
    mark(home, "d", 4)
    opened = []
    select = type(home.lake).select
    monkeypatch.setattr(
        type(home.lake),
        "select",
        lambda self, table, files=None: opened.extend(files) or select(self, table, files=files),
    )
    assert len(kept_rows(home)) == 4
    assert [path.parent.name for path in opened] == ["file_hash=d"]


@pytest.mark.parametrize("table", MARKS)
def test_mark_tables_have_one_file_per_delivery(home, table):
    assert TABLES[table].partition == ("file_hash",)
    assert kept_rows(home, table) == []


def test_fingerprints_tell_files_apart(home):
    mark(home, "a", 1)
    first = fingerprint(standing(home.lake, TABLE))
    assert fingerprint(standing(home.lake, TABLE)) == first
    (file,) = standing(home.lake, TABLE)
    os.utime(file.path, ns=(file.changed, file.changed + 1))
    assert fingerprint(standing(home.lake, TABLE)) != first
    mark(home, "b", 1)
    assert len({first, fingerprint(standing(home.lake, TABLE)), fingerprint([])}) == 3


def test_times_survive_the_copy(home):
    home.drop_lines("orders.csv", "O1,A,red mug,2,1.50,2010-07-01 09:00:00,C17")
    home.ingest(datetime.fromisoformat("2010-07-02T03:04:05.678901+00:00"))
    assert kept_rows(home, "raw_files") == rows(home, "raw_files")
    assert kept_rows(home, "raw_files")[0][-1] == datetime.fromisoformat("2010-07-02T03:04:05.678901")
