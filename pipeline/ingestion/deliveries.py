"""All drop folders of a home into the lake: what is new is taken in whole, or nothing is.

Every new file is read into a lake of its own in scratch; only when all are good do their parts move into the home's lake,
and the rows of `raw_files`, which say that a file is in, come last. So a bad file leaves the lake as it was, and names every
other bad one in the same message; a run that is killed while moving is repeated without harm.

Lines that somebody deleted from the lake by hand are read again from the file in the drop folder, as of the day it came.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa

from pipeline.errors import DeliveryError, SettingsError
from pipeline.ingestion.catalogue import read_items, read_promotions
from pipeline.ingestion.customers import CustomerKey, customer_key
from pipeline.ingestion.drop_folder import DropFolderHashes
from pipeline.ingestion.lost import RAW_TABLES, LostFile, lost_files
from pipeline.ingestion.mapping import Content, SourceMapping, load_mapping, require_exchange_rate
from pipeline.ingestion.orders import EarlierFile, read_orders
from pipeline.ingestion.reviews import read_reviews
from pipeline.ingestion.staging import UnreadableFileError
from pipeline.ingestion.standing import attach_marks, keep_marks
from pipeline.lake import Lake
from pipeline.models.base import Progress, silent
from pipeline.settings import Settings
from pipeline.tables import TABLES

_RAW = (*RAW_TABLES.values(), "raw_files")  # the last one says that a file is in
_WITH_CUSTOMERS: tuple[Content, ...] = ("orders", "reviews")


@dataclass(frozen=True)
class DeliveredFile:
    """One file taken in.

    Attributes:
        file_name: its name in the drop folder.
        source: name of the source's mapping.
        content: orders, items, promotions or reviews.
        lines: its records.
        unreadable: records left out (items and promotions; of orders and reviews they are kept, for quarantine).
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
        warnings: what was found amiss and mended, in words.
        seconds: time it took.
    """

    files: tuple[DeliveredFile, ...] = ()
    skipped: int = 0
    rows: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(_RAW, 0))
    warnings: tuple[str, ...] = ()
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
    hashes = DropFolderHashes.remembered(lake.home)
    with lake.scratch() as scratch, lake.connect() as con:
        attach_marks(lake, con, "raw_files")
        problems: list[str] = []
        delivered = _by_hash(_found_files(con, lake, settings, problems), hashes, problems)
        known = {str(row[0]) for row in con.execute("SELECT file_hash FROM raw_files").fetchall()}
        new = {key: found for key, found in delivered.items() if key not in known}
        work = _Work(lake, Lake(scratch / "staged", lake.compute), settings, when, customer_key(lake.home))
        work.prepare(con)
        for lost in lost_files(con, lake):
            try:
                work.take_in_again(con, delivered.get(lost.file_hash), lost, scratch)
            except UnreadableFileError as error:
                problems.append(f"{lost.part}: the lines of {lost.file_name} are gone from the lake: {error}")
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
        rows = work.publish()
        if new:
            progress("ingestion", len(new), len(new))
    keep_marks(lake, "raw_files")
    hashes.keep()
    warnings = tuple(
        f"{lost.part}: was gone; the lines of {lost.file_name} were read again from the drop folder"
        for lost in work.mended
    )
    return IngestionReport(tuple(files), len(hashes.seen) - len(new), rows, warnings, time.monotonic() - started)


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
        require_exchange_rate(mapping, settings, lake.home)
        folder = lake.home / source.folder
        if not folder.is_dir():
            problems.append(
                f"{folder}: no such drop folder (source {mapping.name}); make it, or correct `sources: folder` in "
                "almanac.yaml"
            )
            continue
        for content, files in mapping.contents.items():
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
    known = con.execute("SELECT count(*) FROM raw_files WHERE source = $1 AND content = $2", [source, content])
    return bool(known.fetchall()[0][0])


def _by_hash(found: Mapping[Path, _Found], hashes: DropFolderHashes, problems: list[str]) -> dict[str, _Found]:
    """The files by the hash of their bytes; of those that are the same the first."""
    by_hash: dict[str, _Found] = {}
    for path, file in found.items():
        try:
            by_hash.setdefault(hashes.of(path), file)
        except OSError as error:
            problems.append(
                f"{path}: cannot be read ({error.strerror}); give the user who runs Almanac read access, or deliver it again"
            )
    return by_hash


@dataclass(frozen=True)
class _Read:
    """What was read of a file: records, rows written, records left out, first and last order time and day known."""

    lines: int
    rows: int
    unreadable: int
    ordered_at: tuple[datetime | None, datetime | None]
    known_on: tuple[date | None, date | None]


@dataclass
class _Work:
    """The new files of one run, on their way into the lake, and those whose lines were lost there."""

    lake: Lake
    staged: Lake
    settings: Settings
    delivered_at: datetime
    key: CustomerKey
    entries: list[dict[str, object]] = field(default_factory=list)
    rows: Counter[str] = field(default_factory=Counter)
    mended: list[LostFile] = field(default_factory=list)

    def prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        self.key.prepare(con)
        # its estimates for CSV are off: it would build its hash tables on the file and probe with the small tables
        con.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")

    def take_in(self, con: duckdb.DuckDBPyConnection, found: _Found, key: str, scratch: Path) -> DeliveredFile:
        """Read one file into the staged lake."""
        started = time.monotonic()
        read = self._read(con, found, key, scratch, None)
        size = found.path.stat().st_size
        self.rows[RAW_TABLES[found.content]] += read.rows
        self.entries.append(
            {
                "file_hash": key,
                "source": found.mapping.name,
                "content": found.content,
                "file_name": found.path.name,
                "bytes": size,
                "lines": read.lines,
                "first_ordered_at": read.ordered_at[0],
                "last_ordered_at": read.ordered_at[1],
                "first_known_on": read.known_on[0],
                "last_known_on": read.known_on[1],
                "delivered_at": self.delivered_at,
            }
        )
        seconds = time.monotonic() - started
        return DeliveredFile(
            found.path.name, found.mapping.name, found.content, read.lines, read.unreadable, size, seconds
        )

    def take_in_again(
        self, con: duckdb.DuckDBPyConnection, found: _Found | None, lost: LostFile, scratch: Path
    ) -> None:
        """Read the lines that are gone from the lake again, as they were read when the file came.

        Raises:
            UnreadableFileError: they cannot be had again; says the way out.
        """
        if found is None or (found.mapping.name, found.content) != (lost.source, lost.content):
            raise UnreadableFileError(
                f"and no file in the drop folder of source {lost.source} has its bytes; restore either from a backup"
            )
        if self.key.keep_in is not None and found.mapping.hides_customers(lost.content):
            raise UnreadableFileError(
                f"and {self.key.keep_in}, which hides its customers, is gone too; restore one of them from a backup"
            )
        if (lines := self._read(con, found, lost.file_hash, scratch, lost).lines) != lost.lines:
            raise UnreadableFileError(
                f"{found.path} gave {lost.lines:,} lines when it came and gives {lines:,} with the mapping of today; restore "
                "the file of the lake from a backup, or the mapping as it was"
            )
        self.mended.append(lost)

    def _read(
        self, con: duckdb.DuckDBPyConnection, found: _Found, key: str, scratch: Path, lost: LostFile | None
    ) -> "_Read":
        """Read one file into the staged lake, as of now or as of when it came."""
        copies = scratch / key
        copies.mkdir()
        file = (con, found.path, key, found.mapping)
        if found.content == "orders":
            orders = read_orders(
                *file,
                into=self.staged,
                earlier=self._earlier(con, found.mapping.name, lost),
                delivered_at=lost.delivered_at if lost else self.delivered_at,
                scratch=copies,
            )
            times = (orders.first_ordered_at, orders.last_ordered_at)
            days = (self._local_day(orders.first_available_at), self._local_day(orders.last_available_at))
            read = _Read(orders.lines, orders.lines, 0, times, days)
        else:
            if found.content == "items":
                known_on = lost.first_known_on if lost else None
                catalogue = read_items(
                    *file,
                    into=self.staged,
                    known_on=known_on or self._items_known_on(con, found.mapping),
                    scratch=copies,
                )
            elif found.content == "promotions":
                catalogue = read_promotions(
                    *file,
                    into=self.staged,
                    by_location=self.settings.shop.by_location,
                    scratch=copies,
                )
            else:
                catalogue = read_reviews(
                    *file,
                    into=self.staged,
                    delivered_at=lost.delivered_at if lost else self.delivered_at,
                    time_zone=self.settings.shop.timezone,
                    scratch=copies,
                )
            days = (catalogue.first_known_on, catalogue.last_known_on)
            read = _Read(catalogue.lines, catalogue.rows, catalogue.unreadable, (None, None), days)
        for copy in copies.iterdir():
            copy.unlink()
        return read

    def publish(self) -> dict[str, int]:
        """Move all parts into the lake, the rows of `raw_files` last; returns the rows added by table."""
        if not self.entries and not self.mended:
            return dict.fromkeys(_RAW, 0)
        schema = TABLES["raw_files"].arrow_schema
        with self.staged.connect() as con:
            for entry in self.entries:
                table = pa.Table.from_pylist([entry], schema=schema)
                self.staged.write(con, "raw_files", {"file_hash": entry["file_hash"]}, table)
        if self.key.keep_in is not None and any(self.rows[RAW_TABLES[content]] for content in _WITH_CUSTOMERS):
            self.key.keep()
        for name in _RAW:
            self.lake.adopt(self.staged, name)
        return {name: self.rows[name] for name in _RAW[:-1]} | {"raw_files": len(self.entries)}

    def _earlier(
        self, con: duckdb.DuckDBPyConnection, source: str, lost: LostFile | None = None
    ) -> Sequence[EarlierFile]:
        """Order files of the source that came before, of earlier runs and of this one."""
        rows = con.execute(
            """
            SELECT file_hash, first_ordered_at, last_ordered_at
            FROM raw_files
            WHERE source = $1 AND content = 'orders' AND ($2 IS NULL OR (delivered_at, file_name) < ($2, $3))
            """,
            [source, lost.delivered_at if lost else None, lost.file_name if lost else None],
        ).fetchall()
        mended = {one.file_hash for one in self.mended}
        earlier = [
            EarlierFile(
                (self.staged if row[0] in mended else self.lake).part_path(
                    "raw_order_lines", {"file_hash": row[0]}, "part"
                ),
                row[1],
                row[2],
            )
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
