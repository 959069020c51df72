"""What stands in the lake, by names, sizes and times of files alone: what is new since, what is missing, which to read.

Looking at a file's name costs microseconds, opening it a fraction of a millisecond: with years of daily deliveries, a
night that opened every file would spend its time on that. What belongs here: listing files, and the marks of deliveries
(tables with one tiny file per delivery), of which a copy is kept in one file. What does not: what the tables mean.

`.cache` of the home holds what is only kept to be quick; all of it may be deleted at any time.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import duckdb
import pyarrow as pa

from pipeline.lake import Lake, replace_file, sql_path
from pipeline.tables import TABLES

MARKS: Final = ("raw_files", "data_quality", "cleaning_report", "promotion_report", "review_report")
"""Tables of which every delivery has one small file, written last by the stage that it marks."""

_STAMP: Final = ("kept_bytes", "kept_changed")


@dataclass(frozen=True)
class PartFile:
    """One file of a table.

    Attributes:
        values: value per partition column, in declared order.
        part: name of the part.
        path: where it stands.
        bytes: its size.
        changed: when it was written, in nanoseconds.
    """

    values: tuple[str, ...]
    part: str
    path: Path
    bytes: int
    changed: int


def cache_folder(home: Path) -> Path:
    """Folder of what is kept to be quick and may be deleted at any time."""
    return home / ".cache"


def standing(lake: Lake, table: str) -> list[PartFile]:
    """All files of a table, by partition and name; none is opened."""
    folders: list[tuple[tuple[str, ...], str]] = [((), str(lake.folder(table)))] if lake.folder(table).is_dir() else []
    for column in TABLES[table].partition:
        folders = [
            ((*values, unquote(level.name.partition("=")[2])), level.path)
            for values, folder in folders
            for level in os.scandir(folder)
            if level.name.startswith(f"{column}=")
        ]
    found = []
    for values, folder in folders:
        for entry in os.scandir(folder):
            if entry.name.endswith(".parquet"):
                status = entry.stat()
                part = entry.name.removesuffix(".parquet")
                found.append(PartFile(values, part, Path(entry.path), status.st_size, status.st_mtime_ns))
    return sorted(found, key=lambda file: (file.values, file.part))


def deliveries(lake: Lake, table: str) -> set[str]:
    """Deliveries that a table partitioned by `file_hash` has a file of."""
    if not lake.folder(table).is_dir():
        return set()
    found = (level for level in os.scandir(lake.folder(table)) if level.name.startswith("file_hash="))
    return {unquote(level.name.partition("=")[2]) for level in found if any(os.scandir(level.path))}


def delivery_files(lake: Lake, table: str, hashes: Iterable[str]) -> list[Path]:
    """Files of some deliveries in a table partitioned by `file_hash`, those that stand."""
    paths = (lake.part_path(table, {"file_hash": file_hash}, "part") for file_hash in hashes)
    return [path for path in paths if path.exists()]


def fingerprint(files: Iterable[PartFile]) -> str:
    """Hash of the names, sizes and times of some files: another when one of them was written again, added or lost."""
    described = sorted((file.values, file.part, file.bytes, file.changed) for file in files)
    return hashlib.blake2b(repr(described).encode(), digest_size=8).hexdigest()


def attach_marks(lake: Lake, con: duckdb.DuckDBPyConnection, *tables: str) -> None:
    """Make mark tables readable on a connection, each as a temporary table of its name.

    The rows are those of the files that stand: the kept copy gives them where the file is still the one that was copied.
    """
    for table in tables:
        files = standing(lake, table)
        _stand(con, files)
        names = TABLES[table].column_names
        listed = ", ".join(f'"{name}"' for name in names)
        kept = _kept(lake, con, table)
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE kept_marks AS SELECT {listed}, {', '.join(_STAMP)} FROM {kept} "
            f"SEMI JOIN standing_marks USING (file_hash, {', '.join(_STAMP)})"
            if kept
            else f"CREATE OR REPLACE TEMP TABLE kept_marks AS SELECT *, 0::BIGINT AS kept_bytes, 0::BIGINT AS "
            f"kept_changed FROM ({lake.select(table, files=[])})"
        )
        known = {str(row[0]) for row in con.execute("SELECT DISTINCT file_hash FROM kept_marks").fetchall()}
        unread = [file.path for file in files if file.values[0] not in known]
        con.execute(
            f'CREATE OR REPLACE TEMP TABLE "{table}" AS SELECT {listed} FROM kept_marks UNION ALL '
            f"SELECT {listed} FROM ({lake.select(table, files=unread)})"
        )
        con.execute("DROP TABLE kept_marks")


def keep_marks(lake: Lake, *tables: str) -> None:
    """Keep a copy of mark tables in one file each; does nothing where the copy holds all that stands.

    For the end of the stage that writes them: a refused run changes nothing in the home.
    """
    for table in tables:
        with lake.connect() as con:
            files = standing(lake, table)
            _stand(con, files)
            kept = _kept(lake, con, table)
            if kept or not files:
                same = f"SELECT DISTINCT file_hash, {', '.join(_STAMP)} FROM {kept}" if kept else "FROM standing_marks"
                if not con.execute(
                    f"(FROM standing_marks EXCEPT {same}) UNION ALL ({same} EXCEPT FROM standing_marks)"
                ).fetchall():
                    continue
            attach_marks(lake, con, table)
            target = _kept_file(lake, table)
            with lake.scratch() as scratch:
                new = scratch / "kept.parquet"
                con.execute(
                    f'COPY (FROM "{table}" INNER JOIN standing_marks USING (file_hash) ORDER BY file_hash) '
                    f"TO '{sql_path(new)}' (FORMAT parquet, COMPRESSION zstd)"
                )
                replace_file(new, target)


def by_part(files: Iterable[PartFile]) -> Mapping[str, list[PartFile]]:
    """Files by the part, which is named after the work that wrote them."""
    found: dict[str, list[PartFile]] = {}
    for file in files:
        found.setdefault(file.part, []).append(file)
    return found


def _stand(con: duckdb.DuckDBPyConnection, files: Iterable[PartFile]) -> None:
    """Make the temporary table standing_marks: the deliveries that stand, with size and time of their file."""
    rows = [(file.values[0], file.bytes, file.changed) for file in files]
    columns: dict[str, pa.Array[Any]] = {
        "file_hash": pa.array([row[0] for row in rows], pa.string()),
        "kept_bytes": pa.array([row[1] for row in rows], pa.int64()),
        "kept_changed": pa.array([row[2] for row in rows], pa.int64()),
    }
    con.register("_standing", pa.table(columns))
    con.execute("CREATE OR REPLACE TEMP TABLE standing_marks AS FROM _standing")
    con.unregister("_standing")


def _kept_file(lake: Lake, table: str) -> Path:
    return cache_folder(lake.home) / "marks" / f"{table}.parquet"


def _kept(lake: Lake, con: duckdb.DuckDBPyConnection, table: str) -> str | None:
    """SQL that reads the kept copy; None without one that has the table's columns of today."""
    path = _kept_file(lake, table)
    if not path.exists():
        return None
    source = f"read_parquet('{sql_path(path)}')"
    try:
        described = con.execute(f"DESCRIBE FROM {source}").fetchall()
    except duckdb.Error:
        # damaged: the files themselves are read, and the copy is made again
        return None
    wanted = {column.name: column.type for column in TABLES[table].columns} | dict.fromkeys(_STAMP, "BIGINT")
    return source if {str(row[0]): str(row[1]) for row in described} == wanted else None
