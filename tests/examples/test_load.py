"""The load writer: columns, counts and bytes as stated."""

import csv
from pathlib import Path

import pytest

from pipeline.examples.load import write_load
from pipeline.examples.shop_files import ORDER_COLUMNS
from pipeline.ingestion.mapping import load_mapping
from pipeline.settings import SourceSettings


@pytest.mark.parametrize("share", [0.0, 0.01, 0.13])
def test_a_load_holds_what_it_says(tmp_path: Path, share: float) -> None:
    report = write_load(tmp_path / "load.csv", 20_000, bad_share=share, seed=1)
    with report.path.open(encoding="utf-8", newline="") as file:
        header, *rows = [tuple(row) for row in csv.reader(file)]
    assert header == ORDER_COLUMNS
    assert len(rows) == report.lines == 20_000 == report.accepted + report.repeats + report.bad
    unreadable = [
        row
        for row in rows
        if len(row) != len(header)
        or not row[0]
        or not row[2]
        or row[5] == "three"
        or row[6] == "n/a"
        or row[7] == "XAU"
        or row[12] == "yesterday"
    ]
    bad = set(unreadable)
    assert len(unreadable) == report.bad == int(20_000 * share)
    good = [row for row in rows if row[0].startswith(("SO", "CX"))]
    assert sum(row not in bad for row in good) == report.accepted + report.repeats
    readable = [row for row in good if len(row) == len(header)]
    assert len(readable) - len(set(readable)) == report.repeats
    assert sum(row[0].startswith("CX") for row in set(readable)) == report.cancellations
    if share:
        assert {len(row) for row in unreadable} == {len(header) - 1, len(header), len(header) + 1}
    assert report.bytes == report.path.stat().st_size


def test_a_load_is_the_same_bytes_by_seed(tmp_path: Path) -> None:
    paths = [write_load(tmp_path / name, 5000, seed=seed).path for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    a, b, c = (path.read_bytes() for path in paths)
    assert a == b != c


def test_cancellations_take_back_what_was_sold(tmp_path: Path) -> None:
    report = write_load(tmp_path / "load.csv", 20_000, bad_share=0)
    with report.path.open(encoding="utf-8", newline="") as file:
        lines = {(row["order_no"], row["line_no"]): row for row in csv.DictReader(file)}
    cancelled = [row for (order, _), row in lines.items() if order.startswith("CX")]
    assert len(cancelled) == report.cancellations > 300
    for row in cancelled:
        sold = lines["SO" + row["order_no"][2:], row["line_no"]]
        assert int(row["qty"]) == -int(sold["qty"])
        assert (row["sku"], row["buyer_id"], row["unit_price"]) == (sold["sku"], sold["buyer_id"], sold["unit_price"])
        assert row["buyer_id"].startswith("U")
        assert row["ordered_at"] > sold["ordered_at"]


def test_the_shipped_mapping_names_the_columns_of_the_files(tmp_path: Path) -> None:
    mapping = load_mapping(SourceSettings(mapping="generated-shop"), tmp_path)
    assert mapping.orders is not None
    mapped = {column for cell in mapping.orders.columns.given.values() for column in cell.file_columns}
    assert mapped == set(ORDER_COLUMNS)
