"""The generated shop: what it says about itself is what its files hold."""

import csv
import gzip
import io
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.examples.generated_shop import CLEAN, DirtSpec, GeneratedShop, ShopSpec, generate
from pipeline.examples.shop_catalogue import CATEGORIES, VARIANTS, variant_of
from pipeline.examples.shop_drivers import event_days
from pipeline.examples.shop_files import ORDER_COLUMNS, TOO_FEW, TOO_MANY, Form, WrittenFile, write_orders, write_shop

Record = tuple[str, ...]


def records(file: WrittenFile) -> list[Record]:
    """Records of a file, whatever its form; the header is checked and left out."""
    if file.form == "parquet":
        table = pq.read_table(file.path)
        assert tuple(table.column_names) == ORDER_COLUMNS
        return [tuple(cell or "" for cell in row.values()) for row in table.to_pylist()]
    data = file.path.read_bytes()
    data = gzip.decompress(data) if file.form == "csv.gz" else data
    text = data.decode(file.form if file.form in ("gb18030", "utf-16") else "utf-8")
    header, *rows = [tuple(row) for row in csv.reader(io.StringIO(text, newline=""))]
    assert header == ORDER_COLUMNS
    return rows


def newest_lines(files: list[WrittenFile]) -> dict[tuple[str, str], dict[str, str]]:
    """Readable lines by order and line number, a later file's version over an earlier one's."""
    newest = {}
    for file in files:
        for row in records(file):
            if len(row) == len(ORDER_COLUMNS) and row[0] and not row[0].startswith("BX"):
                newest[row[0], row[1]] = dict(zip(ORDER_COLUMNS, row, strict=True))
    return newest


def units_of(shop: GeneratedShop, files: list[WrittenFile]) -> np.ndarray:
    """(I, T) units sold less those cancelled or returned, counted from files as a person would."""
    index = {item: i for i, item in enumerate(shop.catalogue.item_id)}
    lines = newest_lines(files)
    units = np.zeros((len(index), shop.spec.days), dtype=np.int64)
    for (order, number), line in lines.items():
        if order[:2] in ("SO", "CX", "RT") and line["sku"] in index:
            # what a cancellation or a return takes back belongs to the day of the sale
            ordered_at = lines["SO" + order[2:], number]["ordered_at"]
            day = (date.fromisoformat(ordered_at[:10]) - shop.spec.first_day).days
            units[index[line["sku"]], day] += int(line["qty"])
    return units


@pytest.mark.parametrize("by", ["month", "day"])
def test_units_in_the_files_are_the_truth(small_shop: GeneratedShop, tmp_path: Path, by: str) -> None:
    files = list(write_orders(small_shop, tmp_path, by=by, forms=get_args(Form)))
    assert {file.form for file in files} == set(get_args(Form))
    np.testing.assert_array_equal(units_of(small_shop, files), small_shop.units)


def test_the_same_spec_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    spec = ShopSpec(seed=3, days=70, items=12, lines_per_day=20)
    forms = get_args(Form)
    for name, made in {"a": spec, "b": spec, "c": spec.model_copy(update={"seed": 4})}.items():
        write_shop(generate(made), tmp_path / name, forms=forms)
    contents = {name: {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in "abc"}
    assert contents["a"] == contents["b"]
    assert contents["a"]["orders_2021-01.csv"] != contents["c"]["orders_2021-01.csv"]
    times = {name: {p.name: p.stat().st_mtime for p in (tmp_path / name).iterdir()} for name in "ab"}
    assert times["a"] == times["b"]


def test_every_file_holds_exactly_the_dirt_it_says(small_shop: GeneratedShop, tmp_path: Path) -> None:
    seen: set[Record] = set()
    totals: Counter[str] = Counter()
    for file in write_orders(small_shop, tmp_path):
        rows = records(file)
        assert len(rows) == file.lines == file.accepted + file.repeats + sum(file.bad.values())
        whole = [row for row in rows if len(row) == len(ORDER_COLUMNS)]
        good = [row for row in whole if row[0] and not row[0].startswith("BX")]
        assert sum(len(row) < len(ORDER_COLUMNS) for row in rows) == file.bad.get(TOO_FEW, 0)
        assert sum(len(row) > len(ORDER_COLUMNS) for row in rows) == file.bad.get(TOO_MANY, 0)
        assert sum(not row[0] for row in whole) == file.bad.get("order_no", 0)
        assert sum(not row[2] for row in whole) == file.bad.get("sku", 0)
        assert sum(row[7] == "XAU" for row in whole) == file.bad.get("currency", 0)
        new = [row for row in dict.fromkeys(good) if row not in seen]
        assert len(new) == file.accepted
        assert sum(not row[8] for row in new) == file.missing_customers
        if not file.corrected:
            prefixes = {"CX": "cancellation", "RT": "return", "AJ": "adjustment", "WO": "write_off", "GS": "free"}
            kinds = Counter(
                prefixes.get(r[0][:2], "non_merchandise" if r[2] in ("POST", "FEE01") else "sale") for r in new
            )
            assert kinds == file.kinds
        seen |= set(new)
        totals.update(file.bad | {"repeats": file.repeats, "late": file.late, "corrected": file.corrected})
    assert totals["corrected"] == small_shop.spec.dirt.corrected_lines
    assert all(totals[name] for name in (TOO_FEW, TOO_MANY, "qty", "unit_price", "ordered_at", "late", "repeats"))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2])
def test_bad_lines_are_as_many_as_asked_for(tmp_path: Path, share: float) -> None:
    spec = ShopSpec(days=60, items=20, lines_per_day=100, dirt=DirtSpec(bad_share=share))
    files = write_orders(generate(spec), tmp_path)
    bad = sum(sum(file.bad.values()) for file in files)
    assert bad == pytest.approx(share * sum(f.accepted for f in files), abs=len(files))


def test_chinese_and_emoji_survive_gb18030(small_shop: GeneratedShop, tmp_path: Path) -> None:
    (first, *_) = write_orders(small_shop, tmp_path / "gb", forms=["gb18030"])
    (plain, *_) = write_orders(small_shop, tmp_path / "utf8", forms=["csv"])
    assert records(first) == records(plain)
    titles = "".join(row[3] for row in records(first))
    assert "🔥" in titles
    assert any("\u4e00" <= character <= "\u9fff" for character in titles)
    with pytest.raises(UnicodeDecodeError):
        first.path.read_bytes().decode("utf-8")


def test_a_huge_order_is_cancelled_minutes_later_and_leaves_no_peak(small_shop: GeneratedShop) -> None:
    lines = small_shop.lines
    order, cancellation = np.flatnonzero(np.abs(lines.quantity) == 74_215)
    assert lines.quantity[order] == -lines.quantity[cancellation] == 74_215
    assert lines.kind[cancellation] == "cancellation"
    assert lines.time[cancellation] - lines.time[order] == 12 * 60
    assert lines.customer[order] == lines.customer[cancellation] != ""
    assert small_shop.units_gross.max() >= 74_215
    assert small_shop.units.max() < 1000


def test_every_reversal_has_one_sale_of_its_customer_and_item(small_shop: GeneratedShop) -> None:
    lines = small_shop.lines
    sold = {
        (lines.order[n], lines.line_no[n]): n for n in np.flatnonzero(lines.kind == "sale")
    }  # fmt: skip
    reversals = np.flatnonzero(np.isin(lines.kind, ["cancellation", "return"]))
    assert len(reversals) > 50
    for n in reversals:
        sale = sold["SO" + str(lines.order[n])[2:], lines.line_no[n]]
        assert lines.item[n] == lines.item[sale]
        assert lines.customer[n] == lines.customer[sale] != ""
        assert lines.time[n] > lines.time[sale]
        assert -lines.quantity[n] <= lines.quantity[sale]


def test_what_is_known_grows_from_night_to_night_into_the_truth(small_shop: GeneratedShop) -> None:
    spec, ledger = small_shop.spec, small_shop.ledger
    assert (ledger.known >= ledger.day).all()
    night = spec.first_day + timedelta(days=100)
    known = small_shop.known_units(night)
    assert not known[:, :, 101:].any()
    assert (known[:, :, :101] != small_shop.units_by_location[:, :, :101]).any(), "nothing late, cancelled or corrected"
    np.testing.assert_array_equal(small_shop.known_units(spec.last_day), small_shop.units_by_location)
    assert (small_shop.units >= 0).all()


def test_closed_out_of_stock_and_unlaunched_items_sell_nothing(small_shop: GeneratedShop) -> None:
    drivers = small_shop.drivers
    for reason in (~drivers.in_stock, ~drivers.on_sale, np.broadcast_to(drivers.closed, drivers.mean.shape)):
        assert reason.any()
        assert not drivers.mean[reason].any()
        assert not small_shop.units_gross[reason].any()
    january_first = [t for t in range(small_shop.spec.days) if small_shop.spec.day(t).strftime("%m-%d") == "01-01"]
    assert drivers.closed[january_first].all()


def test_units_scatter_around_the_expected_ones() -> None:
    shop = generate(ShopSpec(seed=5, days=400, items=60, lines_per_day=300, intermittent_share=0, dirt=CLEAN))
    mean, units = shop.drivers.mean, shop.units
    assert units.sum() / mean.sum() == pytest.approx(1, abs=0.02)
    assert (units == shop.units_gross).all()
    big = mean.sum(axis=1) > 2000
    np.testing.assert_allclose(units[big].sum(axis=1), mean[big].sum(axis=1), rtol=0.15)
    assert len(shop.lines) / shop.spec.days == pytest.approx(300, rel=0.05)


def test_sales_peak_when_texts_promise() -> None:
    shop = generate(ShopSpec(seed=5, days=730, items=100, lines_per_day=300, launch_share=0, dirt=CLEAN))
    names = [CATEGORIES[c].name for c in shop.catalogue.category]
    for category, event in (("月饼", "mid_autumn"), ("年货", "spring_festival"), ("圣诞", "christmas")):
        rows = [i for i, name in enumerate(names) if category in name]
        sold = shop.units[rows].sum(axis=0)
        before = [t for day in shop.drivers.events[event] for t in range(day - 14, day - 2) if 0 <= t < 730]
        assert sold[before].mean() > 3 * sold.mean(), event


@pytest.mark.parametrize(
    ("event", "day"),
    [
        ("spring_festival", date(2021, 2, 12)),
        ("spring_festival", date(2023, 1, 22)),
        ("mid_autumn", date(2022, 9, 10)),
        ("618", date(2023, 6, 18)),
        ("double_11", date(2021, 11, 11)),
    ],
)
def test_events_stand_on_their_published_days(event: str, day: date) -> None:
    first = date(2021, 1, 1)
    assert (day - first).days in event_days(first, 1096)[event]


def test_prices_carry_promotions_and_promotions_do_not_overlap(small_shop: GeneratedShop) -> None:
    drivers = small_shop.drivers
    last: dict[tuple[int, str], int] = {}
    for promotion in drivers.promotions:
        key = promotion.item, promotion.kind
        assert promotion.start > last.get(key, -1)
        last[key] = promotion.end
        assert 0 <= promotion.start <= promotion.end < small_shop.spec.days
        if promotion.cut:
            paid = drivers.price[promotion.item, promotion.start]
            assert paid < small_shop.catalogue.base_price[promotion.item] * (1 - promotion.cut) * 1.3


def test_three_thousand_items_share_no_id_and_no_text() -> None:
    catalogue = generate(ShopSpec(days=30, items=3000, lines_per_day=10)).catalogue
    assert len(set(catalogue.item_id)) == len(set(catalogue.text)) == 3000
    assert any(item.startswith("0") for item in catalogue.item_id)
    assert any(item.startswith("x") for item in catalogue.item_id)
    assert set(catalogue.language) == {"en", "zh", "mixed"}
    assert any('"' in text and "," in text for text in catalogue.text)


def test_spellings_differ_and_only_typos_lose_text() -> None:
    text = "red ceramic mug 红色陶瓷马克杯"
    spelled = {kind: variant_of(text, kind) for kind in VARIANTS}
    assert len(set(spelled.values())) == len(VARIANTS)
    assert spelled["plain"] == text
    assert spelled["upper"].casefold() == text
    assert Counter(spelled["typo"]) == Counter(text)
    assert spelled["missing"] == ""


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    days=st.integers(14, 120),
    items=st.integers(10, 30),
    lines=st.floats(0.5, 60),
    locations=st.sampled_from([("A",), ("A", "B")]),
)
def test_any_shop_keeps_its_books(seed: int, days: int, items: int, lines: float, locations: tuple[str, ...]) -> None:
    spec = ShopSpec(seed=seed, days=days, items=items, lines_per_day=lines, locations=locations)
    shop = generate(spec)
    assert (shop.units >= 0).all()
    assert (shop.units <= np.maximum(shop.units_gross, shop.units)).all()
    assert np.isfinite(shop.drivers.mean).all()
    assert (shop.drivers.price > 0).all()
    keys = Counter(zip(shop.lines.order, shop.lines.line_no, strict=True))
    assert not keys or max(keys.values()) == 1
