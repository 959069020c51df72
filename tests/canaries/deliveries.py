"""Order files of a small random shop, as ingestion and validation leave them: what cleaning makes the ledgers of."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.lake import Lake
from pipeline.settings import Settings
from pipeline.tables import TABLES

FIRST = date(2011, 1, 3)
NIGHT = date(2011, 2, 20)
LATER = date(2011, 3, 15)
SETTINGS = Settings.model_validate(
    {
        "shop": {"name": "Test", "country": "GB", "timezone": "Europe/London", "currency": "GBP"},
        "sources": [{"mapping": "online-retail-ii"}],
        "compute": {"threads": 2, "memory_limit": "500MB"},
    }
)


def raw_line(order: str, item: str, day: date, quantity: int, **more: Any) -> dict[str, Any]:
    at = datetime.combine(day, datetime.min.time()) + timedelta(hours=10)
    line: dict[str, Any] = {
        "order_id": order,
        "line_no": 1,
        "item_id": item,
        "item_text": f"TEXT OF {item}",
        "category": "",
        "quantity": quantity,
        "unit_price": 2.0,
        "currency": "GBP",
        "customer_key": "someone",
        "location": "",
        "country": "United Kingdom",
        "channel": "",
        "ordered_at": at,
        "available_at": at,
        "source": "online-retail-ii",
        "version": 1,
        "is_repeat": False,
        "problem_column": None,
        "problem": None,
        "raw_text": None,
    }
    return line | more


def deliver(lake: Lake, name: str, lines: Iterable[dict[str, Any]], known_on: date) -> None:
    """An order file as ingestion and validation leave it: all lines accepted."""
    numbered = [line | {"file_hash": name, "line": number} for number, line in enumerate(lines, start=2)]
    with lake.connect() as con:
        write_rows(lake, con, "raw_order_lines", {"file_hash": name}, numbered)
        file = {
            "source": "online-retail-ii",
            "content": "orders",
            "file_name": name,
            "bytes": 1,
            "lines": len(numbered),
            "first_known_on": known_on,
            "last_known_on": known_on,
            "delivered_at": datetime(2011, 1, 1),
        }
        write_rows(lake, con, "raw_files", {"file_hash": name}, [file])
        quality = {"file_name": name, "source": "online-retail-ii", "measure": "lines", "value": len(numbered)}
        write_rows(lake, con, "data_quality", {"file_hash": name}, [quality])


def write_rows(
    lake: Lake, con: Any, table: str, partition: dict[str, str], rows: list[dict[str, Any]], part: str = "part"
) -> None:
    schema = pa.schema([field for field in TABLES[table].arrow_schema if field.name not in partition])
    made = [{name: row.get(name) for name in schema.names} for row in rows]
    plain = pa.schema([pa.field(f.name, pa.float64() if pa.types.is_decimal(f.type) else f.type) for f in schema])
    lake.write(con, table, partition, pa.Table.from_pylist(made, schema=plain), part)


def random_lines(seed: int) -> list[dict[str, Any]]:
    """Orders, partial and whole cancellations, returns of anonymous customers, write-offs and changed texts."""
    random = np.random.default_rng(seed)
    lines = []
    for number in range(160):
        item = f"I{random.integers(6)}"
        day = FIRST + timedelta(days=int(random.integers((LATER - FIRST).days)))
        quantity = int(random.integers(1, 9))
        who = str(random.choice(["a", "b", ""]))
        text = f"TEXT {random.integers(2)} OF {item}"
        lines.append(raw_line(f"{number}", item, day, quantity, customer_key=who, item_text=text))
        if random.random() < 0.5:
            back = day + timedelta(days=int(random.integers(0, 30)))
            units = -quantity if random.random() < 0.5 else -int(random.integers(1, quantity + 1))
            lines.append(raw_line(f"C{number}", item, back, units, customer_key=who, item_text=text))
    return [line for line in lines if line["available_at"].date() <= LATER]
