"""Delivered lines that are gone from the lake: files that somebody deleted by hand.

What belongs here: finding them. `deliveries.py` reads them again from the drop folder, where the delivered file still lies
there, and refuses to go on where it does not: everything after would be made without them.
"""

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import duckdb

from pipeline.ingestion.mapping import Content
from pipeline.ingestion.standing import deliveries
from pipeline.lake import Lake

RAW_TABLES: dict[Content, str] = {
    "orders": "raw_order_lines",
    "items": "raw_items",
    "promotions": "raw_promotions",
    "reviews": "raw_reviews",
}
"""Table of each content."""


@dataclass(frozen=True)
class LostFile:
    """A delivery whose row in `raw_files` stands and whose lines do not.

    Attributes:
        file_hash: the delivery.
        source: name of its mapping.
        content: orders, items, promotions or reviews.
        file_name: its name in the drop folder.
        lines: its records.
        delivered_at: when it was delivered, UTC.
        first_known_on: first local day on which a line of it became known.
        part: the file that is gone.
    """

    file_hash: str
    source: str
    content: Content
    file_name: str
    lines: int
    delivered_at: datetime
    first_known_on: date | None
    part: Path


def lost_files(con: duckdb.DuckDBPyConnection, lake: Lake) -> list[LostFile]:
    """Deliveries whose lines are gone, in the order in which they came.

    A file of promotions may hold lines and no promotion; it misses something only when promotions were taken over from it.

    Args:
        con: connection with `raw_files`.
        lake: the home's lake.
    """
    standing = {content: deliveries(lake, table) for content, table in RAW_TABLES.items()}
    rows = con.execute(
        """
        SELECT file_hash, source, content, file_name, lines, delivered_at, first_known_on
        FROM raw_files
        WHERE lines > 0
        ORDER BY delivered_at, file_name, file_hash
        """
    ).fetchall()
    lost = [
        LostFile(
            file_hash=row[0],
            source=row[1],
            content=row[2],
            file_name=row[3],
            lines=row[4],
            delivered_at=row[5],
            first_known_on=row[6],
            part=lake.part_path(RAW_TABLES[row[2]], {"file_hash": row[0]}, "part"),
        )
        for row in rows
        if row[0] not in standing[row[2]]
    ]
    return [one for one in lost if one.content != "promotions" or _took_over(con, lake, one.file_hash)]


def _took_over(con: duckdb.DuckDBPyConnection, lake: Lake, file_hash: str) -> bool:
    report = lake.part_path("promotion_report", {"file_hash": file_hash}, "part")
    if not report.exists():
        return False
    found = con.execute(
        "SELECT count(*) FROM read_parquet($1) WHERE measure = 'delivered' AND value > 0", [str(report)]
    ).fetchall()
    return bool(found[0][0])
