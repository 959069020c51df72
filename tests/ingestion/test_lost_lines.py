"""Delivered lines deleted from the lake by hand: read again from the drop folder, or refused by name."""

import shutil
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from pipeline.errors import DeliveryError
from pipeline.ingestion import drop_folder

FIRST = "O1,A,red mug,2,1.50,2010-07-01 09:00:00,C17"
CORRECTED = FIRST.replace("red", "blue")
MONDAY, TUESDAY = datetime(2010, 7, 5, tzinfo=UTC), datetime(2010, 7, 6, tzinfo=UTC)


def hashes(home):
    return {name: part for part, name in home.read("SELECT file_hash, file_name FROM raw_files")}


def lake_files(home):
    return {name: content for name, content in home.files().items() if name.startswith("lake")}


@pytest.fixture
def three_files(home):
    """A file, its correction, and a third one in the same run as the correction."""
    home.drop_lines("orders_1.csv", FIRST, "O2,A,red mug,1,1.50,2010-07-01 10:00:00,C18")
    home.ingest(MONDAY)
    home.drop_lines("orders_2.csv", CORRECTED)
    home.drop_lines("orders_3.csv", CORRECTED, "O3,A,red mug,1,1.50,2010-07-01 11:00:00,")
    home.ingest(TUESDAY)
    return home


@pytest.mark.parametrize(
    "lost", [["orders_1.csv"], ["orders_2.csv"], ["orders_3.csv"], ["orders_1.csv", "orders_2.csv", "orders_3.csv"]]
)
def test_lost_lines_are_read_again_as_they_were_when_they_came(three_files, lost):
    home = three_files
    lines = "SELECT * FROM raw_order_lines ORDER BY file_hash, line"
    before, rows, files = home.read(lines), home.read(lines), lake_files(home)
    for name in lost:
        shutil.rmtree(home.lake.folder("raw_order_lines") / f"file_hash={hashes(home)[name]}")
    assert home.read(lines) != rows
    report = home.ingest()
    assert home.read(lines) == before
    assert lake_files(home).keys() == files.keys()
    assert [name for name in files if "raw_files" in name and lake_files(home)[name] != files[name]] == []
    assert report.files == ()
    assert len(report.warnings) == len(lost)
    assert all(name in text for name, text in zip(lost, report.warnings, strict=True))
    assert home.ingest().warnings == ()


def test_lost_lines_and_new_ones_come_in_together(three_files):
    home = three_files
    shutil.rmtree(home.lake.folder("raw_order_lines") / f"file_hash={hashes(home)['orders_2.csv']}")
    home.drop_lines("orders_4.csv", CORRECTED.replace("blue", "green"))
    report = home.ingest()
    assert [file.file_name for file in report.files] == ["orders_4.csv"]
    versions = home.read(
        "SELECT item_text, version FROM raw_order_lines WHERE order_id = 'O1' AND NOT is_repeat ORDER BY 2"
    )
    assert versions == [("red mug", 1), ("blue mug", 2), ("green mug", 3)]


def test_lost_lines_without_their_file_are_refused(three_files):
    home = three_files
    gone = home.lake.part_path("raw_order_lines", {"file_hash": hashes(home)["orders_1.csv"]}, "part")
    gone.unlink()
    (home.path / "orders" / "orders_1.csv").unlink()
    home.drop_lines("orders_4.csv", CORRECTED.replace("blue", "green"))
    before = home.files()
    with pytest.raises(DeliveryError, match=r"orders_1\.csv are gone.*restore either from a backup") as refused:
        home.ingest()
    assert str(gone) in str(refused.value)
    assert home.files() == before


def test_lost_lines_whose_customers_cannot_be_hidden_as_before_are_refused(three_files):
    home = three_files
    home.lake.part_path("raw_order_lines", {"file_hash": hashes(home)["orders_1.csv"]}, "part").unlink()
    (home.path / "customer.key").unlink()
    with pytest.raises(DeliveryError, match=r"customer\.key.*gone too"):
        home.ingest()


def test_items_are_read_again(home):
    home.mapping["items"] = {"files": "items*", "item_id": "item", "item_text": "text"}
    home.drop_lines("orders_1.csv", FIRST)
    home.drop("items_1.csv", "item,text\nA,RED MUG\n")
    home.ingest(MONDAY)
    items = home.read("SELECT * FROM raw_items")
    shutil.rmtree(home.lake.folder("raw_items"))
    assert len(home.ingest().warnings) == 1
    assert home.read("SELECT * FROM raw_items") == items


@pytest.mark.parametrize("taken_over", [True, False])
def test_promotions_are_read_again_when_some_were_taken_over(home, taken_over):
    home.mapping["promotions"] = {
        "files": "promo*",
        "item_id": "item",
        "starts_on": "from",
        "ends_on": "to",
        "kinds": [{"kind": "display", "column": "display"}],
    }
    home.drop_lines("orders_1.csv", FIRST)
    home.drop("promo_1.csv", "item,from,to,display\nA,2010-07-01,2010-07-07,yes\n")
    home.ingest(MONDAY)
    before = home.read("SELECT * FROM raw_promotions")
    assert len(before) == 1
    with home.lake.connect() as con:
        counts = pa.table({"measure": ["delivered"], "value": [1 if taken_over else 0]})
        home.lake.write(con, "promotion_report", {"file_hash": hashes(home)["promo_1.csv"]}, counts)
    shutil.rmtree(home.lake.folder("raw_promotions"))
    assert len(home.ingest().warnings) == taken_over
    assert home.read("SELECT * FROM raw_promotions") == (before if taken_over else [])


def test_a_lost_row_of_raw_files_comes_back_with_its_file(three_files):
    home = three_files
    part = hashes(home)["orders_2.csv"]
    shutil.rmtree(home.lake.folder("raw_files") / f"file_hash={part}")
    assert [file.file_name for file in home.ingest().files] == ["orders_2.csv"]
    assert hashes(home)["orders_2.csv"] == part


# --- files of the drop folder are read once ---------------------------------------------------------------------------


def test_a_file_that_did_not_change_is_not_read_again(three_files, monkeypatch):
    monkeypatch.setattr(drop_folder, "file_hash", lambda path: pytest.fail(f"{path} is read again"))
    report = three_files.ingest()
    assert (report.files, report.skipped) == ((), 3)


def test_a_file_that_changed_behind_an_old_time_is_seen(three_files):
    import os

    path = three_files.path / "orders" / "orders_1.csv"
    status, text = path.stat(), path.read_text(encoding="utf-8")
    path.write_text(text.replace("C17", "C71"), encoding="utf-8")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert [file.file_name for file in three_files.ingest().files] == ["orders_1.csv"]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 3}'])
def test_damaged_memory_of_the_drop_folder_does_no_harm(three_files, content):
    (memory,) = (three_files.path / ".cache").glob("drop_folders.json")
    memory.write_text(content, encoding="utf-8")
    assert three_files.ingest().skipped == 3
