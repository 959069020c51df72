"""Writes a generated shop as files, the way shop systems export them, and says what is in every file.

A file's dirt is drawn here: unreadable lines, exact repeats, late lines in files of their own, and the corrected
re-delivery of one period. All of it is counted in `WrittenFile`. Unreadable lines are broken copies of good ones under
order numbers of their own (`BX…`), so they take nothing from the truth. A file's modification time is its delivery.
"""

import csv
import gzip
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.examples.generated_shop import GeneratedShop
from pipeline.examples.shop_catalogue import CATEGORIES, VARIANTS, Ints, variant_of
from pipeline.examples.shop_drivers import ANNOUNCED_DAYS_BEFORE
from pipeline.examples.shop_orders import NOT_AN_ITEM, TIMEZONE, Lines

Form = Literal["csv", "csv.gz", "gb18030", "utf-16", "parquet"]
"""How a file is written: csv and csv.gz are UTF-8, the next two are CSV in that encoding, as spreadsheets save it."""

Row = tuple[str, ...]

ORDER_COLUMNS = (
    "order_no", "line_no", "sku", "title", "category", "qty", "unit_price", "currency", "buyer_id", "warehouse",
    "country", "channel", "ordered_at", "recorded_at",
)  # fmt: skip

BREAKS: dict[str, tuple[str, ...]] = {
    "qty": ("three", "1O", "--5", ""),
    "unit_price": ("n/a", "12..5", "¥12", ""),
    "ordered_at": ("2023-02-30 10:00:00", "yesterday", "0000-00-00 00:00:00", ""),
    "sku": ("",),
    "order_no": ("",),
    "currency": ("XAU",),
}
"""Column → what stands there on an unreadable line; the currency is one that the shop has no rate for."""

TOO_FEW, TOO_MANY = "too few columns", "too many columns"


@dataclass(frozen=True)
class WrittenFile:
    """A file and the truth about it: `lines == accepted + repeats + sum(bad.values())`.

    Attributes:
        path: the file.
        content: orders, items or promotions.
        form: how it is written.
        lines: records, the header not counted.
        accepted: records that are readable and new, or a new version of a line.
        repeats: records that repeat one of this file or of an earlier delivery, exactly.
        corrected: accepted records that are a new version of a line.
        late: accepted records of a day before the file's own period.
        bad: column at fault, or TOO_FEW or TOO_MANY → unreadable records.
        kinds: kind of line → accepted records that are no corrections.
        texts: way of writing the item's text → accepted records, fees and the like not counted.
        missing_customers: accepted records without a customer.
    """

    path: Path
    content: str
    form: Form
    lines: int
    accepted: int
    repeats: int = 0
    corrected: int = 0
    late: int = 0
    bad: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    texts: dict[str, int] = field(default_factory=dict)
    missing_customers: int = 0


def write_shop(
    shop: GeneratedShop, folder: Path, *, by: Literal["month", "day"] = "month", forms: Sequence[Form] = ("csv",)
) -> tuple[WrittenFile, ...]:
    """Write orders, items and promotions of a shop into one drop folder."""
    return (
        *write_orders(shop, folder, by=by, forms=forms),
        *write_items(shop, folder),
        *write_promotions(shop, folder),
    )


def write_orders(
    shop: GeneratedShop,
    folder: Path,
    *,
    by: Literal["month", "day"] = "month",
    forms: Sequence[Form] = ("csv",),
    locations: Sequence[str] | None = None,
) -> tuple[WrittenFile, ...]:
    """Write the order files of a shop: one per month or day, late lines and one corrected re-delivery beside them.

    Args:
        shop: the shop.
        folder: drop folder, made where missing.
        by: a file per month or per day.
        forms: how files are written; periods take turns.
        locations: only the lines of these locations, as when each warehouse has a system of its own.

    Returns:
        The files in the order of their delivery's names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = shop.lines
    if locations is not None:
        lines = lines.take(np.isin(lines.location, [shop.spec.locations.index(name) for name in locations]))
    late = lines.recorded > lines.day
    period = _periods(shop, lines.recorded, by)
    corrected_periods = set(_periods(shop, lines.day[lines.corrected_on >= 0], by).tolist())
    written = []
    for number, label in enumerate(sorted(set(period.tolist()))):
        form = forms[number % len(forms)]
        here = period == label
        rng = np.random.default_rng([shop.spec.seed, 10, number])
        on_time = lines.take(here & ~late)
        if len(on_time):
            written.append(_delivery(shop, rng, on_time, folder / f"orders_{label}{_ending(form)}", form))
        if (here & late).any():
            path = folder / f"orders_{label}_late{_ending(form)}"
            written.append(_delivery(shop, rng, lines.take(here & late), path, form))
        if label in corrected_periods:
            path = folder / f"orders_{label}_corrected{_ending(form)}"
            written.append(_correction(shop, on_time, path, form))
    return tuple(written)


def write_items(shop: GeneratedShop, folder: Path) -> tuple[WrittenFile, ...]:
    """Write item master files: the first catalogue, then the new items of each quarter on its first day."""
    folder.mkdir(parents=True, exist_ok=True)
    catalogue, spec = shop.catalogue, shop.spec
    listed: dict[date, list[Row]] = {}
    for item in np.argsort(catalogue.launched, kind="stable"):
        launch = spec.day(catalogue.launched[item])
        quarter = date(launch.year, 3 * ((launch.month - 1) // 3) + 1, 1)
        row = (catalogue.item_id[item], catalogue.text[item], CATEGORIES[catalogue.category[item]].name)
        listed.setdefault(max(quarter, spec.first_day), []).append(row)
    written = []
    for day, rows in sorted(listed.items()):
        path = folder / f"items_{day}.csv"
        _write(path, "csv", ("sku", "title", "category"), rows, day)
        written.append(WrittenFile(path, "items", "csv", len(rows), len(rows)))
    return tuple(written)


def write_promotions(shop: GeneratedShop, folder: Path) -> tuple[WrittenFile, ...]:
    """Write promotion files, one per year of their start."""
    folder.mkdir(parents=True, exist_ok=True)
    by_year: dict[int, list[Row]] = {}
    for promotion in sorted(shop.drivers.promotions, key=lambda p: (p.start, p.item, p.kind)):
        cells = {"discount": "", "banner": "", "festival": ""}
        cells[promotion.kind] = f"{promotion.cut:.0%}" if promotion.cut else "yes"
        starts_on, ends_on = shop.spec.day(promotion.start), shop.spec.day(promotion.end)
        planned = f"{shop.drivers.price[promotion.item, promotion.start]:.2f}" if promotion.cut else ""
        row = (shop.catalogue.item_id[promotion.item], str(starts_on), str(ends_on), *cells.values(), planned)
        by_year.setdefault(starts_on.year, []).append(row)
    written = []
    for year, rows in sorted(by_year.items()):
        path = folder / f"promotions_{year}.csv"
        header = ("sku", "starts_on", "ends_on", "discount", "banner", "festival", "planned_price")
        _write(path, "csv", header, rows, date.fromisoformat(rows[0][1]) - timedelta(days=ANNOUNCED_DAYS_BEFORE))
        written.append(WrittenFile(path, "promotions", "csv", len(rows), len(rows)))
    return tuple(written)


def _periods(shop: GeneratedShop, day: Ints, by: Literal["month", "day"]) -> NDArray[np.str_]:
    days = np.datetime64(shop.spec.first_day, "D") + day
    return np.datetime_as_string(days.astype("datetime64[M]") if by == "month" else days)


def _delivery(shop: GeneratedShop, rng: np.random.Generator, lines: Lines, path: Path, form: Form) -> WrittenFile:
    """A first delivery of some lines, with repeats and unreadable lines strewn in."""
    dirt, count = shop.spec.dirt, len(lines)
    rows = _rows(shop, lines, lines.quantity, lines.recorded)
    repeated = np.flatnonzero(rng.random(count) < dirt.repeat_share)
    broken = int(count * dirt.bad_share + rng.random())
    bad: dict[str, int] = {}
    broken_rows: list[Row] = []
    kinds = [*BREAKS, *([] if form == "parquet" else [TOO_FEW, TOO_MANY])]
    for index in rng.integers(0, count, broken):
        fault = kinds[int(rng.integers(len(kinds)))]
        broken_rows.append(_broken(rng, rows[index], fault, f"BX{path.name}-{len(broken_rows)}"))
        bad[fault] = bad.get(fault, 0) + 1
    # a repeat stands anywhere after its line, an unreadable line anywhere
    place = np.concatenate([np.arange(count), rng.uniform(repeated, count), rng.uniform(0, count, broken)])
    all_rows = [*rows, *(rows[index] for index in repeated), *broken_rows]
    rows = [all_rows[index] for index in np.argsort(place, kind="stable")]
    _write(path, form, ORDER_COLUMNS, rows, shop.spec.day(lines.recorded.max()))
    ours = lines.text == ""
    return WrittenFile(
        path,
        "orders",
        form,
        lines=len(rows),
        accepted=count,
        repeats=len(repeated),
        late=int((lines.recorded > lines.day).sum()),
        bad=bad,
        kinds=_counts(lines.kind),
        texts=_counts(
            VARIANTS[v] for v in lines.variant[ours & (lines.item != NOT_AN_ITEM) & (lines.kind != "write_off")]
        ),
        missing_customers=int((lines.customer == "").sum()),
    )


def _correction(shop: GeneratedShop, lines: Lines, path: Path, form: Form) -> WrittenFile:
    """The same lines again, some with another quantity: those are new versions, all others exact repeats."""
    changed = lines.corrected_on >= 0
    recorded = np.where(changed, lines.corrected_on, lines.recorded)
    rows = _rows(shop, lines, lines.corrected, recorded)
    _write(path, form, ORDER_COLUMNS, rows, shop.spec.day(lines.corrected_on.max()))
    new = int(changed.sum())
    return WrittenFile(
        path, "orders", form, lines=len(rows), accepted=new, repeats=len(rows) - new, corrected=new,
        missing_customers=int((lines.customer[changed] == "").sum()),
    )  # fmt: skip


def _rows(shop: GeneratedShop, lines: Lines, quantity: Ints, recorded: Ints) -> list[Row]:
    catalogue, midnight = shop.catalogue, np.datetime64(shop.spec.first_day, "s")
    spellings = [[variant_of(str(text), kind) for kind in VARIANTS] for text in catalogue.text]
    names = [*(CATEGORIES[c].name for c in catalogue.category), ""]
    texts = [
        text if text or item == NOT_AN_ITEM or kind == "write_off" else spellings[item][variant]
        for text, item, kind, variant in zip(
            lines.text.tolist(), lines.item.tolist(), lines.kind.tolist(), lines.variant.tolist(), strict=True
        )
    ]
    columns = (
        lines.order.tolist(),
        map(str, lines.line_no.tolist()),
        lines.code.tolist(),
        texts,
        [names[item] for item in lines.item.tolist()],
        map(str, quantity.tolist()),
        [f"{price:.2f}" for price in lines.price.tolist()],
        lines.currency.tolist(),
        lines.customer.tolist(),
        [shop.spec.locations[index] for index in lines.location.tolist()],
        lines.country.tolist(),
        lines.channel.tolist(),
        np.char.replace(np.datetime_as_string(midnight + lines.time), "T", " ").tolist(),
        # the system exports at 23:30
        np.char.replace(np.datetime_as_string(midnight + recorded * 86_400 + 84_600), "T", " ").tolist(),
    )
    return list(zip(*columns, strict=True))


def _broken(rng: np.random.Generator, row: Row, fault: str, order: str) -> Row:
    """A copy of a row, under its own order number, that cannot be read."""
    row = (order, *row[1:])
    if fault == TOO_FEW:
        return row[: int(rng.integers(2, len(row) - 2))]
    if fault == TOO_MANY:
        return (*row[:4], "torn", *row[4:])
    at = ORDER_COLUMNS.index(fault)
    # without an order number, the unique one stands where the customer was: two of them are still no repeats
    row = (*row[:8], order, *row[9:]) if fault == "order_no" else row
    return (*row[:at], str(rng.choice(BREAKS[fault])), *row[at + 1 :])


def _write(path: Path, form: Form, header: Row, rows: list[Row], delivered: date) -> None:
    if form == "parquet":
        columns = [pa.array([cell or None for cell in column], pa.string()) for column in zip(*rows, strict=True)]
        pq.write_table(pa.table(columns, names=list(header)), path)
    else:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n" if form in ("gb18030", "utf-16") else "\n")
        writer.writerows([header, *rows])
        data = text.getvalue().encode(form if form in ("gb18030", "utf-16") else "utf-8")
        path.write_bytes(gzip.compress(data, 6, mtime=0) if form == "csv.gz" else data)
    moment = datetime.combine(delivered, time(23, 30), ZoneInfo(TIMEZONE)).timestamp()
    os.utime(path, (moment, moment))


def _ending(form: Form) -> str:
    return {"csv.gz": ".csv.gz", "parquet": ".parquet"}.get(form, ".csv")


def _counts(values: Iterable[str]) -> dict[str, int]:
    names, counts = np.unique(np.array(list(values), dtype=str), return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))
