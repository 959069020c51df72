"""Great Expectations suites catch faults that were planted, and the Data Docs show them."""

from datetime import date, datetime

import pytest

from pipeline.errors import SettingsError
from pipeline.tables import TABLES
from pipeline.validation.suites import build_data_docs, checked_tables, run_suite

HEADER = "order,item,text,qty,price,time,customer\n"
GOOD = "".join(f"O{i},A,red mug,2,1.50,2010-07-01 09:00:00,C17\n" for i in range(30))
DAY = date(2010, 7, 1)


@pytest.fixture
def validated(home):
    home.drop("orders.csv", HEADER + GOOD)
    home.ingest()
    home.validate()
    return home


def _failed(home, table, **options):
    outcome = run_suite(home.lake, table, home.settings, **options)
    return {(result.severity, result.meaning) for result in outcome.results if not result.success}


def _plant(home, table, partition, rows, part="part"):
    declared = TABLES[table]
    import pyarrow as pa

    with home.lake.connect() as con:
        home.lake.write(con, table, partition, pa.Table.from_pylist(rows, schema=declared.arrow_schema), part)


@pytest.mark.parametrize("table", ["raw_files", "raw_order_lines", "quarantined_order_lines", "data_quality"])
def test_a_sound_delivery_passes(validated, table):
    assert _failed(validated, table) == set()


def test_lost_lines_are_seen(validated):
    (file_hash,) = (part["file_hash"] for part in validated.lake.partitions("raw_order_lines"))
    with validated.lake.connect() as con:
        query = validated.lake.select("raw_order_lines")
        validated.lake.write(
            con, "raw_order_lines", {"file_hash": file_hash}, f"SELECT * FROM ({query}) WHERE line <> 7"
        )
    assert ("ERROR", "every line of every order file is in the lake") in _failed(validated, "raw_files")
    assert ("ERROR", "lines are numbered without gap or repeat") in _failed(validated, "raw_order_lines")


def test_counts_that_do_not_add_up_are_seen(validated):
    (file_hash,) = (part["file_hash"] for part in validated.lake.partitions("data_quality"))
    with validated.lake.connect() as con:
        query = f"SELECT * REPLACE (CASE measure WHEN 'accepted' THEN 29 ELSE value END AS value) FROM ({validated.lake.select('data_quality')})"
        validated.lake.write(con, "data_quality", {"file_hash": file_hash}, query)
    assert _failed(validated, "data_quality") == {("ERROR", "lines = accepted + quarantined + exact repeats")}


def test_too_much_quarantine_is_an_error(home):
    bad = "".join(f"Q{i},A,x,0,1,2010-07-01,\n" for i in range(20))
    good = "".join(f"P{i},A,x,1,1,2010-07-01,\n" for i in range(80))
    home.drop("orders.csv", HEADER + good + bad)
    home.ingest()
    home.validate()
    outcome = run_suite(home.lake, "quarantined_order_lines", home.settings)
    assert len(outcome.errors) == 1
    assert "0.2" in outcome.errors[0].observed


def _forecast(**changes):
    quantiles = {
        name: float(place) for place, name in enumerate(c for c in TABLES["forecasts"].column_names if c[0] == "q")
    }
    return {
        "item_id": "A",
        "location": "",
        "target_date": date(2010, 7, 2),
        "horizon_days": 1,
        "mean": 3.0,
        **quantiles,
        "model_version": "m:1",
        "data_snapshot": "x",
        "made_at": datetime(2010, 7, 1),
        "as_of": DAY,
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "meaning"),
    [
        pytest.param({}, None, id="sound"),
        pytest.param({"q20": 9.0}, "no quantile lies above the next one", id="crossing"),
        pytest.param({"mean": -1.0}, "forecasts are not negative", id="negative"),
        pytest.param({"mean": float("inf")}, "forecasts are finite", id="infinite"),
        pytest.param({"q50": 5.5}, "quantiles are whole units", id="fraction"),
        pytest.param({"horizon_days": 2}, "every series has every day of the horizon once", id="gap"),
        pytest.param({"q50": None}, "forecasts have mean and quantiles", id="incomplete"),
    ],
)
def test_faults_of_forecasts(home, changes, meaning):
    _plant(home, "forecasts", {"as_of": DAY}, [_forecast(**changes)])
    failed = {what for _, what in _failed(home, "forecasts", as_of=DAY)}
    assert (meaning in failed) if meaning else not failed


def test_a_night_without_forecasts_is_an_error(home):
    _plant(home, "forecasts", {"as_of": DAY}, [_forecast()])
    assert ("ERROR", "the night has forecasts") in _failed(home, "forecasts", as_of=date(2010, 7, 2))


def test_every_suite_runs_on_an_empty_lake_and_names_only_real_tables(home):
    for table in checked_tables():
        assert table in TABLES
        assert run_suite(home.lake, table, home.settings).results


def test_a_table_without_suite(home):
    with pytest.raises(SettingsError, match="raw_files"):
        run_suite(home.lake, "nothing", home.settings)


def test_data_docs_show_every_table_whoever_checked_it(validated):
    first = run_suite(validated.lake, "raw_files", validated.settings)
    build_data_docs(validated.path, [first])
    index = build_data_docs(validated.path, [run_suite(validated.lake, "data_quality", validated.settings)])
    assert index == validated.path / "report" / "data_docs" / "index.html"
    text = index.read_text(encoding="utf-8")
    assert "raw_files" in text
    assert "data_quality" in text
    pages = [page.read_text(encoding="utf-8") for page in index.parent.glob("validations/**/*.html")]
    assert any("every line of every order file is in the lake" in page for page in pages)
