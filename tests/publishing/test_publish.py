import shutil
import subprocess
import sys
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from pipeline.errors import DiskFullError, HistoryError, PublishError
from pipeline.lake import Lake
from pipeline.publishing import publish as module
from pipeline.publishing.fill import PUBLISHED
from pipeline.publishing.publish import publish, published_file
from pipeline.publishing.query import query
from pipeline.settings import QUANTILE_COLUMNS
from pipeline.tables import TABLES
from tests.forecasting.fakes import some_settings
from tests.publishing.shop import HORIZON, ITEMS, NIGHT, NIGHTS, forecasts, write_shop


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return write_shop(Lake(tmp_path_factory.mktemp("shop")))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A published home that tests only read."""
    lake = write_shop(Lake(tmp_path_factory.mktemp("published")))
    publish(lake, some_settings(), NIGHT)
    return lake


@pytest.fixture
def lake(written: Lake, tmp_path: Path) -> Lake:
    shutil.copytree(written.home, tmp_path, dirs_exist_ok=True)
    return Lake(tmp_path)


@pytest.fixture
def published_copy(published: Lake, tmp_path: Path) -> Lake:
    """A published home to spoil."""
    shutil.copytree(published.home, tmp_path, dirs_exist_ok=True)
    return Lake(tmp_path)


def rows(lake: Lake, sql: str) -> list[tuple]:
    return query(lake.home, sql).rows


def break_the_lake(lake: Lake, column: str, values: list) -> None:
    """Replace a column of the newest night's forecasts."""
    table = forecasts(NIGHT, ITEMS)
    place = table.schema.get_field_index(column)
    with lake.connect() as con:
        broken = table.set_column(place, column, pa.array(values, table.schema.field(column).type))
        lake.write(con, "forecasts", {"as_of": NIGHT.isoformat()}, broken, part="lstm%2F1")


def test_the_file_has_the_tables_of_the_night_and_the_report_counts_them(lake):
    report = publish(lake, some_settings(), NIGHT)
    assert report.file == published_file(lake.home)
    assert report.bytes == report.file.stat().st_size
    assert set(report.rows) == set(PUBLISHED)
    assert report.rows["forecasts"] == 2 * len(ITEMS) * HORIZON
    assert rows(lake, "SELECT item_id, item_text, category FROM items ORDER BY 1") == [
        (item, text, category) for item, (text, category, *_) in sorted(ITEMS.items())
    ]
    assert rows(lake, "SELECT count(*), min(reason) FROM quarantined_order_lines")[0][0] == 1


@pytest.mark.parametrize("table", PUBLISHED)
def test_each_table_has_the_declared_columns_and_types(published, table):
    found = rows(published, f"SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = '{table}'")
    assert [(name, kind) for name, kind in found] == [(c.name, c.type) for c in TABLES[table].published_columns]


def test_every_table_view_macro_and_column_has_a_comment(published):
    bare = rows(
        published,
        """
        SELECT 'column', table_name || '.' || column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL
        UNION ALL SELECT 'table', table_name FROM duckdb_tables() WHERE NOT internal AND comment IS NULL
        UNION ALL SELECT 'view', view_name FROM duckdb_views() WHERE NOT internal AND comment IS NULL
        UNION ALL SELECT 'macro', function_name FROM duckdb_functions() WHERE NOT internal AND comment IS NULL
        """,
    )
    assert bare == []
    taken_over = "SELECT comment FROM duckdb_columns() WHERE table_name = 'forecast_weekly' AND column_name = 'q90'"
    assert rows(published, taken_over) == [("90 % quantile of units, in whole units",)]


def test_the_file_opens_in_duckdb_1_4(published):
    file = published_file(published.home)
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{file}' AS f (READ_ONLY)")
        ((version,),) = con.execute(
            "SELECT tags['storage_version'] FROM duckdb_databases() WHERE database_name = 'f'"
        ).fetchall()
    assert version.startswith("v1.4.0")


def test_a_night_sees_nothing_of_later_nights(lake):
    report = publish(lake, some_settings(), NIGHTS[0])
    assert rows(lake, "SELECT max(as_of) FROM forecasts") == [(NIGHTS[0],)]
    assert rows(lake, "SELECT max(day) FROM demand_daily")[0][0] <= NIGHTS[0]
    assert rows(lake, "SELECT count(*) FROM backtest_scores") == [(0,)]
    assert report.nights == 1


def test_older_nights_beyond_the_budget_stay_in_the_lake(lake):
    settings = some_settings()
    tight = settings.model_copy(update={"publishing": settings.publishing.model_copy(update={"max_forecast_rows": 0})})
    report = publish(lake, tight, NIGHT)
    assert (report.nights, report.nights_left_out) == (1, 1)
    assert rows(lake, "SELECT DISTINCT as_of FROM forecasts") == [(NIGHT,)]


def test_publishing_again_gives_the_same_content(published_copy):
    before = [str(rows(published_copy, f"FROM {table}")) for table in PUBLISHED]
    publish(published_copy, some_settings(), NIGHT)
    assert [str(rows(published_copy, f"FROM {table}")) for table in PUBLISHED] == before


def test_a_reader_is_never_blocked_and_keeps_what_it_opened(lake):
    publish(lake, some_settings(), NIGHTS[0])
    reader = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import duckdb, sys\n"
            "con = duckdb.connect(sys.argv[1], read_only=True)\n"
            "ask = lambda con: print(con.execute('SELECT max(as_of) FROM forecast_latest').fetchall()[0][0], flush=True)\n"
            "ask(con); sys.stdin.readline(); ask(con); con.close()\n"
            "ask(duckdb.connect(sys.argv[1], read_only=True))\n",
            str(published_file(lake.home)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout.readline().strip() == str(NIGHTS[0])
    publish(lake, some_settings(), NIGHT)
    told, _ = reader.communicate("go on\n", timeout=60)
    assert told.split() == [str(NIGHTS[0]), str(NIGHT)]
    assert reader.returncode == 0


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        pytest.param("q10", 1e6, "forecasts, rows that break the forecast contract", id="crossing quantiles"),
        pytest.param("q05", -1.0, "forecasts, rows that break the forecast contract", id="negative"),
        pytest.param("q50", 0.5, "forecasts, rows that break the forecast contract", id="half a unit"),
        pytest.param("mean", float("nan"), "forecasts, rows that break the forecast contract", id="mean not a number"),
        pytest.param("q95", None, "forecasts, rows that break the forecast contract", id="quantile missing"),
        pytest.param("item_id", None, "forecasts, rows without their whole key", id="item missing"),
        pytest.param("item_id", "unheard of", "items that the table of items does not have", id="unknown item"),
        pytest.param("target_date", NIGHT + timedelta(days=1), "forecasts, keys of the night twice", id="key twice"),
    ],
)
def test_a_file_that_fails_a_check_does_not_replace_the_old_one(published_copy, column, value, named):
    file = published_file(published_copy.home)
    before = file.read_bytes()
    count = len(ITEMS) * HORIZON
    break_the_lake(published_copy, column, [value] * count)
    with pytest.raises(PublishError, match="the old one still stands") as refused:
        publish(published_copy, some_settings(), NIGHT)
    assert named in str(refused.value)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_a_night_without_forecasts_is_not_published(lake):
    with pytest.raises(PublishError, match="forecasts, no rows of the night: 1"):
        publish(lake, some_settings(), NIGHT - timedelta(days=1))
    assert not published_file(lake.home).exists()


def test_a_night_before_the_first_order_leaves_the_old_file(published_copy):
    file = published_file(published_copy.home)
    before = file.read_bytes()
    with pytest.raises(HistoryError, match="choose a later --as-of"):
        publish(published_copy, some_settings(), NIGHT - timedelta(days=4000))
    assert file.read_bytes() == before


def test_what_a_killed_publish_left_behind_is_cleared_away(lake):
    file = published_file(lake.home)
    file.parent.mkdir()
    for name in ("almanac.duckdb.new", "almanac.duckdb.new.wal"):
        (file.parent / name).write_bytes(b"half a file")
    publish(lake, some_settings(), NIGHT)
    assert list(file.parent.iterdir()) == [file]


def test_a_full_disk_leaves_the_old_file(published_copy, monkeypatch):
    file = published_file(published_copy.home)
    before = file.read_bytes()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "replace_file", full)
    with pytest.raises(DiskFullError, match="the disk is full"):
        publish(published_copy, some_settings(), NIGHT)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_the_contract_check_reads_every_quantile(lake):
    """Each pair of neighbours is compared: a crossing anywhere is found."""
    from pipeline.publishing.checks import _contract

    with duckdb.connect() as con:
        for low, high in pairwise(QUANTILE_COLUMNS):
            values = ", ".join(f"{1e6 if name == low else 5}::DOUBLE AS {name}" for name in ("mean", *QUANTILE_COLUMNS))
            assert con.execute(f"SELECT {_contract()} FROM (SELECT {values})").fetchall() == [(False,)], (low, high)
