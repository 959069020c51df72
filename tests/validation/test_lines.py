"""Rules of order lines: what goes into quarantine, why, and that every line is accounted for."""

from datetime import UTC, datetime

import pytest

GOOD = "O1,A,red mug,2,1.50,2010-07-01 09:00:00,C17"
HEADER = "order,item,text,qty,price,time,customer"


@pytest.mark.parametrize(
    ("line", "rule", "column"),
    [
        pytest.param("O2,A,x,two,1,2010-07-01,", "unreadable", "qty", id="unreadable"),
        pytest.param("O2,A,x,1,1", "unreadable", "(whole line)", id="too few columns"),
        pytest.param(",A,x,1,1,2010-07-01,", "missing_order_id", "order", id="no order"),
        pytest.param("O2, ,x,1,1,2010-07-01,", "missing_item_id", "item", id="no item"),
        pytest.param("O2,A,x,,1,2010-07-01,", "missing_quantity", "qty", id="no quantity"),
        pytest.param("O2,A,x,1,,2010-07-01,", "missing_unit_price", "price", id="no price"),
        pytest.param("O2,A,x,1,1,,", "missing_ordered_at", "time", id="no time"),
        pytest.param("O2,A,x,0,1,2010-07-01,", "zero_quantity", "qty", id="zero quantity"),
        pytest.param("O2,A,x,3000000000,1,2010-07-01,", "absurd_quantity", "qty", id="absurd quantity"),
        pytest.param("O2,A,x,1,-1,2010-07-01,", "negative_price", "price", id="negative price"),
        pytest.param("O2,A,x,1,1,1970-01-01,", "time_before_1990", "time", id="before 1990"),
        pytest.param("O2,A,x,1,1,2010-08-01,", "time_after_delivery", "time", id="after its delivery"),
    ],
)
def test_a_bad_line_goes_into_quarantine_with_its_reason(home, line, rule, column):
    home.drop("orders.csv", "\n".join((HEADER, GOOD, line)) + "\n")
    home.ingest(datetime(2010, 7, 15, tzinfo=UTC))
    (file,) = home.validate().files
    assert (file.lines, file.accepted, file.quarantined, file.exact_repeats) == (2, 1, 1, 0)
    assert file.by_rule == {rule: 1}
    row = home.read(
        "SELECT file_name, source, line, problem_column, reason IS NOT NULL, raw_text FROM quarantined_order_lines"
    )
    assert row[0][:5] == ("orders.csv", "small", 3, column, True)
    assert row[0][5]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("C2,A,x,-1,1,2010-07-01,", id="cancellation or return"),
        pytest.param("O2,A,,-5,0,2010-07-01,", id="write-off"),
        pytest.param("O2,A,x,5,0,2010-07-01,", id="free"),
        pytest.param("A2,B,bad debt,1,-11062.06,2010-07-01,", id="adjustment below zero"),
    ],
)
def test_what_cleaning_classifies_passes(home, line):
    home.drop("orders.csv", "\n".join((HEADER, GOOD, line)) + "\n")
    home.ingest()
    assert home.validate().files[0].accepted == 2


def test_currencies_need_a_rate(home):
    home.mapping["orders"]["columns"]["currency"] = "cur"
    lines = [f"O{i},A,x,1,1,2010-07-01,,{code}" for i, code in enumerate(("GBP", "EUR", "CHF", ""))]
    home.drop("orders.csv", "\n".join((HEADER + ",cur", *lines)) + "\n")
    home.ingest()
    (file,) = home.validate().files
    assert (file.accepted, dict(file.by_rule)) == (2, {"missing_currency": 1, "unknown_currency": 1})
    reason = home.read("SELECT reason FROM quarantined_order_lines WHERE line = 4")[0][0]
    assert "no exchange rate for CHF" in reason
    assert "exchange_rates" in reason


def test_each_delivery_is_validated_once(home):
    home.drop("orders_1.csv", f"{HEADER}\n{GOOD}\n{GOOD}\nO3,A,x,,1,2010-07-01,\n")
    home.ingest()
    assert len(home.validate().files) == 1
    before = home.files()
    assert home.validate().files == ()
    assert home.files() == before
    home.drop("orders_2.csv", f"{HEADER}\n{GOOD.replace('red', 'blue')}\n")
    home.ingest()
    (file,) = home.validate().files
    assert (file.file_name, file.accepted, file.corrected) == ("orders_2.csv", 1, 1)
    measures = dict(home.read("SELECT measure, sum(value)::INT FROM data_quality GROUP BY ALL"))
    assert measures == {
        "lines": 4,
        "accepted": 2,
        "quarantined": 1,
        "exact_repeats": 1,
        "corrected": 1,
        "quarantined:missing_quantity": 1,
    }


def test_a_day_without_orders(home):
    home.mapping["orders"]["allow_empty"] = True
    home.drop("orders.csv", HEADER + "\n")
    home.ingest()
    (file,) = home.validate().files
    assert file.lines == file.accepted == 0
    assert file.balances


def test_quarantined_lines_that_somebody_deleted_are_put_there_again(home):
    for name, order in (("orders_1.csv", "O3"), ("orders_2.csv", "O4")):
        home.drop(name, f"{HEADER}\n{GOOD.replace('O1', 'P' + order)}\n{order},A,x,,1,2010-07-01,\n")
    home.ingest()
    home.validate()
    before = home.read("SELECT * FROM quarantined_order_lines ORDER BY ALL")
    quality = home.read("SELECT * FROM data_quality ORDER BY ALL")
    (lost, _), *_ = home.read("SELECT file_hash, file_name FROM raw_files WHERE file_name = 'orders_2.csv'")
    home.lake.part_path("quarantined_order_lines", {"file_hash": lost}, "part").unlink()
    report = home.validate()
    assert [file.file_name for file in report.files] == ["orders_2.csv"]
    assert lost in report.warnings[0]
    assert home.read("SELECT * FROM quarantined_order_lines ORDER BY ALL") == before
    assert home.read("SELECT * FROM data_quality ORDER BY ALL") == quality
    assert home.validate().warnings == ()
