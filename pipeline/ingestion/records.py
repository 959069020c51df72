"""A delivered file as a DuckDB view `delivered`: one row per record, all columns as text, with its number.

grain: record (`seq`, from 1 in file order). Records that have the wrong number of columns or a stray quotation mark do not
fit into columns; they stand in the table `rejected` (line, problem, raw_text). The view `numbered` adds each record's line.

A CSV is read once, into a Parquet file beside it: numbering the records of a CSV (`row_number`) keeps DuckDB to one
thread, while a Parquet file knows its row numbers (10 million lines: 20 s against 11 on two cores). What the caller wants
of a first look at the keys is kept in the table `first_reading`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from pipeline.ingestion.mapping import CsvOptions, FileMapping, sql_text
from pipeline.ingestion.mending import MARK, REASONS, mend
from pipeline.ingestion.staging import (
    UnreadableFileError,
    check_columns,
    first_bytes,
    stage_csv,
)

_SQL = {path.stem: path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("*.sql")}

_REJECTS = "store_rejects = true, rejects_table = 'rejects_first', rejects_scan = 'scan_first', rejects_limit = 0"
"""Every reading collects its rejects: with `ignore_errors` alone, DuckDB 2.0 loses good lines after a bad quotation mark."""

Keep = Callable[[Mapping[str, str]], str]
"""Makes the columns to keep of the first reading: SQL, from the SQL identifier of each file column."""


@dataclass(frozen=True)
class Records:
    """A file opened as the view `delivered`.

    Attributes:
        columns: SQL identifier of each mapped file column.
        rejected: number of records in the table `rejected`.
    """

    columns: dict[str, str]
    rejected: int


def open_records(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    mapping: FileMapping,
    wanted: Sequence[str],
    scratch: Path,
    *,
    keep: Keep | None = None,
    hide: bool = False,
) -> Records:
    """Make the views `delivered` and `numbered` and the tables `rejected` and `first_reading` for one file.

    Args:
        con: connection to make them on.
        path: the file as delivered.
        mapping: how it is written.
        wanted: file columns that the mapping reads.
        scratch: folder for rewritten copies; it must live as long as the view is used.
        keep: columns of `first_reading` beside `seq`, as SQL over the file columns (identifier by name).
        hide: the file holds customers: rejected lines keep their shape only (a line without columns gives no way to
            tell which of its texts is the customer's id).

    Raises:
        UnreadableFileError: says where, why, and the way out.
    """
    try:
        if mapping.format == "parquet":
            return _open_parquet(con, path, mapping, wanted, keep)
        return _open_csv(con, path, mapping, wanted, scratch, keep=keep, hide=hide)
    except PermissionError as error:
        raise UnreadableFileError(
            f"may not be read ({error.strerror}); give the user who runs Almanac read access"
        ) from error


def _open_parquet(
    con: duckdb.DuckDBPyConnection, path: Path, mapping: FileMapping, wanted: Sequence[str], keep: Keep | None
) -> Records:
    if path.stat().st_size == 0:
        raise UnreadableFileError("the file is empty; deliver it again, or take it out of the drop folder")
    try:
        header = [str(row[0]) for row in con.execute("DESCRIBE FROM read_parquet($1)", [str(path)]).fetchall()]
    except duckdb.Error as error:
        raise UnreadableFileError(
            f"cannot be read as Parquet, it may be truncated ({_first_line(error)}); deliver it again"
        ) from error
    check_columns(tuple(header), mapping, tuple(wanted), b"")
    columns = {name: f"c{place}" for place, name in enumerate(header)}
    nulls = ", ".join(sql_text(token) for token in ("", *mapping.nulls))
    texts = ", ".join(
        f"CASE WHEN CAST({_quoted(name)} AS VARCHAR) NOT IN ({nulls}) THEN CAST({_quoted(name)} AS VARCHAR) END AS {columns[name]}"
        for name in dict.fromkeys(wanted)
    )
    con.execute(
        f"CREATE OR REPLACE TEMP VIEW delivered AS SELECT file_row_number + 1 AS seq, {texts} "
        f"FROM read_parquet({sql_text(str(path))}, file_row_number = true)"
    )
    con.execute(_SQL["no_rejects"])
    if keep is not None:
        con.execute(f"CREATE OR REPLACE TEMP TABLE first_reading AS SELECT seq, {keep(columns)} FROM delivered")
    return Records(columns, 0)


def _open_csv(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    mapping: FileMapping,
    wanted: Sequence[str],
    scratch: Path,
    *,
    keep: Keep | None,
    hide: bool,
) -> Records:
    staged = stage_csv(path, mapping.csv, scratch)
    check_columns(staged.header, mapping, tuple(wanted), first_bytes(path))
    readable = scratch / "mended.csv"
    mended = staged.needs_mending
    if mended:
        mend(staged.path, readable, mapping.csv, len(staged.header))
    columns = {name: f"c{place}" for place, name in enumerate(staged.header)}
    records = scratch / "records.parquet"
    try:
        source = readable if mended else staged.path
        fine = _keep_records(con, _read_csv(source, mapping, len(staged.header)), records)
        if not fine and not mended:
            mend(staged.path, readable, mapping.csv, len(staged.header))
            fine = _keep_records(con, _read_csv(readable, mapping, len(staged.header)), records)
        if fine is None:
            raise UnreadableFileError(
                "cannot be read as CSV; correct the file, or the mapping's csv: {delimiter, quote, encoding}"
            )
    except duckdb.Error as error:
        raise UnreadableFileError(
            f"cannot be read as CSV ({_first_line(error)}); correct the file, or the mapping's csv: {{delimiter, quote, "
            "encoding}}"
        ) from error
    con.execute(
        "CREATE OR REPLACE TEMP VIEW delivered AS SELECT file_row_number + 1 AS seq, * EXCLUDE (file_row_number) "
        f"FROM read_parquet({sql_text(str(records))}, file_row_number = true)"
    )
    if keep is not None:
        con.execute(f"CREATE OR REPLACE TEMP TABLE first_reading AS SELECT seq, {keep(columns)} FROM delivered")
    con.execute(_SQL["rejected"], {"mark": MARK, "hide": hide, **_reason_parameters()})
    rejected = int(con.execute("SELECT count(*) FROM rejected").fetchall()[0][0])
    con.execute(_SQL["line_numbers"])
    return Records({name: columns[name] for name in dict.fromkeys(wanted)}, rejected)


def _reason_parameters() -> dict[str, str]:
    return {f"reason_{letter}": text for letter, text in REASONS.items()}


def _keep_records(con: duckdb.DuckDBPyConnection, source: str, target: Path) -> bool | None:
    """Write the readable records of a CSV to Parquet, in file order, and collect its rejects.

    Returns:
        False when the file needs mending (a reject swallowed lines, or one is no UTF-8), None when the reader gave up
        altogether (mixed line ends, for one).
    """
    for table in ("rejects_first", "scan_first"):
        con.execute(f"DROP TABLE IF EXISTS {table}")
    try:
        con.execute(f"COPY (FROM {source}) TO {sql_text(str(target))} (FORMAT parquet, COMPRESSION snappy)")
    except duckdb.InvalidInputException:
        return None
    faulty = con.execute(
        r"SELECT count(*) FROM rejects_first WHERE contains(rtrim(csv_line, E'\r\n'), E'\n') "
        "OR error_type IN ('LINE SIZE OVER MAXIMUM', 'INVALID ENCODING')"
    ).fetchall()
    return int(faulty[0][0]) == 0


def _read_csv(path: Path, mapping: FileMapping, columns: int) -> str:
    """A call of DuckDB's reader. Nothing is sniffed: types from the first lines broke at line ten million of a real file."""
    options: CsvOptions = mapping.csv
    names = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(columns))
    nulls = ", ".join(sql_text(token) for token in ("", *mapping.nulls))
    quote = sql_text(options.quote)
    return (
        f"read_csv({sql_text(str(path))}, auto_detect = false, header = true, delim = {sql_text(options.delimiter)}, "
        f"quote = {quote}, escape = {quote}, columns = {{{names}}}, nullstr = [{nulls}], {_REJECTS})"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _first_line(error: Exception) -> str:
    return re.sub(r"^[A-Za-z ]+Error: ", "", str(error).strip().splitlines()[0])
