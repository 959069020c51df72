"""A home for cleaning: hand-written raw tables, written the way ingestion and validation leave them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.cleaning.clean import CleaningReport, clean
from pipeline.lake import Lake
from pipeline.settings import Settings, ShopSettings, SourceSettings

MAPPING = """
name: shop
timezone: UTC
currency: EUR
orders:
  files: "*.csv"
  columns: {order_id: a, item_id: b, quantity: c, unit_price: d, ordered_at: e}
  kinds:
    - {kind: adjustment, when: {order_id: "A.*"}}
    - {kind: non_merchandise, when: {item_id: "POST"}}
    - {kind: non_merchandise, when: {category: "FUEL( > .*)?"}}
    - {kind: cancellation, when: {order_id: "C.*"}}
items: {files: "items*.csv", item_id: a, item_text: b}
"""

_LINE = {
    "order_id": "1",
    "line_no": 1,
    "item_id": "mug",
    "item_text": "A MUG",
    "category": None,
    "quantity": 1,
    "unit_price": 2.5,
    "currency": "EUR",
    "customer_key": "ann",
    "location": None,
    "country": "FR",
    "channel": None,
    "ordered_at": datetime(2024, 3, 1, 12),
    "available_at": None,
    "source": "shop",
    "version": 1,
    "is_repeat": False,
    "problem_column": None,
    "problem": None,
    "raw_text": None,
}


@contextmanager
def dying_after(steps: int) -> Iterator[None]:
    """A process that is killed before it writes to the lake, or discards from it, for one time more than `steps`."""
    left = steps
    real = {name: getattr(Lake, name) for name in ("write", "write_partitions", "discard")}

    def dying(name: str) -> Callable[..., Any]:
        def work(self: Lake, *args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return real[name](self, *args, **kwargs)

        return work

    with pytest.MonkeyPatch.context() as patched:
        for name in real:
            patched.setattr(Lake, name, dying(name))
        with pytest.raises(KeyboardInterrupt):
            yield


@dataclass
class Shop:
    """A home in which tests deliver lines, clean, and read what came of it."""

    home: Path
    settings: Settings
    lake: Lake
    delivered: int = 0
    names: list[str] = field(default_factory=list)

    def deliver(
        self, lines: Iterable[Mapping[str, Any]], *, quarantined: Sequence[int] = (), name: str | None = None
    ) -> str:
        """Deliver lines as one validated file; what a line does not say is as in `_LINE`. Returns its hash."""
        self.delivered += 1
        part = f"{self.delivered:032x}"
        rows = [{**_LINE, **line} for line in lines]
        for number, row in enumerate(rows, start=2):
            row["available_at"] = row["available_at"] or row["ordered_at"]
            row["line"] = number
        known = [row["available_at"].date() for row in rows] or [date(2024, 1, 1)]
        file_name = name or f"orders_{self.delivered:03}.csv"
        with self.lake.connect() as con:
            if rows:
                self._write(con, "raw_order_lines", part, rows)
            self._file(con, part, file_name, "orders", len(rows), min(known), max(known))
            bad = [{"file_name": file_name, "source": "shop", "line": n, "reason": "bad"} for n in quarantined]
            if bad:
                self._write(con, "quarantined_order_lines", part, bad)
            counts = [{"file_name": file_name, "source": "shop", "measure": "lines", "value": len(rows)}]
            self._write(con, "data_quality", part, counts)
        return part

    def deliver_items(self, items: Iterable[Mapping[str, Any]], known_on: date) -> str:
        """Deliver item master data."""
        self.delivered += 1
        part = f"{self.delivered:032x}"
        rows = [{"source": "shop", "line": n, "known_on": known_on, **item} for n, item in enumerate(items, start=2)]
        with self.lake.connect() as con:
            self._write(con, "raw_items", part, rows)
            self._file(con, part, f"items_{self.delivered:03}.csv", "items", len(rows), known_on, known_on)
        return part

    def _file(self, con: Any, part: str, name: str, content: str, lines: int, first: date, last: date) -> None:
        row = {
            "source": "shop",
            "content": content,
            "file_name": name,
            "bytes": 1,
            "lines": lines,
            "first_known_on": first,
            "last_known_on": last,
        }
        self._write(con, "raw_files", part, [row])

    def _write(self, con: Any, table: str, part: str, rows: list[dict[str, Any]]) -> None:
        import pyarrow as pa

        from pipeline.tables import TABLES

        names = [name for name in TABLES[table].column_names if name != "file_hash"]
        columns = {name: [row.get(name) for row in rows] for name in names}
        self.lake.write(con, table, {"file_hash": part}, pa.table(columns))

    def clean(self) -> CleaningReport:
        """Clean what is there."""
        return clean(self.lake, self.settings)

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query over the lake's tables."""
        with self.lake.connect() as con:
            self.lake.attach(con)
            return con.execute(query).fetchall()

    def demand(self, as_of: date | None = None) -> dict[tuple[str, date], int]:
        """Net units by item and day, as known on a night; days that net to nothing are left out."""
        rows = self.sql(
            "SELECT item_id, demand_day, sum(units)::BIGINT FROM demand_changes "
            f"WHERE known_on <= DATE '{as_of or date(9999, 1, 1)}' GROUP BY ALL HAVING sum(units) <> 0"
        )
        return {(item, day): units for item, day, units in rows}

    def ledger(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything cleaning wrote, sorted."""
        tables = (
            "order_lines",
            "netted_lines",
            "demand_changes",
            "item_sightings",
            "announced_items",
            "cleaning_report",
        )
        return {table: self.sql(f"SELECT * FROM {table} ORDER BY ALL") for table in tables}


@pytest.fixture
def new_shop(tmp_path: Path) -> Callable[..., Shop]:
    """Makes shops, each with a home of its own."""
    made = 0

    def make(**shop: Any) -> Shop:
        nonlocal made
        made += 1
        home = tmp_path / f"home{made}"
        home.mkdir()
        (home / "shop.yaml").write_text(MAPPING)
        settings = Settings(
            shop=ShopSettings(**{"name": "Test", "country": "FR", "timezone": "UTC", "currency": "EUR", **shop}),
            sources=(SourceSettings(mapping="shop.yaml"),),
        )
        return Shop(home, settings, Lake(home))

    return make


@pytest.fixture
def shop(new_shop: Callable[..., Shop]) -> Shop:
    """One shop, in Europe, paid in euros."""
    return new_shop()


@pytest.fixture
def at() -> Callable[..., datetime]:
    """A time: days (and minutes) after 2024-03-01 12:00."""

    def time(days: float, minutes: int = 0) -> datetime:
        return datetime(2024, 3, 1, 12) + timedelta(days=days, minutes=minutes)

    return time
