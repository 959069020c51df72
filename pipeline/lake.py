"""The lake: Parquet folders of one home, written whole or not at all.

What belongs here: where a table's files stand, how they are replaced atomically, how DuckDB reads them within its
memory limit. What does not: what the tables mean (`pipeline/tables`) and what a night may know (`as_of.py`).

A table is a folder of hive partitions. Within a partition a *part* is one file, named after the work that made it
(a delivery, a night): writing it again replaces it, so a repeated or resumed run changes nothing. Files are written
to a temporary folder of the lake, synced, and renamed; a killed run leaves what stood before.
"""

import errno
import os
import re
import shutil
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import DamagedFileError, DiskFullError
from pipeline.settings import ComputeSettings, usable_cpus
from pipeline.tables import TABLES, Table, lake_tables

COMPRESSION: Final = "zstd"
_SCRATCH = ".scratch"
_OWNER = f"{quote(socket.gethostname(), safe='')}-"
_SYNCED_ALONE = 16
"""Files up to which each is synced by itself; beyond, syncing the disks once is faster."""


@dataclass(frozen=True)
class Lake:
    """The lake of a home.

    Attributes:
        home: folder of the home.
        compute: memory and threads that DuckDB may use.
    """

    home: Path
    compute: ComputeSettings = field(default_factory=ComputeSettings)

    @property
    def root(self) -> Path:
        """Folder of all tables."""
        return self.home / "lake"

    def folder(self, table: str) -> Path:
        """Folder of one table."""
        return self.root / TABLES[table].name

    def part_path(self, table: str, partition: Mapping[str, Any], part: str) -> Path:
        """File of one part of one partition."""
        declared = TABLES[table].partition
        if tuple(partition) != declared:
            raise ValueError(f"{table} is partitioned by {declared}, not {tuple(partition)}")
        levels = [f"{name}={quote(str(value), safe='')}" for name, value in partition.items()]
        return self.folder(table).joinpath(*levels) / f"{part}.parquet"

    def partitions(self, table: str) -> list[dict[str, str]]:
        """Partitions that have at least one part, as text, sorted."""
        depth = len(TABLES[table].partition)
        folders = {path.parent for path in self.folder(table).glob("/".join(["*"] * depth + ["*.parquet"]))}
        return [
            {name: unquote(value) for name, _, value in (level.partition("=") for level in folder.parts[-depth:])}
            for folder in sorted(folders)
        ]

    def count(self, table: str) -> int:
        """Rows of a table, read from the files' footers."""
        return sum(_rows(file) for file in self.folder(table).glob("**/*.parquet"))

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A DuckDB connection in memory that spills to the lake's scratch folder."""
        with self.scratch() as scratch:
            con = duckdb.connect(":memory:", config=self._config(scratch))
            try:
                yield con
            finally:
                con.close()

    def _config(self, scratch: Path) -> dict[str, str | int]:
        threads = self.compute.threads or usable_cpus()
        return {
            "memory_limit": self.compute.memory_limit,
            "threads": threads,
            "temp_directory": str(scratch),
            "autoinstall_known_extensions": "false",
            "TimeZone": "UTC",
        }

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A temporary folder on the lake's own disk, so that a rename out of it is atomic."""
        folder = self.root / _SCRATCH / f"{_OWNER}{os.getpid()}-{uuid.uuid4().hex}"
        with _troubles_named(self.root):
            folder.mkdir(parents=True)
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> int:
        """Remove the temporary folders of killed runs; for the start of a run. Returns how many there were.

        Folders of processes that live, and of other machines on a shared home, stay.
        """
        left = [folder for folder in (self.root / _SCRATCH).glob(f"{_OWNER}*") if not _is_alive(folder.name)]
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)
        return len(left)

    def attach(self, con: duckdb.DuckDBPyConnection, *tables: str) -> None:
        """Make lake tables readable on a connection, each as a view of its name (all tables by default)."""
        for name in tables or tuple(table.name for table in lake_tables()):
            con.execute(f'CREATE OR REPLACE VIEW "{name}" AS {self.select(name)}')

    def select(self, table: str, part: str | None = None, *, files: Sequence[Path] | None = None) -> str:
        """SQL that reads a table (its parts of one name, or these files), typed as declared; no rows without any."""
        declared = TABLES[table]
        columns = ", ".join(f'CAST("{c.name}" AS {c.type}) AS "{c.name}"' for c in declared.columns)
        pattern = "/".join(["*"] * len(declared.partition) + [f"{part or '*'}.parquet"])
        nothing = next(self.folder(table).glob(pattern), None) is None if files is None else not files
        if nothing:
            empty = ", ".join(f'CAST(NULL AS {c.type}) AS "{c.name}"' for c in declared.columns)
            return f"SELECT {empty} WHERE false"
        types = {c.name: c.type for c in declared.columns}
        hive = ", ".join(f"'{name}': {types[name]}" for name in declared.partition)
        read = ", ".join(f"'{sql_path(path)}'" for path in files or [self.folder(table) / pattern])
        return f"SELECT {columns} FROM read_parquet([{read}], hive_partitioning = true, hive_types = {{{hive}}})"

    def parts(self, table: str) -> set[str]:
        """Names of the parts that a table has in any partition."""
        return {path.stem for path in self._files(table, "*")}

    def discard(self, table: str, part: str) -> None:
        """Remove a part from every partition: what a killed run left of work that will be done again."""
        for path in self._files(table, part):
            _remove(path)

    def adopt(self, other: "Lake", table: str) -> None:
        """Move all parts of a table out of another lake on the same disk, replacing those of the same names."""
        parts = sorted(other.folder(table).glob("**/*.parquet"))
        _replace_files({self.folder(table) / part.relative_to(other.folder(table)): part for part in parts})

    def _files(self, table: str, part: str) -> list[Path]:
        return sorted(self.folder(table).glob("/".join(["*"] * len(TABLES[table].partition) + [f"{part}.parquet"])))

    def write(
        self,
        con: duckdb.DuckDBPyConnection,
        table: str,
        partition: Mapping[str, Any],
        query: str | pa.Table,
        part: str = "part",
    ) -> int:
        """Write one part of one partition, replacing it; an empty result removes it.

        Args:
            con: connection that `query` runs on.
            table: declared table.
            partition: value per partition column, in declared order.
            query: a SELECT (ordered as it should be stored) or an Arrow table, with all columns but the partition's.
            part: name of the part within the partition.

        Returns:
            Rows written.

        Raises:
            DiskFullError: the disk is full; what stood before still stands.
        """
        declared = TABLES[table]
        target = self.part_path(table, partition, part)
        with self.scratch() as scratch:
            file = scratch / "part.parquet"
            rows = self._copy(con, declared, query, file, stored=_stored(declared))
            if rows:
                replace_file(file, target)
            else:
                _remove(target)
        return rows

    @contextmanager
    def stream(
        self, table: str, partition: Mapping[str, Any], part: str = "part"
    ) -> Iterator[Callable[[pa.Table], None]]:
        """Write one part of one partition batch by batch, for rows that are made in Python and too many to hold.

        The part is replaced when the context closes; an error inside leaves what stood before.

        Args:
            table: declared table.
            partition: value per partition column, in declared order.
            part: name of the part within the partition.

        Yields:
            A function that takes the next rows: all columns but the partition's.
        """
        declared = TABLES[table]
        schema = pa.schema([declared.arrow_schema.field(name) for name in _stored(declared)])
        target = self.part_path(table, partition, part)
        with self.scratch() as scratch:
            file = scratch / "part.parquet"
            rows = 0
            with pq.ParquetWriter(file, schema, compression=COMPRESSION) as writer:

                def append(batch: pa.Table) -> None:
                    nonlocal rows
                    rows += len(batch)
                    writer.write_table(batch.select(schema.names).cast(schema))

                yield append
            if rows:
                replace_file(file, target)
            else:
                _remove(target)

    def write_partitions(
        self, con: duckdb.DuckDBPyConnection, table: str, query: str, part: str
    ) -> dict[tuple[str, ...], int]:
        """Write one part into each partition that `query` has rows for.

        Partitions without rows keep their other parts, and lose this one: the part is what this work made, whole.

        Args:
            con: connection that `query` runs on.
            table: declared table.
            query: a SELECT with all columns of the table, partition columns included.
            part: name of the part, one per piece of work.

        Returns:
            Rows by partition values (as text, in declared order).
        """
        declared = TABLES[table]
        with self.scratch() as scratch:
            by = ", ".join(f'"{name}"' for name in declared.partition)
            columns = ", ".join(f'CAST("{c.name}" AS {c.type}) AS "{c.name}"' for c in declared.columns)
            out = scratch / "out"
            # 100 open partitions by default: 1,000 days would be flushed as tiny row groups
            con.execute("SET partitioned_write_max_open_files = 2000")
            con.execute(
                f"COPY (SELECT {columns} FROM ({query})) TO '{sql_path(out)}' "
                f"(FORMAT parquet, COMPRESSION {COMPRESSION}, PARTITION_BY ({by}), FILENAME_PATTERN 'x_{{i}}')"
            )
            return self._publish_parts(con, declared, out, part)

    def _publish_parts(
        self, con: duckdb.DuckDBPyConnection, declared: Table, out: Path, part: str
    ) -> dict[tuple[str, ...], int]:
        """Move each written partition's file to its place; several files of one partition are merged first."""
        depth = len(declared.partition)
        written: dict[tuple[str, ...], int] = {}
        moves: dict[Path, Path] = {}
        for folder in sorted({path.parent for path in out.glob("/".join(["*"] * depth + ["*.parquet"]))}):
            files = sorted(folder.glob("*.parquet"))
            file = files[0]
            if len(files) > 1:
                file = folder / "merged.parquet"
                con.execute(
                    f"COPY (FROM read_parquet('{sql_path(folder)}/x_*.parquet', hive_partitioning = false)) "
                    f"TO '{sql_path(file)}' (FORMAT parquet, COMPRESSION {COMPRESSION})"
                )
            levels = folder.relative_to(out).parts
            values = tuple(unquote(level.partition("=")[2]) for level in levels)
            written[values] = _rows(file)
            target = self.part_path(declared.name, dict(zip(declared.partition, values, strict=True)), part)
            moves[target] = file
        _replace_files(moves)
        for stale in self._files(declared.name, part):
            if stale not in moves:
                _remove(stale)
        return written

    def _copy(
        self,
        con: duckdb.DuckDBPyConnection,
        declared: Table,
        query: str | pa.Table,
        file: Path,
        stored: Iterable[str],
    ) -> int:
        types = {c.name: c.type for c in declared.columns}
        columns = ", ".join(f'CAST("{name}" AS {types[name]}) AS "{name}"' for name in stored)
        source = f"({query})"
        if isinstance(query, pa.Table):
            con.register("_arrow_to_write", query)
            source = "_arrow_to_write"
        try:
            con.execute(
                f"COPY (SELECT {columns} FROM {source}) TO '{sql_path(file)}' (FORMAT parquet, COMPRESSION {COMPRESSION})"
            )
        finally:
            if isinstance(query, pa.Table):
                con.unregister("_arrow_to_write")
        return _rows(file)


def _stored(declared: Table) -> tuple[str, ...]:
    """Columns inside the files; the partition's stand in the folder names."""
    return tuple(name for name in declared.column_names if name not in declared.partition)


def _is_alive(scratch: str) -> bool:
    """Whether the process that made a scratch folder of this machine still runs."""
    try:
        os.kill(int(scratch.removeprefix(_OWNER).partition("-")[0]), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def _rows(file: Path) -> int:
    return int(pq.read_metadata(file).num_rows)


def sql_path(path: Path) -> str:
    """A path inside the quotes of a SQL string: ATTACH, COPY and read_parquet take no bound parameter for it."""
    return str(path).replace("'", "''")


def replace_file(file: Path, target: Path) -> None:
    """Sync a file and move it to its place; readers see the old one or the new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _sync(file)
    file.replace(target)
    _sync(target.parent)


def _replace_files(moves: Mapping[Path, Path]) -> None:
    """Sync files and move each to its place (target: file)."""
    if len(moves) <= _SYNCED_ALONE:
        for target, file in moves.items():
            replace_file(file, target)
        return
    # three years of days are 1,096 files: two calls for each took longer than writing them
    os.sync()
    for target, file in moves.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)
    os.sync()


def _remove(target: Path) -> None:
    if target.exists():
        target.unlink()
        _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _troubles_named(root: Path) -> Iterator[None]:
    """Turn 'no space left', from Python or from DuckDB, and damaged files of the lake into errors that say what to do."""
    try:
        yield
    except (OSError, duckdb.Error) as error:
        # the last is DuckDB's word for a spill that finds no room
        full = ("No space left", "max_temp_directory_size")
        if getattr(error, "errno", None) == errno.ENOSPC or any(words in str(error) for words in full):
            raise DiskFullError(
                f"{root}: the disk is full; free some space and run again (what stood before still stands)"
            ) from error
        damaged = _damaged(root, error) if isinstance(error, duckdb.Error) else None
        if damaged:
            raise DamagedFileError(
                f"{damaged}: is damaged, it cannot be read as Parquet; move it away and run again: lost files of ledgers are "
                "made again from what was delivered, lost forecasts by `almanac backfill`"
            ) from error
        raise


def _damaged(root: Path, error: duckdb.Error) -> Path | None:
    """The damaged file of the lake that an error of DuckDB is about."""
    named = [Path(name) for name in re.findall(r"""['"]([^'"]+\.parquet)['"]""", str(error))]
    # a broken footer gives a bare error without any name: every file is tried
    for file in root.glob("*/**/*.parquet") if type(error) is duckdb.Error else named:
        try:
            pq.read_metadata(file)
        except (pa.ArrowException, OSError):
            if file.is_file() and root in file.parents and _SCRATCH not in file.parts:
                return file
    return None
