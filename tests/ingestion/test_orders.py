"""What becomes of delivered order lines: types, times, numbers, repeats, corrections."""

import gzip
import hashlib
import hmac
import stat
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

LINE = "O1,A,red mug,2,1.50,2010-07-01 09:00:00,C17"


def test_a_line_is_typed_and_its_time_is_utc(home):
    home.drop_lines("orders.csv", LINE)
    home.ingest()
    assert home.read(
        "SELECT order_id, line_no, item_id, item_text, quantity, unit_price, currency, ordered_at, available_at, source, "
        "line, version, is_repeat, problem FROM raw_order_lines"
    ) == [
        (
            *("O1", 1, "A", "red mug", 2, Decimal("1.5000"), "GBP"),
            *(datetime(2010, 7, 1, 8), datetime(2010, 7, 1, 8), "small", 2, 1, False, None),
        )
    ]


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        pytest.param("2010-01-01 09:00:00", datetime(2010, 1, 1, 9), id="winter"),
        pytest.param("2010-07-01 09:00", datetime(2010, 7, 1, 8), id="summer"),
        pytest.param("2010-07-01T09:00:00.5", datetime(2010, 7, 1, 8, 0, 0, 500000), id="fraction"),
        pytest.param("2010-07-01T09:00:00Z", datetime(2010, 7, 1, 9), id="says UTC"),
        pytest.param("2010-07-01 09:00:00+02:00", datetime(2010, 7, 1, 7), id="says +02:00"),
        pytest.param("2010-07-01 09:00-05", datetime(2010, 7, 1, 14), id="says -05, no seconds"),
        pytest.param("2010-07-01", datetime(2010, 6, 30, 23), id="day only"),
        pytest.param("2010-10-31 01:30:00", datetime(2010, 10, 31, 0, 30), id="hour that occurs twice: the first"),
        pytest.param("2010-03-28 01:30:00", datetime(2010, 3, 28, 1, 30), id="hour that does not exist"),
    ],
)
def test_times_of_a_zone(home, text, utc):
    home.drop_lines("orders.csv", f"O1,A,x,1,1,{text},")
    home.ingest()
    assert home.read("SELECT ordered_at FROM raw_order_lines") == [(utc,)]


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/New_York", "Australia/Lord_Howe", "UTC"])
def test_zones_agree_with_the_zone_database(home, zone):
    from zoneinfo import ZoneInfo

    home.mapping["timezone"] = zone
    moments = [
        datetime(1989, 1, 1, 12),
        datetime(2011, 3, 13, 3, 5),
        datetime(2011, 11, 6, 0, 59),
        datetime(2030, 7, 1, 5),
    ]
    home.drop_lines("orders.csv", *(f"O{i},A,x,1,1,{moment},C" for i, moment in enumerate(moments)))
    home.ingest()
    expected = [m.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC).replace(tzinfo=None) for m in moments]
    assert [row[0] for row in home.read("SELECT ordered_at FROM raw_order_lines ORDER BY line")] == expected


_ROWS = [("O1", "A", "红色 杯子", "2"), ("O2", "A;B,C\t|", 'say "hi"\nto all', "3")]


def _csv(delimiter: str = ",", end: str = "\n") -> str:
    quoted = [[f'"{value.replace(chr(34), chr(34) * 2)}"' for value in row] for row in _ROWS]
    lines = [HEADER.replace(",", delimiter)]
    lines += [delimiter.join([*row, "1.5", "2010-07-01 09:00:00", "C1"]) for row in quoted]
    return end.join(lines) + end


HEADER = "order,item,text,qty,price,time,customer"


@pytest.mark.parametrize(
    ("content", "csv", "suffix"),
    [
        pytest.param(_csv().encode(), {}, ".csv", id="utf-8"),
        pytest.param(_csv().encode("utf-8-sig"), {}, ".csv", id="utf-8 with BOM"),
        pytest.param(_csv(end="\r\n").replace('hi""\n', 'hi""\n').encode(), {}, ".csv", id="crlf"),
        pytest.param(gzip.compress(_csv().encode()), {}, ".csv.gz", id="gzip"),
        pytest.param(_csv().encode("utf-16"), {"encoding": "utf-16"}, ".csv", id="utf-16"),
        pytest.param(_csv().encode("gb18030"), {"encoding": "gb18030"}, ".csv", id="gb18030"),
        pytest.param(gzip.compress(_csv().encode("gb18030")), {"encoding": "gb18030"}, ".csv.gz", id="gb18030 gzip"),
        pytest.param(_csv(";").encode(), {"delimiter": ";"}, ".csv", id="semicolon"),
        pytest.param(_csv("\t").encode(), {"delimiter": "\t"}, ".csv", id="tab"),
        pytest.param(_csv("|").encode(), {"delimiter": "|"}, ".csv", id="pipe"),
        pytest.param(_csv().rstrip("\n").encode(), {}, ".csv", id="no end of the last line"),
    ],
)
def test_every_way_to_write_a_csv(home, content, csv, suffix):
    home.mapping["orders"]["csv"] = csv
    home.drop("orders" + suffix, content)
    home.ingest()
    rows = home.read(
        "SELECT order_id, item_id, item_text, quantity::VARCHAR, problem FROM raw_order_lines ORDER BY line"
    )
    assert rows == [(*row, None) for row in _ROWS]


def test_parquet_with_native_types(home):
    home.mapping["orders"]["format"] = "parquet"
    columns = {
        "order": [1, 2],
        "item": ["x904631", "7"],
        "text": [None, "tea"],
        "qty": [1.0, 2.0],
        "price": [0.1, 3.0],
        "time": [datetime(2010, 7, 1, 9), datetime(2010, 7, 2, 9)],
        "customer": [5, None],
    }
    home.drop("orders.parquet", b"")
    pq.write_table(pa.table(columns), home.path / "orders" / "orders.parquet")
    home.ingest()
    assert home.read("SELECT order_id, item_id, quantity, unit_price, line FROM raw_order_lines ORDER BY line") == [
        ("1", "x904631", 1, Decimal("0.1000"), 2),
        ("2", "7", 2, Decimal("3.0000"), 3),
    ]


@pytest.mark.parametrize(
    ("line", "column", "problem"),
    [
        pytest.param("O2,A,x,two,1,2010-07-01,C17", "qty", '"two" is not a number', id="quantity"),
        pytest.param("O2,A,x,1.5,1,2010-07-01,C17", "qty", '"1.5" is not a whole number of units', id="half a unit"),
        pytest.param('O2,A,x,1,"1,5",2010-07-01,C17', "price", '"1,5" is not a price', id="price"),
        pytest.param("O2,A,x,1,1,31/12/2010,C17", "time", '"31/12/2010" is not a time (iso)', id="time"),
        pytest.param("O2,A,x,1,1", "(whole line)", "5 columns instead of 7", id="too few columns"),
        pytest.param("O2,A,x,y,1,1,2010-07-01,C17", "(whole line)", "8 columns instead of 7", id="too many columns"),
        pytest.param(
            'O2,A,"x" y,1,1,2010-07-01,C17', "(whole line)", "a quotation mark out of place", id="bad quoting"
        ),
        pytest.param('O2,A,"x,1,1,2010-07-01,C17', "(whole line)", "a quotation mark out of place", id="stray mark"),
    ],
)
def test_a_line_that_does_not_read_is_kept_with_its_reason(home, line, column, problem):
    home.drop_lines("orders.csv", LINE, line, *(LINE.replace("O1", f"P{i}") for i in range(30)))
    home.ingest()
    bad = "SELECT line, problem_column, problem FROM raw_order_lines WHERE problem IS NOT NULL"
    assert home.read(bad) == [(3, column, problem)]
    assert home.read("SELECT count(*), count(DISTINCT line), min(line), max(line) FROM raw_order_lines") == [
        (32, 32, 2, 33)
    ]


def test_customers_are_nowhere_in_the_lake(home):
    secret = "KUNDE4711"
    lines = [
        f"O1,A,x,1,1,2010-07-01,{secret}",
        f"O2,A,x,eins,1,2010-07-01,{secret}",
        f"O3,A,x,y,1,1,2010-07-01,{secret}",
        f'O4,A,"x,1,1,2010-07-01,{secret}',
    ]
    home.drop_lines("orders.csv", *lines)
    home.ingest()
    home.validate()
    for table in ("raw_order_lines", "quarantined_order_lines"):
        assert secret not in str(home.read(f"FROM {table}"))
    key = (home.path / "customer.key").read_bytes().strip()
    expected = hmac.new(key, secret.encode(), hashlib.sha256).hexdigest()[:32]
    assert home.read("SELECT DISTINCT customer_key FROM raw_order_lines WHERE customer_key IS NOT NULL") == [
        (expected,)
    ]
    assert stat.S_IMODE((home.path / "customer.key").stat().st_mode) == 0o600


def test_the_key_of_the_environment_wins(home, monkeypatch):
    monkeypatch.setenv("ALMANAC_CUSTOMER_KEY", "k" * 100)
    home.drop_lines("orders.csv", LINE)
    home.ingest()
    expected = hmac.new(b"k" * 100, b"C17", hashlib.sha256).hexdigest()[:32]
    assert home.read("SELECT customer_key FROM raw_order_lines") == [(expected,)]
    assert not (home.path / "customer.key").exists()


def test_a_file_with_the_same_bytes_is_skipped(home):
    home.drop_lines("orders.csv", LINE)
    assert home.ingest().lines == 1
    before = home.files()
    home.drop_lines("orders_again.csv", LINE)
    report = home.ingest()
    assert (report.lines, report.skipped) == (0, 2)
    assert home.files() == before


def _state(home):
    return home.read(
        "SELECT order_id, item_id, line_no, version, quantity, is_repeat FROM raw_order_lines ORDER BY ALL"
    )


def test_repeats_and_further_lines_of_an_item(home):
    home.drop_lines("orders.csv", LINE, LINE, LINE.replace(",2,", ",5,"), LINE)
    home.ingest()
    assert _state(home) == [
        ("O1", "A", 1, 1, 2, False),
        ("O1", "A", 1, 1, 2, True),
        ("O1", "A", 1, 1, 2, True),
        ("O1", "A", 2, 1, 5, False),
    ]


def test_a_corrected_delivery_is_a_new_version_known_from_its_delivery(home):
    first, second, third = LINE, LINE.replace(",2,", ",3,"), LINE.replace(",2,", ",4,")
    other = LINE.replace("O1", "O9")
    home.drop_lines("orders.csv", first, second, third, other)
    home.ingest(datetime(2010, 7, 2, tzinfo=UTC))
    home.drop_lines("orders_corrected.csv", first, LINE.replace(",2,", ",30,"), third, other)
    home.ingest(datetime(2010, 7, 9, tzinfo=UTC))
    rows = home.read(
        "SELECT order_id, line_no, version, quantity, available_at FROM raw_order_lines WHERE NOT is_repeat ORDER BY ALL"
    )
    ordered = datetime(2010, 7, 1, 8)
    assert rows == [
        ("O1", 1, 1, 2, ordered),
        ("O1", 2, 1, 3, ordered),
        ("O1", 2, 2, 30, datetime(2010, 7, 9)),
        ("O1", 3, 1, 4, ordered),
        ("O9", 1, 1, 2, ordered),
    ]
    assert home.read("SELECT count(*) FROM raw_order_lines WHERE is_repeat") == [(3,)]


def test_a_correction_taken_back_is_a_third_version(home):
    for day, quantity in enumerate((2, 3, 2), start=2):
        home.drop_lines(f"orders_{day}.csv", LINE.replace(",2,", f",{quantity},"), f"P{day},A,x,1,1,2010-07-01,")
        home.ingest(datetime(2010, 7, day, tzinfo=UTC))
    assert home.read("SELECT version, quantity FROM raw_order_lines WHERE order_id = 'O1' ORDER BY version") == [
        (1, 2),
        (2, 3),
        (3, 2),
    ]


def test_corrections_by_the_sources_own_line_number(home):
    home.mapping["orders"]["columns"]["line_no"] = "n"
    header = HEADER + ",n\n"
    home.drop("orders_1.csv", header + f"{LINE},1\n{LINE},2\n")
    home.ingest()
    home.drop("orders_2.csv", header + f"{LINE.replace(',2,', ',7,')},2\n")
    home.ingest()
    assert _state(home) == [("O1", "A", 1, 1, 2, False), ("O1", "A", 2, 1, 2, False), ("O1", "A", 2, 2, 7, False)]


def test_earlier_files_without_overlap_are_not_read(home, monkeypatch):
    home.drop_lines("orders_1.csv", LINE)
    home.ingest()
    (next((home.path / "lake" / "raw_order_lines").glob("*/*.parquet"))).write_bytes(b"broken: must not be read")
    home.drop_lines("orders_2.csv", LINE.replace("2010-07-01", "2010-08-01"))
    assert home.ingest().lines == 1


def test_built_columns_decimal_comma_and_units(home):
    orders = home.mapping["orders"]
    orders |= {
        "decimal_comma": True,
        "quantity_factor": 1000,
        "datetime_formats": ["%d.%m.%Y", "iso"],
        "nulls": ["nan"],
    }
    orders["columns"] |= {
        "unit_price": {"divide": [{"sum": ["net", "tax"]}, {"column": "qty"}]},
        "category": {"join": ["text", "item"], "by": " > "},
        "channel": {"constant": "it's"},
    }
    home.drop(
        "orders.csv",
        "order,item,text,qty,net,tax,time,customer\n"
        'O1,A,nan,"0,25","1.000,50","0,50",31.12.2010,\n'
        'O2,A,tea,"1,5","12.50",1,2010-12-31,\n'
        "O3,A,tea,0,1,1,2010-12-31,\n",
    )
    home.ingest()
    rows = home.read(
        "SELECT quantity, unit_price, category, channel, problem_column FROM raw_order_lines ORDER BY line"
    )
    assert rows == [
        (250, Decimal("4004.0000"), "A", "it's", None),
        (1500, None, "tea > A", "it's", "net + tax / qty"),
        (0, None, "tea > A", "it's", None),
    ]


@pytest.mark.real_orders
def test_online_retail_reads_as_its_readme_says(home, real_orders, tmp_path):
    from pipeline.settings import SHIPPED_SOURCES

    home.mapping = yaml.safe_load((SHIPPED_SOURCES / "online-retail-ii.yaml").read_text())
    (tmp_path / "orders").symlink_to(real_orders)
    assert home.ingest().lines == 823_643
    report = home.validate()
    assert all(file.balances for file in report.files)
    assert sum(file.exact_repeats for file in report.files) == 9_027
    assert report.quarantined == 0
    assert home.read(
        # 5,035 codes as written; one of them has a space after it
        "SELECT count(DISTINCT item_id), count(DISTINCT order_id), count(DISTINCT country), count(*) FILTER "
        "(order_id LIKE 'C%'), count(*) FILTER (customer_key IS NULL), count(*) FILTER (unit_price <= 0) FROM raw_order_lines"
    ) == [(5_034, 44_187, 43, 15_724, 188_859, 5_311)]
