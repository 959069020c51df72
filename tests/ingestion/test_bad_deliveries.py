"""Bad input: one clear message with file, place and way out, and a lake that is as it was."""

import gzip

import pytest

from pipeline.closed_yaml import load_yaml
from pipeline.errors import DeliveryError, SettingsError
from pipeline.ingestion.mapping import SourceMapping, load_mapping
from pipeline.settings import SourceSettings

HEADER = "order,item,text,qty,price,time,customer\n"
LINE = "O1,A,red mug,2,1.50,2010-07-01 09:00:00,C17\n"
GOOD = (HEADER + LINE).encode()
ZIPPED = gzip.compress((HEADER + "".join(LINE.replace("O1", f"O{i * i}") for i in range(5000))).encode())

BAD = [
    pytest.param("orders.csv.gz", ZIPPED[: len(ZIPPED) // 2], "truncated", id="truncated gzip"),
    pytest.param("orders.csv.gz", GOOD.replace(b"O1", b"O7"), "gzip", id="not gzip at all"),
    pytest.param("orders.csv", b"", "file is empty", id="empty file"),
    pytest.param("orders.csv", b"\n\n", "file is empty", id="blank lines only"),
    pytest.param("orders.csv", HEADER.encode(), "a header and no lines", id="header only"),
    pytest.param(
        "orders.csv", GOOD.replace(b"price", b"prize"), "no column 'price' (the nearest is 'prize')", id="column"
    ),
    pytest.param("orders.csv", GOOD.replace(b",", b";"), "parted by ';'", id="other delimiter"),
    pytest.param("orders.csv", GOOD.decode().encode("utf-16"), "looks like utf-16", id="utf-16 as utf-8"),
    pytest.param(
        "orders.csv",
        (HEADER + LINE.replace("red mug", "红色杯子") * 20).encode("gb18030"),
        "line 2: not utf-8 text, as on 20 of 21 lines",
        id="gb18030 as utf-8",
    ),
    pytest.param(
        "orders.csv",
        (HEADER + LINE.replace(",2,", ",two,") * 3).encode(),
        'none of its 3 lines can be read; the first: line 2, column qty: "two" is not a number',
        id="bad lines only",
    ),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD)
def test_a_bad_file_is_refused_and_changes_nothing(home, name, content, message):
    home.drop("orders_0.csv", GOOD)
    home.ingest()
    before = home.files()
    home.drop("orders_1.csv", GOOD.replace(b"O1", b"O2"))
    path = home.drop(name, content)
    with pytest.raises(DeliveryError) as error:
        home.ingest()
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert home.files() == before


def test_wrong_bytes_of_a_stated_encoding(home):
    home.mapping["orders"]["csv"] = {"encoding": "gb18030"}
    home.drop("orders.csv", GOOD + b"O2,A,\xff\xff\xff,1,1,2010-07-01,\n")
    with pytest.raises(DeliveryError, match=r"line 3 .*not gb18030 text"):
        home.ingest()


def test_a_damaged_parquet_file(home):
    home.mapping["orders"]["format"] = "parquet"
    home.drop("orders.parquet", b"PAR1 and then nothing")
    with pytest.raises(DeliveryError, match="cannot be read as Parquet"):
        home.ingest()


def test_all_problems_come_at_once(home):
    home.drop("orders_1.csv", b"")
    home.drop("orders_2.csv", b"a,b\n1,2\n")
    with pytest.raises(DeliveryError, match=r"(?s)2 problem\(s\).*orders_1.csv.*orders_2.csv"):
        home.ingest()
    assert home.files() == {}


def test_a_missing_drop_folder_and_one_without_files(home):
    with pytest.raises(DeliveryError, match="no such drop folder"):
        home.ingest()
    (home.path / "orders").mkdir()
    with pytest.raises(DeliveryError, match=r"no file matches 'orders\*'"):
        home.ingest()


def test_a_link_to_a_file_that_is_gone(home):
    (home.path / "orders").mkdir()
    (home.path / "orders" / "orders.csv").symlink_to(home.path / "gone.csv")
    with pytest.raises(DeliveryError, match=r"orders.csv: cannot be read \(No such file"):
        home.ingest()


def test_one_broken_byte_costs_one_line(home):
    lines = [LINE.replace("O1", f"O{i}").replace("red", "rouge é").encode() for i in range(50)]
    lines[20] = lines[20].replace("é".encode(), b"\xe9")
    home.drop("orders.csv", HEADER.encode() + b"".join(lines))
    home.ingest()
    assert home.read("SELECT line, problem FROM raw_order_lines WHERE problem IS NOT NULL") == [(22, "not valid UTF-8")]


def test_a_key_that_others_may_read_is_refused(home):
    home.drop("orders.csv", GOOD)
    (home.path / "customer.key").write_text("secret")
    (home.path / "customer.key").chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        home.ingest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"ordrs": {}}, "did you mean 'orders'", id="typo"),
        pytest.param({"timezone": "Europe/Lundon"}, "Europe/London", id="zone"),
        pytest.param({"orders": {"files": "../x"}}, "inside the drop folder", id="outside the folder"),
        pytest.param({"orders": {"quantity_factor": 0}}, "quantity_factor", id="impossible factor"),
        pytest.param({"orders": {"csv": {"encoding": "utf8"}}}, "gb18030", id="encoding"),
        pytest.param(
            {"orders": {"kinds": [{"kind": "sale", "when": {"order_id": "("}}]}}, "not a pattern", id="pattern"
        ),
        pytest.param({"orders": {"available": {"rule": "column"}}}, "available_at", id="no available column"),
    ],
)
def test_a_bad_mapping_names_the_place(home, change, message):
    orders = {**home.mapping["orders"], **change.get("orders", {})}
    home.mapping = {**home.mapping, **change, "orders": orders}
    _ = home.settings
    with pytest.raises(SettingsError) as error:
        load_yaml(home.path / "small.yaml", SourceMapping, missing="")
    assert message in str(error.value)


def test_an_unknown_mapping_names_the_known_ones(tmp_path):
    with pytest.raises(SettingsError, match=r"complete-journey.*online-retail-ii"):
        load_mapping(SourceSettings(mapping="nowhere"), tmp_path)


def test_a_full_disk_leaves_the_lake_as_it_was(home, monkeypatch):
    import errno

    from pipeline.errors import DiskFullError
    from pipeline.ingestion import deliveries

    home.drop("orders_0.csv", GOOD)
    home.ingest()
    before = home.files()
    home.drop("orders_1.csv", GOOD.replace(b"O1", b"O2"))

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(deliveries, "read_orders", full)
    with pytest.raises(DiskFullError):
        home.ingest()
    assert home.files() == before


def test_prices_in_money_that_has_no_rate_are_refused_before_anything_is_taken_in(home):
    home.mapping = {**home.mapping, "currency": "USD"}
    home.drop("orders_1.csv", HEADER + LINE)
    with pytest.raises(SettingsError, match=r"in USD, the shop's money is GBP; add `exchange_rates: \{USD: …\}`"):
        home.ingest()
    assert not home.lake.partitions("raw_files")
    home.mapping = {**home.mapping, "currency": "EUR"}  # has a rate
    home.ingest()
    assert home.lake.partitions("raw_files")
