"""What may happen in a shop between two nights, written straight into its lake."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from uuid import uuid4

import pyarrow as pa

from pipeline.forecasting.vintages import vintages, write_vintage
from pipeline.lake import Lake
from pipeline.tables import TABLES
from tests.forecasting.fakes import write_demand
from tests.publishing.shop import ITEMS, NIGHT, write_vintage_of


def know(
    lake: Lake,
    known_on: date,
    item_id: str,
    day: date,
    units: int,
    reason: str = "sale",
    *,
    location: str | None = None,
) -> None:
    """One row of the demand ledger, of one of two locations unless it is given."""
    row = {
        "item_id": [item_id],
        "location": [location if location is not None else "north" if day.toordinal() % 2 else ""],
        "demand_day": [day],
        "reason": [reason],
        "units": [units],
        "lines": [1 if units > 0 else -1],
        "revenue": [2.0 * units],
    }
    with lake.connect() as con:
        lake.write(con, "demand_changes", {"known_on": known_on.isoformat()}, pa.table(row), part=uuid4().hex)


def happen(lake: Lake, before: date, night: date, what: str, item_id: str, days: int) -> None:
    """Let something become known between two nights."""
    then = night - timedelta(days=days)
    match what:
        case "late" | "before the first day":
            know(lake, night, item_id, then, 1 + days)
        case "cancelled":
            sold = NIGHT - timedelta(days=3 * days)
            know(lake, night, item_id, sold, -1, "cancellation", location="")
        case "bulk":
            know(lake, night, item_id, night, 5000 + days)
        case "dated back":
            know(lake, before - timedelta(days=days), item_id, before - timedelta(days=days), 3)
        case "older night":
            write_vintage_of(lake, then, version="lstm/0")
        case "named replay":
            late = datetime(2030, 1, 1)
            write_vintage_of(lake, before if days else night, version="lstm/7", is_named=True, made_at=late, times=2)
        case "made anew":
            write_vintage_of(lake, before, times=1.5, made_at=datetime(2029, 1, 1))
        case "removed":
            for vintage in vintages(lake, min(found.as_of for found in vintages(lake))):
                write_vintage(lake, replace(vintage, removed_on=night))
                for path in vintage.files(lake).values():
                    path.unlink(missing_ok=True)
        case "bad lines":
            deliver(lake, f"f{night}", night + timedelta(days=days))
        case "new item":
            new = f"n{night.toordinal()}"
            know(lake, night, new, night, 4)
            sighting = {"item_id": [new], "item_text": ["new"], "category": [""], "origin": ["orders"], "lines": [1]}
            with lake.connect() as con:
                part = {"known_on": night.isoformat()}
                lake.write(con, "item_sightings", part, pa.table(sighting), part=new)
        case "backtest":
            backtest(lake, night)
        case "review":
            review(lake, night, item_id, then)


def deliver(lake: Lake, file_hash: str, first_known_on: date, *, delivered_at: datetime | None = None) -> None:
    """A delivery with a bad line; of some the night knows nothing yet."""
    file: dict[str, list[Any]] = {name: [None] for name in ("first_ordered_at", "last_ordered_at")}
    file |= {"delivered_at": [delivered_at]}
    file |= {"source": ["s"], "content": ["orders"], "file_name": [f"{file_hash}.csv"], "bytes": [1], "lines": [1]}
    file |= {"first_known_on": [first_known_on], "last_known_on": [first_known_on]}
    bad = {name: ["x"] for name in ("file_name", "source", "problem_column", "reason", "raw_text")} | {"line": [1]}
    quality = {"file_name": ["a"], "source": ["s"], "measure": ["lines"], "value": [1]}
    cleaned = {"source": ["s"], "measure": ["netted"], "value": [1], "units": [2]}
    with lake.connect() as con:
        for table, rows in (
            *(("raw_files", file), ("quarantined_order_lines", bad), ("quarantined_reviews", bad)),
            *(("data_quality", quality), ("cleaning_report", cleaned)),
        ):
            lake.write(con, table, {"file_hash": file_hash}, pa.table(rows))


def review(lake: Lake, known_on: date, item_id: str, written: date) -> None:
    """A rated review, or a further version of one of the same day."""
    identity = f"{item_id} {written}"
    with lake.connect() as con:
        found = con.execute(f"SELECT count(*) FROM ({lake.select('reviews')}) WHERE review_id = $1", [identity])
        row = {"review_id": identity, "version": found.fetchall()[0][0] + 1, "item_id": item_id, "sentences": []}
        row |= {"reviewed_at": datetime.combine(written, datetime.min.time()), "reviewed_on": written, "source": "s"}
        row |= {"rating": 1.0 + known_on.toordinal() % 5, "customer_key": None, "file_hash": "f"}
        schema = TABLES["reviews"].arrow_schema.remove(TABLES["reviews"].arrow_schema.get_field_index("known_on"))
        rows = pa.Table.from_pylist([row], schema=schema)
        lake.write(con, "reviews", {"known_on": known_on.isoformat()}, rows, part=uuid4().hex)


def backtest(lake: Lake, night: date) -> None:
    """One forecast and one score of a backtest."""
    key = {"model": ["lstm"], "origin": [night], "item_id": ["10"], "location": [""], "target_date": [night]}
    values = {
        name: [1.0] for name in ("actual", "mean", *(f"q{q:02d}" for q in (5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)))
    }
    score = {"model": ["lstm"], "origin": ["all"], "slice": ["all"], "value_of_slice": ["all"], "metric": ["wql"]}
    with lake.connect() as con:
        partition = {"as_of": night.isoformat()}
        lake.write(con, "backtest_forecasts", partition, pa.table(key | {"horizon_days": [1]} | values))
        lake.write(con, "backtest_scores", partition, pa.table(score | {"score": [0.5], "forecasts": [9]}))


def sell(lake: Lake, after: date, night: date) -> None:
    """What the shop sells on its own between two nights; every sixth day nothing."""
    days = [after + timedelta(days=offset) for offset in range(1, (night - after).days + 1)]
    names = sorted(ITEMS)
    write_demand(lake, [(names[d % 4], "", day, 2 + d % 5) for day in days if (d := day.toordinal()) % 6])
