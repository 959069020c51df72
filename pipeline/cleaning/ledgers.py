"""The files of the ledgers that cleaning writes: which to read, and whether all that was written still stands.

One listing per run tells all of it. A delivery's report says how many files each ledger got of it (measures
`files:<table>`); where fewer stand, somebody deleted one by hand, and the delivery is cleaned again. So it is where their
sizes are not those noted after the last cleaning: content changed by hand is told by that, for no more than a listing.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Final

import duckdb

from pipeline.ingestion.standing import cache_folder, standing
from pipeline.lake import Lake, replace_file

WRITTEN: Final = ("order_lines", "netted_lines", "demand_changes", "item_sightings", "announced_items")
"""Ledgers that a delivery's cleaning writes, each as parts named after the delivery."""


@dataclass
class Ledgers:
    """The ledgers' files, kept up to date while deliveries are cleaned.

    Attributes:
        lake: the home's lake.
        days: by ledger and delivery, the days of which a file stands.
        bytes: by ledger and delivery, the size of its files when they were listed.
        rows: rows written since it was listed, by table.
    """

    lake: Lake
    days: dict[str, dict[str, set[date]]] = field(default_factory=dict)
    bytes: dict[str, dict[str, int]] = field(default_factory=dict)
    rows: Counter[str] = field(default_factory=Counter)

    @classmethod
    def listed(cls, lake: Lake) -> "Ledgers":
        """What stands now."""
        days: dict[str, dict[str, set[date]]] = {}
        sizes: dict[str, dict[str, int]] = {}
        for table in WRITTEN:
            parts, bytes_of = days.setdefault(table, {}), sizes.setdefault(table, {})
            for file in standing(lake, table):
                parts.setdefault(file.part, set()).add(date.fromisoformat(file.values[0]))
                bytes_of[file.part] = bytes_of.get(file.part, 0) + file.bytes
        return cls(lake, days, sizes)

    def keep_sizes(self) -> None:
        """Note the sizes of all files as they stand now; for the end of cleaning."""
        sizes = Ledgers.listed(self.lake).bytes if self.rows else self.bytes
        if sizes != self._noted():
            with self.lake.scratch() as scratch:
                new = scratch / "sizes.json"
                new.write_text(json.dumps(sizes), encoding="utf-8")
                replace_file(new, self._sizes_file)

    def altered(self) -> dict[str, list[str]]:
        """Deliveries whose files are not of the size that was noted, with the ledgers that these stand in."""
        found: dict[str, list[str]] = {}
        for table, sizes in self._noted().items():
            for part, size in sizes.items():
                if self.bytes.get(table, {}).get(part) != size:
                    found.setdefault(part, []).append(table)
        return found

    @property
    def _sizes_file(self) -> Path:
        return cache_folder(self.lake.home) / "ledger_sizes.json"

    def _noted(self) -> dict[str, dict[str, int]]:
        try:
            noted: dict[str, dict[str, int]] = json.loads(self._sizes_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return noted

    def deliveries(self) -> set[str]:
        """Deliveries with a file in any ledger."""
        return {part for parts in self.days.values() for part in parts}

    def files(self, part: str) -> dict[str, int]:
        """Files of a delivery in each ledger."""
        return {table: len(self.days[table].get(part, ())) for table in WRITTEN}

    def since(self, table: str, day: date | None, *, without: str) -> str:
        """SQL that reads what other deliveries made known on a day or later; nothing without a day."""
        paths = [
            self._path(table, known_on, part)
            for part, days in self.days[table].items()
            for known_on in days
            if day is not None and known_on >= day and part != without
        ]
        return self.lake.select(table, files=sorted(paths))

    def of(self, table: str, part: str) -> str:
        """SQL that reads what a delivery wrote."""
        days = sorted(self.days[table].get(part, ()))
        return self.lake.select(table, files=[self._path(table, day, part) for day in days])

    def first_day(self, part: str, tables: Iterable[str]) -> date | None:
        """First day on which something of a delivery became known, in some of the ledgers."""
        return min((day for table in tables for day in self.days[table].get(part, ())), default=None)

    def write(self, con: duckdb.DuckDBPyConnection, table: str, query: str, part: str) -> None:
        """Write what a delivery brings to a ledger."""
        written = self.lake.write_partitions(con, table, query, part)
        self.days[table][part] = {date.fromisoformat(values[0]) for values in written}
        self.rows[table] += sum(written.values())

    def discard(self, part: str) -> None:
        """Remove all files of a delivery."""
        for table in WRITTEN:
            if part in self.days[table]:
                self.lake.discard(table, part)
                del self.days[table][part]

    def _path(self, table: str, known_on: date, part: str) -> Path:
        return self.lake.part_path(table, {"known_on": known_on.isoformat()}, part)


@dataclass(frozen=True)
class Cleaned:
    """A delivery in the order of cleaning, and what is known of its cleaning.

    Attributes:
        file_hash: the delivery.
        file_name: its name in the drop folder.
        delivered_at: when it was delivered; runs take in what came since the run before.
        first_known_on: first day on which a line of it became known.
        reported: its report stands.
        files: files that the report says were written, by ledger; empty in reports of before they were counted.
    """

    file_hash: str
    file_name: str
    delivered_at: datetime | None
    first_known_on: date | None
    reported: bool
    files: Mapping[str, int]

    @property
    def place(self) -> tuple[datetime, date, str, str]:
        """Place in the order in which nightly runs clean."""
        first = self.first_known_on or date.min
        return (self.delivered_at or datetime.min, first, self.file_name, self.file_hash)


def broken(deliveries: Sequence[Cleaned], ledgers: Ledgers) -> tuple[list[Cleaned], list[str]]:
    """Deliveries to clean again because files were deleted or changed by hand, and what to say of it.

    A delivery's cleaning goes by what was cleaned before it, so all that were cleaned after the first broken one are
    cleaned again too.

    Args:
        deliveries: all that cleaning reads.
        ledgers: what stands.

    Returns:
        The reported deliveries to clean again, in their order; one warning per broken delivery.
    """
    in_order = sorted(deliveries, key=lambda one: one.place)
    last = max((one.place for one in in_order if one.reported), default=None)
    found: list[tuple[Cleaned, str]] = []
    altered = ledgers.altered()
    # of a delivery whose files are all gone the noted sizes tell that it had some
    cleaned_once = ledgers.deliveries() | altered.keys()
    for one in in_order:
        missing = {table: many for table, many in one.files.items() if ledgers.files(one.file_hash)[table] < many}
        if one.reported and missing:
            lost = ", ".join(
                f"{many - ledgers.files(one.file_hash)[table]} of {many} in lake/{table}"
                for table, many in missing.items()
            )
            found.append((one, f"files {one.file_hash}.parquet that were written are gone ({lost})"))
        elif one.reported and one.files and one.file_hash in altered:
            where = ", ".join(f"lake/{table}" for table in altered[one.file_hash])
            found.append((one, f"files {one.file_hash}.parquet in {where} are not what was written"))
        elif not one.reported and last is not None and one.place < last and one.file_hash in cleaned_once:
            # a killed run leaves files of the last delivery only, with none cleaned after it
            found.append((one, f"its mark lake/cleaning_report/file_hash={one.file_hash} is gone"))
    if not found:
        return [], []
    again = [
        one for one in in_order if one.place >= found[0][0].place and (one.reported or one.file_hash in cleaned_once)
    ]
    warnings = [
        f"{one.file_name}: {why}; it is cleaned again, with the {len(again) - 1:,} deliveries cleaned after "
        f"{found[0][0].file_name}"
        for one, why in found
    ]
    return again, warnings
