"""Great Expectations suites catch faults that were planted, and the Data Docs show them."""

from datetime import date, datetime
from decimal import Decimal

import pytest

from pipeline.errors import SettingsError
from pipeline.tables import TABLES
from pipeline.validation.data_docs import build_data_docs
from pipeline.validation.suites import checked_tables, keep_results, run_suite

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


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        pytest.param({}, None, id="sound"),
        pytest.param({"on_sale_from": None}, None, id="a price alone"),
        pytest.param({"unit_price": None}, None, id="a day alone"),
        pytest.param({"on_sale_from": date(1999, 1, 1)}, None, id="years ago"),
        pytest.param({"unit_price": 0.0}, ("ERROR", "a price at launch is above 0"), id="for nothing"),
        pytest.param({"unit_price": float("nan")}, ("ERROR", "a price at launch is above 0"), id="no number"),
        pytest.param(
            {"on_sale_from": None, "unit_price": None},
            ("ERROR", "an announcement says when or for how much"),
            id="of nothing",
        ),
        pytest.param({"on_sale_from": date(2105, 7, 1)}, ("WARN", "items go on sale"), id="a typo"),
        pytest.param({"on_sale_from": date(1970, 1, 1)}, ("WARN", "items go on sale"), id="a day for none"),
    ],
)
def test_faults_of_announcements(home, changes, fault):
    _plant(
        home,
        "announced_items",
        {"known_on": DAY},
        [{"item_id": "A", "on_sale_from": date(2010, 7, 9), "unit_price": 2.5, "known_on": DAY, **changes}],
    )
    failed = _failed(home, "announced_items")
    assert [(severity, meaning[: len(fault[1])]) for severity, meaning in failed] == [fault] if fault else not failed


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
    for table in ("raw_files", "data_quality"):
        keep_results(validated.path, [run_suite(validated.lake, table, validated.settings)])
        index = build_data_docs(validated.path)
    assert index == validated.path / "report" / "data_docs" / "index.html"
    text = index.read_text(encoding="utf-8")
    assert "raw_files" in text
    assert "data_quality" in text
    pages = [page.read_text(encoding="utf-8") for page in index.parent.glob("validations/**/*.html")]
    assert any("every line of every order file is in the lake" in page for page in pages)


# --- what was checked before is not checked again ---------------------------------------------------------------------


def _check(home, table):
    """Check a table and make the outcome last, as a run does."""
    outcome = run_suite(home.lake, table, home.settings)
    keep_results(home.path, [outcome])
    return outcome


def _deliver(home, name, lines):
    home.drop(name, HEADER + lines)
    home.ingest()
    home.validate()


RAW = ["raw_files", "raw_order_lines", "quarantined_order_lines", "data_quality"]


@pytest.mark.parametrize("table", RAW)
def test_only_new_deliveries_are_looked_at(validated, table):
    assert _check(validated, table).looked_at == 1
    _deliver(validated, "orders_2.csv", GOOD.replace("O", "P") + "Q,A,x,0,1,2010-07-01,\n")
    outcome = _check(validated, table)
    assert outcome.looked_at == 1
    assert outcome.success


@pytest.mark.parametrize("table", RAW)
def test_with_nothing_new_great_expectations_is_left_alone(validated, table, monkeypatch):
    first = _check(validated, table)
    monkeypatch.setattr("pipeline.validation.suites.great_expectations", None)
    again = _check(validated, table)
    assert (again.looked_at, again.results, again.success) == (0, (), True)
    assert again.checked == first.checked


def test_results_of_a_table_with_nothing_new_stay_in_the_docs(validated):
    _check(validated, "raw_files")
    kept = validated.path / "report" / "validations" / "raw_files.json"
    before = kept.read_bytes()
    assert not keep_results(validated.path, [run_suite(validated.lake, "raw_files", validated.settings)])
    assert kept.read_bytes() == before


def test_an_error_stops_every_run_until_it_is_mended(validated):
    _check(validated, "quarantined_order_lines")
    bad = "".join(f"Q{i},A,x,0,1,2010-07-01,\n" for i in range(120))
    _deliver(validated, "orders_bad.csv", bad + GOOD.replace("O", "P"))
    assert _check(validated, "quarantined_order_lines").errors
    _deliver(validated, "orders_good.csv", GOOD.replace("O", "R"))
    again = _check(validated, "quarantined_order_lines")
    assert again.looked_at == 2
    assert "orders_bad.csv" in again.errors[0].observed
    (bad_part,) = (h for h, name in validated.read("SELECT file_hash, file_name FROM raw_files") if "bad" in name)
    _plant(
        validated,
        "cleaning_report",
        {"file_hash": bad_part},
        [{"source": "small", "measure": "lines:sale", "value": 30, "units": 60}],
    )
    assert not _check(validated, "quarantined_order_lines").errors
    assert _check(validated, "quarantined_order_lines").looked_at == 0


@pytest.mark.parametrize("damage", ["deleted", "cut short", "of an older Almanac"])
def test_without_the_kept_results_everything_is_checked_again(validated, damage):
    _check(validated, "raw_files")
    _deliver(validated, "orders_2.csv", GOOD.replace("O", "P"))
    _check(validated, "raw_files")
    kept = validated.path / "report" / "validations" / "raw_files.json"
    if damage == "deleted":
        kept.unlink()
    elif damage == "cut short":
        kept.write_text(kept.read_text(encoding="utf-8")[:100], encoding="utf-8")
    else:
        kept.write_text('{"as_of": "all", "result": {}}', encoding="utf-8")
    assert _check(validated, "raw_files").looked_at == 2


def test_another_limit_checks_everything_again(validated):
    _check(validated, "quarantined_order_lines")
    limits = validated.settings.validation.model_copy(update={"max_quarantined_share": 0.5})
    settings = validated.settings.model_copy(update={"validation": limits})
    assert run_suite(validated.lake, "quarantined_order_lines", settings).looked_at == 1


def test_a_file_that_was_written_again_is_checked_again(validated):
    _check(validated, "raw_order_lines")
    (file_hash,) = (part["file_hash"] for part in validated.lake.partitions("raw_order_lines"))
    with validated.lake.connect() as con:
        cut = f"SELECT * FROM ({validated.lake.select('raw_order_lines')}) WHERE line <> 7"
        validated.lake.write(con, "raw_order_lines", {"file_hash": file_hash}, cut)
    assert _check(validated, "raw_order_lines").errors


def test_nothing_delivered_is_an_error_but_nothing_new_is_not(home, validated):
    empty = type(home)(home.path / "other")
    empty.path.mkdir()
    assert ("ERROR", "something was delivered") in _failed(empty, "raw_files")
    _check(validated, "raw_files")
    assert _check(validated, "raw_files").success


def _line(order, day=DAY, **changes):
    return {
        "order_id": order, "line_no": 1, "item_id": "A", "quantity": 2, "unit_price": Decimal("1.5"), "currency": "GBP",
        "location": "", "source": "small", "file_hash": "f", "line": 2, "version": 1, "kind": "sale",
        "demand_day": DAY, "known_on": day, "ordered_at": datetime(2010, 7, 1), "available_at": datetime(2010, 7, 1),
        **changes,
    }  # fmt: skip


def test_a_line_that_an_earlier_delivery_brought_too_is_seen(home):
    _plant(home, "order_lines", {"known_on": DAY}, [_line("1"), _line("2")], part="first")
    assert _check(home, "order_lines").success
    later = date(2010, 7, 5)
    _plant(home, "order_lines", {"known_on": later}, [_line("3", later), _line("2", later)], part="second")
    outcome = _check(home, "order_lines")
    assert outcome.looked_at == 1
    assert [one.meaning for one in outcome.errors] == ["a version of a line stands there once"]


def test_an_item_day_that_falls_below_zero_with_a_later_delivery_is_seen(home):
    def change(units, day):
        return {
            "item_id": "A", "location": "", "demand_day": DAY, "reason": "sale" if units > 0 else "return",
            "units": units, "lines": 1, "revenue": Decimal(1), "known_on": day,
        }  # fmt: skip

    _plant(home, "demand_changes", {"known_on": DAY}, [change(5, DAY)], part="first")
    assert _check(home, "demand_changes").success
    for number, (units, seen) in enumerate([(-3, False), (-3, True)]):
        later = date(2010, 7, 5 + number)
        _plant(home, "demand_changes", {"known_on": later}, [change(units, later)], part=f"return{number}")
        outcome = _check(home, "demand_changes")
        assert outcome.looked_at == 1
        assert bool(outcome.warnings) == seen
