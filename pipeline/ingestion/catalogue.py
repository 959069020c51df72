"""One delivered file of item master data, or of promotions, becomes its part of `raw_items` or `raw_promotions`.

Lines that do not read are left out and counted; they carry no demand, so they need no quarantine. A file of which nothing
reads is refused.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb

from pipeline.ingestion.cells import Cells
from pipeline.ingestion.mapping import Cell, FileMapping, PromotionsMapping, SourceMapping, sql_text
from pipeline.ingestion.records import Records, open_records
from pipeline.ingestion.staging import UnreadableFileError
from pipeline.lake import Lake

_SQL = {path.stem: path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("*.sql")}


@dataclass(frozen=True)
class CatalogueFile:
    """What a file of items or promotions holds.

    Attributes:
        lines: records of the file.
        unreadable: records that were left out.
        rows: rows written.
        first_known_on: earliest local day on which a row became known.
        last_known_on: latest such day.
    """

    lines: int
    unreadable: int
    rows: int
    first_known_on: date | None
    last_known_on: date | None


def read_items(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    file_hash: str,
    mapping: SourceMapping,
    *,
    into: Lake,
    known_on: date,
    scratch: Path,
) -> CatalogueFile:
    """Write the part of `raw_items` of one file.

    Raises:
        UnreadableFileError: the file cannot be taken in.
    """
    items = mapping.items
    if items is None:
        raise ValueError(f"{mapping.name} has no items")
    parts = (items.item_id, items.item_text, items.category, items.price, items.on_sale_from)
    used = [cell for cell in parts if cell is not None]
    records = _open(con, path, items, used, scratch)
    cells = Cells(items, records.columns)
    con.execute(
        f"CREATE OR REPLACE TEMP VIEW item_cells AS SELECT line, {cells.text(items.item_id)} AS item_id, "
        f"{cells.text(items.item_text)} AS item_text, {cells.text(items.category)} AS category, "
        f"{_price(cells, items.price)} AS unit_price, {_date(cells, items.on_sale_from)} AS on_sale_from FROM numbered"
    )
    con.execute("SET VARIABLE source = $1", [mapping.name])
    con.execute("SET VARIABLE currency = $1", [mapping.currency])
    con.execute("SET VARIABLE known_on = $1::DATE", [known_on])
    lines, readable = con.execute("SELECT count(*), count(item_id) FROM item_cells").fetchall()[0]
    _check(lines, readable, records.rejected, items, f"every line lacks {items.item_id.label}")
    rows = into.write(con, "raw_items", {"file_hash": file_hash}, _SQL["raw_items"])
    return CatalogueFile(lines + records.rejected, lines - readable + records.rejected, rows, known_on, known_on)


def read_promotions(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    file_hash: str,
    mapping: SourceMapping,
    *,
    into: Lake,
    by_location: bool,
    scratch: Path,
) -> CatalogueFile:
    """Write the part of `raw_promotions` of one file.

    Raises:
        UnreadableFileError: the file cannot be taken in.
    """
    promotions = mapping.promotions
    if promotions is None:
        raise ValueError(f"{mapping.name} has no promotions")
    week = promotions.week
    parts = (promotions.item_id, promotions.location, promotions.starts_on, promotions.ends_on, promotions.price)
    used = [cell for cell in (*parts, week.number if week else None) if cell is not None]
    used += [Cell(column=kind.column) for kind in promotions.kinds]
    records = _open(con, path, promotions, used, scratch)
    con.execute(f"CREATE OR REPLACE TEMP VIEW promotion_cells AS {_promotion_cells(promotions, records)}")
    con.execute("SET VARIABLE source = $1", [mapping.name])
    con.execute("SET VARIABLE currency = $1", [mapping.currency])
    con.execute("SET VARIABLE by_location = $1::BOOLEAN", [by_location])
    con.execute("SET VARIABLE announced_days_before = $1", [promotions.announced_days_before])
    _sum_lines(con, promotions)
    lines, readable = con.execute(
        "SELECT coalesce(sum(lines), 0)::BIGINT, coalesce(sum(lines) FILTER (item_id IS NOT NULL AND ends_on >= starts_on), 0)::BIGINT "
        "FROM promotions_read"
    ).fetchall()[0]
    period = f"{week.number.label}" if week else "a first and last day in order"
    _check(lines, readable, records.rejected, promotions, f"every line lacks {promotions.item_id.label} or {period}")
    rows = into.write(con, "raw_promotions", {"file_hash": file_hash}, _SQL["raw_promotions"])
    first, last = None, None
    if rows:
        part = into.part_path("raw_promotions", {"file_hash": file_hash}, "part")
        first, last = con.execute("SELECT min(known_on), max(known_on) FROM read_parquet($1)", [str(part)]).fetchall()[
            0
        ]
    return CatalogueFile(lines + records.rejected, lines - readable + records.rejected, rows, first, last)


def _promotion_cells(promotions: PromotionsMapping, records: Records) -> str:
    """A SELECT of the promotion's columns as text, and its kinds as bits."""
    cells = Cells(promotions, records.columns)
    start = promotions.week.number if promotions.week is not None else promotions.starts_on
    kinds = " + ".join(
        f"CASE WHEN {_takes_place(cells, kind.column, kind.none)} THEN {1 << place} ELSE 0 END"
        for place, kind in enumerate(promotions.kinds)
    )
    return (
        f"SELECT line, {cells.text(promotions.item_id)} AS item_id, {cells.text(promotions.location)} AS location, "
        f"{cells.text(start)} AS period_start, {cells.text(promotions.ends_on)} AS period_end, "
        f"{_price(cells, promotions.price)} AS planned_price, {kinds} AS kinds "
        "FROM numbered"
    )


def _sum_lines(con: duckdb.DuckDBPyConnection, promotions: PromotionsMapping) -> None:
    """Make the table `promotions_read`: lines summed as text, then their days parsed."""
    con.execute(
        "CREATE OR REPLACE TEMP TABLE locations AS SELECT location, row_number() OVER () AS place "
        "FROM (SELECT DISTINCT location FROM promotion_cells WHERE location IS NOT NULL)"
    )
    many = int(con.execute("SELECT count(*) FROM locations").fetchall()[0][0])
    con.execute("SET VARIABLE locations = $1::BIGINT", [many])
    # the bounds of a bit string must be constants
    con.execute(f"CREATE OR REPLACE TEMP MACRO location_set(place) AS bitstring_agg(place, 0, {many})")
    con.execute(f"CREATE OR REPLACE TEMP TABLE promotion_sums AS {_SQL['promotion_texts']}")
    kinds = ", ".join(f"({sql_text(kind.kind)}, {1 << place})" for place, kind in enumerate(promotions.kinds))
    con.execute(f"CREATE OR REPLACE TEMP TABLE kinds AS FROM (VALUES {kinds}) AS kinds (kind, bit)")
    cells = Cells(promotions, {"start": "period_start", "end": "period_end"})
    if promotions.week is not None:
        number = cells.number(Cell(column="start"))
        first = f"DATE {sql_text(promotions.week.first_day.isoformat())}"
        # half a week is no week; the cast alone would round it
        starts_on = f"CASE WHEN {number} = trunc({number}) THEN {first} + 7 * (CAST({number} AS INTEGER) - 1) END"
        ends_on = "starts_on + 6"
    else:
        starts_on, ends_on = cells.date(Cell(column="start")), cells.date(Cell(column="end"))
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE promotions_read AS SELECT *, {ends_on} AS ends_on "
        f"FROM (SELECT *, {starts_on} AS starts_on FROM promotion_sums)"
    )


def _price(cells: Cells, price: Cell | None) -> str:
    """A price; not a number where something stands there that is none."""
    if price is None:
        return "NULL::DOUBLE"
    return f"CASE WHEN {cells.not_a_number(price)} THEN 'nan'::DOUBLE ELSE {cells.number(price)}::DOUBLE END"


def _date(cells: Cells, cell: Cell | None) -> str:
    return "NULL::DATE" if cell is None else cells.date(cell)


def _takes_place(cells: Cells, column: str, none: tuple[str, ...]) -> str:
    text = cells.text(Cell(column=column))
    if not none:
        return f"{text} IS NOT NULL"
    return f"{text} NOT IN ({', '.join(sql_text(token) for token in none)})"


def _open(con: duckdb.DuckDBPyConnection, path: Path, mapping: FileMapping, used: list[Cell], scratch: Path) -> Records:
    return open_records(con, path, mapping, [name for cell in used for name in cell.file_columns], scratch)


def _check(lines: int, readable: int, rejected: int, mapping: FileMapping, fault: str) -> None:
    if lines + rejected == 0 and not mapping.allow_empty:
        raise UnreadableFileError(
            "the file is empty: a header and no lines; deliver it again, or take it out of the drop folder"
        )
    if lines + rejected and not readable:
        raise UnreadableFileError(
            f"none of its {lines + rejected:,} lines can be read: {fault}; correct the file or the mapping"
        )
