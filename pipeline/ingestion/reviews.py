"""One delivered file of reviews becomes its part of `raw_reviews`: every line, and of a bad one what is wrong with it.

What belongs here: reading. Which line is a review seen before, an edited one or a new one, cleaning tells
(`pipeline/cleaning/reviews.py`).
"""

from datetime import datetime
from pathlib import Path

import duckdb

from pipeline.ingestion.catalogue import CatalogueFile
from pipeline.ingestion.cells import Cells
from pipeline.ingestion.mapping import ReviewsMapping, SourceMapping
from pipeline.ingestion.records import Records, open_records
from pipeline.ingestion.staging import UnreadableFileError
from pipeline.lake import Lake

_RAW = Path(__file__).with_name("raw_reviews.sql").read_text(encoding="utf-8")


def read_reviews(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    file_hash: str,
    mapping: SourceMapping,
    *,
    into: Lake,
    delivered_at: datetime,
    time_zone: str,
    scratch: Path,
) -> CatalogueFile:
    """Write the part of `raw_reviews` of one file; the connection has the macro `customer_hash`.

    Args:
        con: connection to read with.
        path: the file as delivered.
        file_hash: the delivery.
        mapping: how its files are read.
        into: lake that the part is written to.
        delivered_at: when it was delivered, UTC.
        time_zone: the shop's, in whose days reviews become known.
        scratch: folder for rewritten copies.

    Raises:
        UnreadableFileError: the file cannot be taken in.
    """
    reviews = mapping.reviews
    if reviews is None:
        raise ValueError(f"{mapping.name} has no reviews")
    wanted = [name for cell in reviews.given.values() for name in cell.file_columns]
    records = open_records(con, path, reviews, wanted, scratch, hide=reviews.customer is not None)
    con.execute(f"CREATE OR REPLACE TEMP VIEW review_cells AS {_review_cells(mapping, reviews, records)}")
    variables = {
        "source": mapping.name,
        "delivered_at": delivered_at,
        "worst": float(reviews.scale[0]),
        "best": float(reviews.scale[1]),
        "scale_in_words": f"{reviews.scale[0]:g} (worst) to {reviews.scale[1]:g} (best)",
        "by_delivery": reviews.available.rule == "delivery",
        "time_formats": " or ".join(reviews.datetime_formats),
    }
    for name, value in variables.items():
        con.execute(f"SET VARIABLE {name} = $1", [value])
    con.execute(
        "SET VARIABLE labels = MAP($1::VARCHAR[], $2::VARCHAR[])",
        [list(reviews.given), [cell.label for cell in reviews.given.values()]],
    )
    rows = into.write(con, "raw_reviews", {"file_hash": file_hash}, _RAW)
    if not rows:
        if reviews.allow_empty:
            return CatalogueFile(0, 0, 0, None, None)
        raise UnreadableFileError(
            "the file is empty: a header and no lines; deliver it again, take it out of the drop folder, or say "
            "`allow_empty: true` in the mapping when days without reviews are delivered so"
        )
    part = into.part_path("raw_reviews", {"file_hash": file_hash}, "part")
    readable, first, last, problem = con.execute(
        "SELECT count(*) FILTER (problem IS NULL), min(available_at AT TIME ZONE 'UTC' AT TIME ZONE $1)::DATE, "
        "max(available_at AT TIME ZONE 'UTC' AT TIME ZONE $1)::DATE, "
        "arg_min('line ' || line || ', column ' || problem_column || ': ' || problem, line) FROM read_parquet($2)",
        [time_zone, str(part)],
    ).fetchall()[0]
    if not readable:
        raise UnreadableFileError(
            f"none of its {rows:,} lines can be read; the first: {problem}; correct the file, or the mapping's columns and "
            "formats"
        )
    return CatalogueFile(rows, 0, rows, first, last)


def _review_cells(mapping: SourceMapping, reviews: ReviewsMapping, records: Records) -> str:
    """A SELECT of the reviews' columns: texts, typed values, and the line as delivered without its customer."""
    cells = Cells(reviews, records.columns, mapping.timezone)
    hidden = reviews.customer.file_columns if reviews.customer else ()
    rating, wanted = reviews.rating, [name for cell in reviews.given.values() for name in cell.file_columns]
    number, bad = (cells.number(rating), cells.not_a_number(rating)) if rating else ("NULL", "false")
    return (
        f"SELECT line, {cells.text(reviews.review_id)} AS review_id, {cells.text(reviews.item_id)} AS item_id, "
        f"{cells.text(reviews.reviewed_at)} AS time_text, {cells.utc_time(reviews.reviewed_at)} AS reviewed_at, "
        f"CASE WHEN NOT {bad} THEN CAST({number} AS DOUBLE) END AS given_rating, {bad} AS is_no_rating, "
        f"{cells.text(rating) if rating else 'NULL::VARCHAR'} AS rating_text, {cells.text(reviews.text)} AS text, "
        f"{cells.text(reviews.customer)} AS customer, {cells.as_delivered(wanted, hidden)} AS raw_text FROM numbered"
    )
