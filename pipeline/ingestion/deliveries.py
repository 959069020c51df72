"""All drop folders of a home into the lake: what is new is taken in whole, or nothing is.

Every new file is read into a lake of its own in scratch; only when all are good do their parts move into the home's lake,
and the rows of `raw_files`, which say that a file is in, come last. So a bad file leaves the lake as it was, and names every
other bad one in the same message; a run that is killed while moving is repeated without harm.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa

from pipeline.errors import DeliveryError, SettingsError
from pipeline.ingestion.catalogue import read_items, read_promotions
from pipeline.ingestion.customers import CustomerKey, customer_key
from pipeline.ingestion.mapping import SourceMapping, load_mapping
from pipeline.ingestion.orders import EarlierFile, read_orders
from pipeline.ingestion.staging import UnreadableFileError, file_hash
from pipeline.lake import Lake
from pipeline.models.base import Progress, silent
from pipeline.settings import Settings
from pipeline.tables import TABLES

Content = Literal["orders", "items", "promotions"]
_RAW = ("raw_order_lines", "raw_items", "raw_promotions", "raw_files")  # the last one says that a file is in


@dataclass(frozen=True)
class DeliveredFile:
    """One file taken in.

    Attributes:
        file_name: its name in the drop folder.
        source: name of the source's mapping.
        content: orders, items or promotions.
        lines: its records.
        unreadable: records left out (items and promotions; unreadable order lines are kept, for quarantine).
        bytes: its size.
        seconds: time it took.
    """

    file_name: str
    source: str
    content: str
    lines: int
    unreadable: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class IngestionReport:
    """What one run of ingestion did.

    Attributes:
        files: the files taken in.
        skipped: files that were in already.
        rows: rows added, by table.
        seconds: time it took.
    """

    files: tuple[DeliveredFile, ...] = ()
    skipped: int = 0
    rows: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(_RAW, 0))
    seconds: float = 0.0

    @property
    def lines(self) -> int:
        """Records of all files taken in."""
        return sum(file.lines for file in self.files)


@dataclass(frozen=True)
class _Found:
    """A file in a drop folder that a mapping claims."""

    path: Path
    mapping: SourceMapping
    content: Content


def ingest(
    lake: Lake, settings: Settings, *, delivered_at: datetime | None = None, progress: Progress = silent
) -> IngestionReport:
    """Take in what is new in the drop folders of all sources.

    Args:
        lake: the home's lake.
        settings: the home's settings.
        delivered_at: when the new files count as delivered; default: now.
        progress: told how many files are done.

    Raises:
        DeliveryError: lists every file that cannot be taken in, and why; the lake is as it was.
        SettingsError: a mapping cannot be read, or two sources claim one file.
        DiskFullError: the disk is full; the lake is as it was.
    """
    started = time.monotonic()
    when = (delivered_at or datetime.now(UTC)).astimezone(UTC).replace(tzinfo=None)
    with lake.scratch() as scratch, lake.connect() as con:
        lake.attach(con, "raw_files")
        con.execute("CREATE TEMP TABLE known_files AS SELECT file_hash, source, content FROM raw_files")
        problems: list[str] = []
        new = _new_files(con, _found_files(con, lake, settings, problems), problems)
        work = _Work(lake, Lake(scratch / "staged", lake.compute), settings, when, customer_key(lake.home))
        work.prepare(con)
        files = []
        for done, (key, found) in enumerate(new.items()):
            progress("ingestion", done, len(new))
            try:
                files.append(work.take_in(con, found, key, scratch))
            except UnreadableFileError as error:
                problems.append(f"{found.path}: {error}")
        if problems:
            listed = "\n".join(f"  {problem}" for problem in problems)
            raise DeliveryError(
                f"{len(problems)} problem(s) with what was delivered; nothing was taken in, the lake is as it was:\n{listed}"
            )
        skipped = int(con.execute("SELECT count(*) FROM seen_files").fetchall()[0][0]) - len(new)
        rows = work.publish()
        if new:
            progress("ingestion", len(new), len(new))
    return IngestionReport(tuple(files), skipped, rows, time.monotonic() - started)


def _found_files(
    con: duckdb.DuckDBPyConnection, lake: Lake, settings: Settings, problems: list[str]
) -> dict[Path, _Found]:
    """Files in the drop folders that mappings claim, by source, content and name."""
    found: dict[Path, _Found] = {}
    names: set[str] = set()
    for source in settings.sources:
        mapping = load_mapping(source, lake.home)
        if mapping.name in names:
            raise SettingsError(
                f"{lake.home / 'almanac.yaml'}: sources: two mappings are named {mapping.name!r}; give each its own `name`"
            )
        names.add(mapping.name)
        folder = lake.home / source.folder
        if not folder.is_dir():
            problems.append(
                f"{folder}: no such drop folder (source {mapping.name}); make it, or correct `sources: folder` in "
                "almanac.yaml"
            )
            continue
        contents: tuple[Content, ...] = ("orders", "items", "promotions")
        for content in contents:
            files = mapping.contents.get(content)
            if files is None:
                continue
            paths = sorted(path for path in folder.glob(files.files) if path.is_file() or path.is_symlink())
            if not paths and not _has_delivered(con, mapping.name, content):
                problems.append(
                    f"{folder}: no file matches {files.files!r}, the pattern of the {content} of source {mapping.name}; "
                    "deliver one there, or correct `files` in the mapping"
                )
            for path in paths:
                if path in found:
                    other = found[path]
                    raise SettingsError(
                        f"{path}: claimed as {other.content} of {other.mapping.name} and as {content} of {mapping.name}; "
                        "narrow the pattern `files` of one of the mappings"
                    )
                found[path] = _Found(path, mapping, content)
    return found


def _has_delivered(con: duckdb.DuckDBPyConnection, source: str, content: str) -> bool:
    known = con.execute("SELECT count(*) FROM known_files WHERE source = $1 AND content = $2", [source, content])
    return bool(known.fetchall()[0][0])


def _new_files(con: duckdb.DuckDBPyConnection, found: Mapping[Path, _Found], problems: list[str]) -> dict[str, _Found]:
    """Files whose bytes were not delivered before, by their hash."""
    known = {str(row[0]) for row in con.execute("SELECT file_hash FROM known_files").fetchall()}
    new: dict[str, _Found] = {}
    seen = 0
    for path, file in found.items():
        try:
            key = file_hash(path)
        except OSError as error:
            problems.append(
                f"{path}: cannot be read ({error.strerror}); give the user who runs Almanac read access, or deliver it again"
            )
            continue
        seen += 1
        if key not in known:
            new.setdefault(key, file)
    con.execute("CREATE TEMP TABLE seen_files AS SELECT unnest(range($1::BIGINT))", [seen])
    return new


@dataclass
class _Work:
    """The new files of one run, on their way into the lake."""

    lake: Lake
    staged: Lake
    settings: Settings
    delivered_at: datetime
    key: CustomerKey
    entries: list[dict[str, object]] = field(default_factory=list)
    rows: Counter[str] = field(default_factory=Counter)

    def prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        self.key.prepare(con)
        # its estimates for CSV are off: it would build its hash tables on the file and probe with the small tables
        con.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")

    def take_in(self, con: duckdb.DuckDBPyConnection, found: _Found, key: str, scratch: Path) -> DeliveredFile:
        """Read one file into the staged lake."""
        started = time.monotonic()
        copies = scratch / key
        copies.mkdir()
        first: date | None
        last: date | None
        unreadable = 0
        times: tuple[datetime | None, datetime | None] = (None, None)
        if found.content == "orders":
            read = read_orders(
                con,
                found.path,
                key,
                found.mapping,
                into=self.staged,
                earlier=self._earlier(con, found.mapping.name),
                delivered_at=self.delivered_at,
                scratch=copies,
            )
            lines, rows = read.lines, read.lines
            times = (read.first_ordered_at, read.last_ordered_at)
            first, last = self._local_day(read.first_available_at), self._local_day(read.last_available_at)
        elif found.content == "items":
            known_on = self._items_known_on(con, found.mapping)
            items = read_items(con, found.path, key, found.mapping, into=self.staged, known_on=known_on, scratch=copies)
            lines, rows, unreadable = items.lines, items.rows, items.unreadable
            first, last = items.first_known_on, items.last_known_on
        else:
            promotions = read_promotions(
                con,
                found.path,
                key,
                found.mapping,
                into=self.staged,
                by_location=self.settings.shop.by_location,
                scratch=copies,
            )
            lines, rows, unreadable = promotions.lines, promotions.rows, promotions.unreadable
            first, last = promotions.first_known_on, promotions.last_known_on
        for copy in copies.iterdir():
            copy.unlink()
        size = found.path.stat().st_size
        self.rows[{"orders": "raw_order_lines", "items": "raw_items"}.get(found.content, "raw_promotions")] += rows
        self.entries.append(
            {
                "file_hash": key,
                "source": found.mapping.name,
                "content": found.content,
                "file_name": found.path.name,
                "bytes": size,
                "lines": lines,
                "first_ordered_at": times[0],
                "last_ordered_at": times[1],
                "first_known_on": first,
                "last_known_on": last,
                "delivered_at": self.delivered_at,
            }
        )
        seconds = time.monotonic() - started
        return DeliveredFile(found.path.name, found.mapping.name, found.content, lines, unreadable, size, seconds)

    def publish(self) -> dict[str, int]:
        """Move all parts into the lake, the rows of `raw_files` last; returns the rows added by table."""
        if not self.entries:
            return dict.fromkeys(_RAW, 0)
        schema = TABLES["raw_files"].arrow_schema
        with self.staged.connect() as con:
            for entry in self.entries:
                table = pa.Table.from_pylist([entry], schema=schema)
                self.staged.write(con, "raw_files", {"file_hash": entry["file_hash"]}, table)
        if self.key.keep_in is not None and self.rows["raw_order_lines"]:
            self.key.keep()
        for name in _RAW:
            self.lake.adopt(self.staged, name)
        return {name: self.rows[name] for name in _RAW[:-1]} | {"raw_files": len(self.entries)}

    def _earlier(self, con: duckdb.DuckDBPyConnection, source: str) -> Sequence[EarlierFile]:
        """Order files of the source that came before, of earlier runs and of this one."""
        rows = con.execute(
            "SELECT file_hash, first_ordered_at, last_ordered_at FROM raw_files WHERE source = $1 AND content = 'orders'",
            [source],
        ).fetchall()
        earlier = [
            EarlierFile(self.lake.part_path("raw_order_lines", {"file_hash": row[0]}, "part"), row[1], row[2])
            for row in rows
        ]
        for entry in self.entries:
            if entry["source"] == source and entry["content"] == "orders":
                part = self.staged.part_path("raw_order_lines", {"file_hash": entry["file_hash"]}, "part")
                earlier.append(EarlierFile(part, entry["first_ordered_at"], entry["last_ordered_at"]))  # type: ignore[arg-type]
        return earlier

    def _items_known_on(self, con: duckdb.DuckDBPyConnection, mapping: SourceMapping) -> date:
        first_delivery = not _has_delivered(con, mapping.name, "items")
        if first_delivery and mapping.items is not None and mapping.items.known_from is not None:
            return mapping.items.known_from
        day = self._local_day(self.delivered_at)
        if day is None:
            raise ValueError("every delivery has a time")
        return day

    def _local_day(self, moment: datetime | None) -> date | None:
        if moment is None:
            return None
        return moment.replace(tzinfo=UTC).astimezone(ZoneInfo(self.settings.shop.timezone)).date()
