"""Order files of any size, in a stream: the load of the benchmarks.

One CSV with the columns of the generated shop, so that its mapping reads it; made by DuckDB (`load.sql`), never whole in
memory. Unlike `generated_shop.py` it knows no demand: it is for weighing, with counts that are known exactly.
"""

import time
from dataclasses import dataclass
from datetime import date
from importlib import resources
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.examples.shop_catalogue import CATEGORIES, make_catalogue
from pipeline.examples.shop_files import ORDER_COLUMNS
from pipeline.lake import sql_path

_SQL = resources.files(__package__).joinpath("load.sql").read_text(encoding="utf-8")


@dataclass(frozen=True)
class LoadReport:
    """What a load file holds: `lines == accepted + repeats + bad`.

    Attributes:
        path: the file.
        lines: records, the header not counted.
        accepted: readable records that are no repeats.
        repeats: exact repeats of the record before.
        bad: unreadable records (numbers, dates, ids, currency, column count).
        cancellations: accepted records that cancel a line of the order before.
        bytes: size of the file.
        seconds: time taken.
    """

    path: Path
    lines: int
    accepted: int
    repeats: int
    bad: int
    cancellations: int
    bytes: int
    seconds: float


def write_load(
    path: Path,
    lines: int = 10_000_000,
    *,
    bad_share: float = 0.01,
    seed: int = 7,
    items: int = 2000,
    first_day: date = date(2021, 1, 1),
    days: int = 1096,
    memory_limit: str = "1GB",
) -> LoadReport:
    """Write one CSV of `lines` order lines.

    Args:
        path: the file; its folder is made where missing.
        lines: records.
        bad_share: share of unreadable records, spread evenly; exactly floor(lines · bad_share) of them.
        seed: the same arguments give the same bytes.
        items: different items; a few sell most.
        first_day: first day.
        days: days that the lines are spread over.
        memory_limit: of DuckDB.

    Returns:
        What the file holds.
    """
    started = time.monotonic()
    path.parent.mkdir(parents=True, exist_ok=True)
    con = duckdb.connect(config={"memory_limit": memory_limit, "temp_directory": str(path.parent / ".load_scratch")})
    try:
        con.register("load_items_arrow", _items(seed, items))
        con.execute("CREATE TEMP TABLE load_items AS FROM load_items_arrow")
        for name, value in {"lines": lines, "days": days, "seed": seed, "items": items}.items():
            con.execute(f"SET VARIABLE {name} = $1::BIGINT", [value])
        con.execute("SET VARIABLE bad_share = $1::DOUBLE", [bad_share])
        con.execute("SET VARIABLE first_day = $1::TIMESTAMP", [first_day])
        con.execute(_SQL)
        # records are whole CSV lines already, so the writer must neither quote nor separate
        con.execute(
            f"""COPY (SELECT record AS "{",".join(ORDER_COLUMNS)}" FROM load_records)
            TO '{sql_path(path)}' (FORMAT csv, HEADER true, QUOTE '', ESCAPE '', DELIMITER '\x01')"""
        )
        bad, repeats, cancellations = con.execute(_COUNTS).fetchall()[0]
    finally:
        con.close()
    seconds = time.monotonic() - started
    size = path.stat().st_size
    return LoadReport(path, lines, lines - bad - repeats, repeats, bad, cancellations, size, seconds)


_COUNTS = """
WITH flags AS (
    SELECT is_bad, is_repeat, cancels, lag(is_bad, 1, true) OVER (ORDER BY i) AS bad_before FROM load_records
)
SELECT
    count(*) FILTER (is_bad),
    -- what would repeat an unreadable record stands for itself: the readable one is nowhere else
    count(*) FILTER (is_repeat AND NOT is_bad AND NOT bad_before),
    count(*) FILTER (cancels AND NOT is_bad AND NOT (is_repeat AND NOT bad_before))
FROM flags
"""


def _items(seed: int, items: int) -> pa.Table:
    """Items with their texts as CSV fields, quoted where needed."""
    rng = np.random.default_rng(seed)
    catalogue = make_catalogue(rng, items, 1000, launch_share=0.25, intermittent_share=0.2)
    return pa.table(
        {
            "idx": pa.array(range(items), pa.int32()),
            "code": catalogue.item_id.tolist(),
            "title": [_csv_field(text) for text in catalogue.text.tolist()],
            "category": [CATEGORIES[index].name for index in catalogue.category],
            "price": catalogue.base_price.tolist(),
        }
    )


def _csv_field(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if "," in text or '"' in text else text
