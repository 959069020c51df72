"""One delivered order file becomes its part of `raw_order_lines`.

The file is read twice rather than kept: reading ten million lines takes two seconds, keeping them takes five. First its
rejects and its keys (order and item, customer), then all of it, typed and joined with what the keys told. Only lines
whose order and item occur more than once are looked at for repeats and corrections; earlier deliveries take part only
where their order times overlap, so that a night's cost does not grow with history.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from pipeline.ingestion.cells import Cells
from pipeline.ingestion.mapping import Cell, OrderColumns, OrdersMapping, SourceMapping, sql_text
from pipeline.ingestion.records import Records, open_records
from pipeline.ingestion.staging import UnreadableFileError
from pipeline.lake import Lake

_SQL = {path.stem: path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("*.sql")}

_CONTENT = (
    "hash(order_id, item_id, item_text, category, quantity, unit_price, currency, {customer_key}, coalesce(location, ''), country, "
    "channel, ordered_at, {line_no}, raw_text)"
)
"""What makes two lines the same line, whatever file they stand in; of an unreadable line its text counts too."""


_AS_WRITTEN = ("item_text", "quantity", "unit_price", "ordered_at", "available_at", "line_no")
"""Columns whose spaces do no harm: casts pass over them, cleaning normalises texts. Trimming is a third of the casts."""


@dataclass(frozen=True)
class EarlierFile:
    """An order file of the same source delivered before: where its lines are, and when its orders were."""

    part: Path
    first_ordered_at: datetime | None
    last_ordered_at: datetime | None

    def overlaps(self, first: datetime | None, last: datetime | None) -> bool:
        """Whether orders of both files may be the same."""
        if first is None or last is None or self.first_ordered_at is None or self.last_ordered_at is None:
            return False
        return self.first_ordered_at <= last and first <= self.last_ordered_at


@dataclass(frozen=True)
class OrderFile:
    """What a delivered order file holds."""

    lines: int
    first_ordered_at: datetime | None
    last_ordered_at: datetime | None
    first_available_at: datetime | None
    last_available_at: datetime | None


def read_orders(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    file_hash: str,
    mapping: SourceMapping,
    *,
    into: Lake,
    earlier: Sequence[EarlierFile],
    delivered_at: datetime,
    scratch: Path,
) -> OrderFile:
    """Write the part of `raw_order_lines` of one file; the connection has the macro `customer_hash`.

    Raises:
        UnreadableFileError: the file cannot be taken in; says where, why, and the way out.
    """
    orders = mapping.orders
    if orders is None:
        raise ValueError(f"{mapping.name} has no orders")
    wanted = [name for cell in orders.columns.given.values() for name in cell.file_columns]
    con.execute("SET VARIABLE source = $1", [mapping.name])
    con.execute("SET VARIABLE delivered_at = $1::TIMESTAMP", [delivered_at])
    records = open_records(
        con,
        path,
        orders,
        wanted,
        scratch,
        keep=lambda columns: _keys(mapping, orders, columns, wanted, timed=bool(earlier)),
        hide=orders.columns.customer is not None,
    )
    con.execute(f"CREATE OR REPLACE TEMP VIEW order_cells AS {_order_cells(mapping, orders, records, 'numbered')}")
    first, last, lines = con.execute("SELECT min(ordered_at), max(ordered_at), count(*) FROM first_reading").fetchall()[
        0
    ]
    if lines == 0 and records.rejected == 0 and not orders.allow_empty:
        raise UnreadableFileError(
            "the file is empty: a header and no lines; deliver it again, take it out of the drop folder, or say "
            "`allow_empty: true` in the mapping when days without orders are delivered so"
        )
    con.execute(
        "CREATE OR REPLACE TEMP TABLE customer_keys AS SELECT customer, customer_hash(customer) AS customer_key "
        "FROM (SELECT DISTINCT customer FROM first_reading WHERE customer IS NOT NULL)"
    )
    # where lines of an earlier file are gone from the lake the run is refused, when all problems are gathered
    overlapping = [file.part for file in earlier if file.overlaps(first, last) and file.part.exists()]
    _contest(con, mapping, orders, records, overlapping)
    con.execute("DROP TABLE first_reading")
    into.write(con, "raw_order_lines", {"file_hash": file_hash}, _SQL["raw_order_lines"])
    return _summary(con, into.part_path("raw_order_lines", {"file_hash": file_hash}, "part"), lines + records.rejected)


def _keys(
    mapping: SourceMapping, orders: OrdersMapping, columns: Mapping[str, str], wanted: Sequence[str], *, timed: bool
) -> str:
    """What is kept of the first reading: enough to find repeats, corrections and customers.

    pair: hash of order and item; content: hash of the line as written.
    """
    cells = Cells(orders, columns, mapping.timezone)
    given = orders.columns
    number = f"TRY_CAST({cells.number(given.line_no)} AS INTEGER)" if given.line_no else "NULL::INTEGER"
    return (
        f"hash({cells.text(given.order_id)}, {cells.text(given.item_id)}) AS pair, "
        f"hash({', '.join(columns[name] for name in dict.fromkeys(wanted))}) AS content, {number} AS given_line_no, "
        f"{cells.text(given.customer)} AS customer, "
        # only needed to see which earlier files may hold the same orders
        f"{cells.utc_time(given.ordered_at) if timed else 'NULL::TIMESTAMP'} AS ordered_at"
    )


def _contest(
    con: duckdb.DuckDBPyConnection,
    mapping: SourceMapping,
    orders: OrdersMapping,
    records: Records,
    earlier: Sequence[Path],
) -> None:
    """Make the table `contested`: line number, version and repeat mark of the lines that are not alone."""
    con.execute(
        "CREATE OR REPLACE TEMP TABLE pairs AS SELECT pair FROM first_reading GROUP BY pair HAVING count(*) > 1"
    )
    if earlier:
        files = ", ".join(sql_text(str(part)) for part in earlier)
        con.execute(
            "CREATE OR REPLACE TEMP VIEW earlier_parts AS SELECT *, hash(order_id, item_id) AS pair "
            f"FROM read_parquet([{files}], hive_partitioning = false) WHERE NOT is_repeat"
        )
        con.execute(
            "CREATE OR REPLACE TEMP TABLE shared AS SELECT DISTINCT pair FROM earlier_parts "
            "WHERE pair IN (SELECT pair FROM first_reading)"
        )
        shared = int(con.execute("SELECT count(*) FROM shared").fetchall()[0][0])
    if not earlier or not shared:
        con.execute(_SQL["alone"])
    else:
        con.execute("INSERT INTO pairs SELECT pair FROM shared WHERE pair NOT IN (SELECT pair FROM pairs)")
        content = _content(orders, "customer_key", "line_no")
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE earlier_lines AS SELECT pair, line_no, version, {content} AS content "
            "FROM earlier_parts WHERE pair IN (SELECT pair FROM shared)"
        )
        # lines of two files are compared by what they mean, not by how they are written
        con.execute(
            "CREATE OR REPLACE TEMP TABLE contested_keys AS SELECT seq, pair FROM first_reading "
            "WHERE pair IN (SELECT pair FROM pairs)"
        )
        con.execute(
            "CREATE OR REPLACE TEMP VIEW contested_records AS FROM numbered WHERE seq IN (SELECT seq FROM contested_keys)"
        )
        content = _content(orders, "customer_hash(customer)", "given_line_no")
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE contested_lines AS SELECT seq, pair, given_line_no, {content} AS content "
            f"FROM ({_order_cells(mapping, orders, records, 'contested_records')}) INNER JOIN contested_keys USING (seq)"
        )
    con.execute(_SQL["contested"])


def _content(orders: OrdersMapping, customer_key: str, line_no: str) -> str:
    # the number counts where the source gives it; where it was counted here it says nothing about the line
    given = line_no if orders.columns.line_no is not None else "NULL::INTEGER"
    return _CONTENT.format(customer_key=customer_key, line_no=given)


def _order_cells(mapping: SourceMapping, orders: OrdersMapping, records: Records, relation: str) -> str:
    """A SELECT of the order line's columns, typed, from the numbered records of a file.

    Three layers, so that nothing is computed twice: texts, typed values, and what did not read.
    grain: readable record (`seq`, `line`). A column that does not read is NULL, and `problem_column`, `problem` and `raw_text`
    tell of the first one.
    """
    delivered = Cells(orders, records.columns, mapping.timezone)
    columns = orders.columns
    given = columns.given
    wanted = [name for cell in given.values() for name in cell.file_columns]
    hidden = columns.customer.file_columns if columns.customer else ()
    texts = {name: delivered.text(given.get(name), trim=name not in _AS_WRITTEN) for name in OrderColumns.model_fields}
    texts["currency"] = delivered.text(columns.currency) if columns.currency else sql_text(mapping.currency)
    # the layer above reads each cell by its name, as if the file had such a column
    cells = Cells(orders, {name: f"{name}_text" for name in texts}, mapping.timezone, clean=True)
    numbers = {}
    for name in ("quantity", "unit_price", "line_no"):
        cell = given.get(name)
        if cell is not None and (cell.sum is not None or cell.divide is not None):
            bad = delivered.not_a_number(cell)
            numbers[name] = f"CASE WHEN NOT {bad} THEN {delivered.number(cell)} END"
            texts[name] = f"CASE WHEN {bad} THEN 'a part of it' END"
        else:
            numbers[name] = cells.number(Cell(column=name))
    units = numbers["quantity"]
    if orders.quantity_factor != 1:
        # six digits: 0.1 kg × 1000 is not exactly 100 in binary
        units = f"TRY_CAST(round(CAST({units} AS DOUBLE) * {orders.quantity_factor!r}, 6) AS DECIMAL(18,4))"
    typed = {
        "units": units,
        "unit_price": numbers["unit_price"],
        "line_number": numbers["line_no"],
        "ordered_at": cells.utc_time(Cell(column="ordered_at")),
        "stated_available_at": cells.utc_time(Cell(column="available_at"))
        if columns.available_at
        else "NULL::TIMESTAMP",
    }
    faults = _faults(orders)
    fault = " ".join(f"WHEN {test} THEN {place}" for place, (_, test, _) in enumerate(faults))
    problem_column = " ".join(
        f"WHEN {place} THEN {sql_text(given[name].label)}" for place, (name, _, _) in enumerate(faults)
    )
    problem = " ".join(
        f"WHEN {place} THEN '\"' || left({name}_text, 60) || {sql_text(chr(34) + ' ' + words)}"
        for place, (name, _, words) in enumerate(faults)
    )
    return f"""
        SELECT
            seq, line, order_id_text AS order_id, item_id_text AS item_id, item_text_text AS item_text, category_text AS category,
            customer_text AS customer, location_text AS location, country_text AS country, channel_text AS channel,
            currency_text AS currency, CASE WHEN units = trunc(units) THEN CAST(units AS BIGINT) END AS quantity,
            unit_price, ordered_at, {_available_at(orders)} AS available_at,
            CASE WHEN line_number = trunc(line_number) THEN TRY_CAST(line_number AS INTEGER) END AS given_line_no,
            CASE fault {problem_column} END AS problem_column,
            CASE fault {problem} END AS problem,
            CASE WHEN fault IS NOT NULL THEN {delivered.as_delivered(wanted, hidden)} END AS raw_text
        FROM (
            SELECT *, CASE {fault} END AS fault
            FROM (
                SELECT *, {", ".join(f"{sql} AS {name}" for name, sql in typed.items())}
                FROM (SELECT *, {", ".join(f"{sql} AS {name}_text" for name, sql in texts.items())} FROM {relation})
            )
        )
    """


def _faults(orders: OrdersMapping) -> list[tuple[str, str, str]]:
    """What may not read, in the order in which it is told: column, test over the typed layer, and the words for it."""
    formats = " or ".join(orders.datetime_formats)
    faults = [
        ("quantity", "units IS NULL AND quantity_text IS NOT NULL", "is not a number"),
        ("quantity", "units <> trunc(units)", "is not a whole number of units"),
        ("unit_price", "unit_price IS NULL AND unit_price_text IS NOT NULL", "is not a price"),
        ("ordered_at", "ordered_at IS NULL AND ordered_at_text IS NOT NULL", f"is not a time ({formats})"),
    ]
    if orders.columns.available_at is not None:
        test = "stated_available_at IS NULL AND available_at_text IS NOT NULL"
        faults.append(("available_at", test, f"is not a time ({formats})"))
    if orders.columns.line_no is not None:
        test = (
            "(line_number IS NULL AND line_no_text IS NOT NULL) OR line_number <> trunc(line_number) "
            "OR abs(line_number) > 2147483647"
        )
        faults.append(("line_no", test, "is not a line number"))
    return faults


def _available_at(orders: OrdersMapping) -> str:
    if orders.available.rule == "delivery":
        return "getvariable('delivered_at')"
    if orders.available.rule == "column":
        return "coalesce(stated_available_at, ordered_at)"
    seconds = round(orders.available.delay_days * 86400)
    return f"ordered_at + to_seconds({seconds})" if seconds else "ordered_at"


def _summary(con: duckdb.DuckDBPyConnection, part: Path, lines: int) -> OrderFile:
    """What the written part says, and that it says all: no line may be lost between file and lake.

    Raises:
        UnreadableFileError: no line of the file can be read.
    """
    if lines == 0:
        return OrderFile(0, None, None, None, None)
    written, readable, first, last, known, known_last = con.execute(
        "SELECT count(*), count(*) FILTER (problem IS NULL), min(ordered_at), max(ordered_at), min(available_at), "
        "max(available_at) FROM read_parquet($1)",
        [str(part)],
    ).fetchall()[0]
    if written != lines:
        raise RuntimeError(f"{part}: {written:,} lines written of {lines:,} read; this is a defect of Almanac")
    if readable == 0:
        column, problem, line = con.execute(
            "SELECT problem_column, problem, line FROM read_parquet($1) ORDER BY line LIMIT 1", [str(part)]
        ).fetchall()[0]
        raise UnreadableFileError(
            f"none of its {lines:,} lines can be read; the first: line {line}, column {column}: {problem}; correct the "
            "file, or the mapping's columns and formats"
        )
    return OrderFile(lines, first, last, known, known_last)
