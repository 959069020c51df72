"""Whether the published file can be brought up to date, or must be built in full.

A file is brought up to date when it was made by the same rules from the same facts, and the night is not older than the one
it is of: then only facts that became known since can have changed it, and `changes_from` says since which day.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import duckdb

from pipeline.as_of import changes_from
from pipeline.lake import Lake, sql_path
from pipeline.publishing.parts import Fingerprints, Partition, changed, files_of, fingerprints, partitions
from pipeline.settings import Settings
from pipeline.tables import TABLES

STORAGE_VERSION = "v1.4.0"
"""DuckDB 2.0 writes a format that 1.x clients cannot open, unless told otherwise."""
LEDGERS = ("demand_changes", "item_sightings")
"""Facts by the day on which they became known."""
CALENDAR = ("calendar_daily", "calendar_occurrences")
GROWN = 2.0
"""A file this many times as large as it was when built in full is built in full again: what was deleted leaves holes."""
ROOM = 32_000_000
"""Bytes that a file may grow in any case: a block of DuckDB takes 262,144, however few rows are in it."""
BEFORE_ALL = date(1, 1, 1)

_PIPELINE = Path(__file__).parent.parent


@dataclass(frozen=True)
class Plan:
    """How a night is published.

    Attributes:
        as_of: the night.
        why_full: why the file is built in full; empty when it is brought up to date.
        published: night that the standing file is of; `BEFORE_ALL` when it is built in full.
        since: first day whose facts may differ from the standing file's; None when it is built in full.
        format: hash of what the file is made by.
        found: the lake's partitions of ledgers and calendar.
        recorded: partitions that the standing file was made from, by table; empty when it is built in full.
    """

    as_of: date
    why_full: str
    format: str
    found: Mapping[str, Mapping[str, Partition]]
    published: date = BEFORE_ALL
    since: date | None = None
    recorded: Mapping[str, Fingerprints] = field(default_factory=dict)

    @property
    def known(self) -> dict[str, Fingerprints]:
        """Fingerprints of the facts that the night knows."""
        facts = {table: up_to(self.found[table], self.as_of) for table in LEDGERS}
        return facts | {table: fingerprints(self.found[table]) for table in CALENDAR}

    def in_full(self, why: str) -> "Plan":
        """The same night, built in full for this reason."""
        return Plan(self.as_of, why, self.format, self.found)


def make_plan(lake: Lake, settings: Settings, as_of: date, file: Path, *, full: bool = False) -> Plan:
    """Decide how a night is published.

    Args:
        lake: the home's lake.
        settings: the home's settings.
        as_of: the night.
        file: the published file, which need not stand.
        full: build it in full, whatever stands.
    """
    found = {table: partitions(lake, table) for table in (*LEDGERS, *CALENDAR)}
    anew = Plan(as_of, "asked for" if full else "no file stands yet", _format(settings), found)
    if full or not file.exists():
        return anew
    try:
        standing = _read(lake, file)
    except duckdb.Error as error:
        return anew.in_full(f"the file that stands cannot be read, or is of an older format ({error})")
    if standing is None:
        return anew.in_full("the file that stands says nothing about itself")
    if why := _why_full(anew, standing, file.stat().st_size):
        return anew.in_full(why)
    since = changes_from(_first_changed(lake, found["demand_changes"], standing.as_of, as_of))
    return Plan(as_of, "", anew.format, found, standing.as_of, since, standing.recorded)


def new_values(found: Mapping[str, Partition], after: date, until: date) -> list[str]:
    """Partitions by day: those after a day, up to a day."""
    return [value for value in found if after.isoformat() < value <= until.isoformat()]


@dataclass(frozen=True)
class _Standing:
    """What a published file says about itself; see the tables publication and published_parts."""

    as_of: date
    format: str
    full_bytes: int
    recorded: Mapping[str, Fingerprints]


def _read(lake: Lake, file: Path) -> _Standing | None:
    """What the file that stands says about itself."""
    with lake.connect() as con:
        con.execute(f"ATTACH '{sql_path(file)}' AS standing (READ_ONLY)")
        described = con.execute("SELECT as_of, format, full_bytes FROM standing.publication").fetchall()
        recorded: dict[str, dict[str, str]] = {}
        for table, value, fingerprint in con.execute("FROM standing.published_parts").fetchall():
            recorded.setdefault(table, {})[value] = fingerprint
    if len(described) != 1:
        return None
    as_of, made_by, full_bytes = described[0]
    return _Standing(as_of, made_by, full_bytes, recorded)


def _why_full(anew: Plan, standing: _Standing, size: int) -> str:
    """Why a file that stands cannot be brought up to date, or had better not; empty when it can."""
    if standing.format != anew.format:
        return "tables, views, rules or settings (shop.by_location, forecast.horizon_days) have changed"
    if anew.as_of < standing.as_of:
        return f"the file that stands is of the later night of {standing.as_of}"
    for table in LEDGERS:
        removed, added = changed(up_to(anew.found[table], standing.as_of), standing.recorded.get(table, {}))
        if days := sorted({*removed, *added}):
            return f"facts that the night of {standing.as_of} knew have changed: {table} known on {days[0]}"
    if size > GROWN * standing.full_bytes + ROOM:
        return f"the file has grown to more than {GROWN:g} times its size when last built in full"
    return ""


def up_to(found: Mapping[str, Partition], night: date) -> Fingerprints:
    """Fingerprints of partitions by day, up to a day."""
    return {day: partition.fingerprint for day, partition in found.items() if day <= night.isoformat()}


def _first_changed(lake: Lake, ledger: Mapping[str, Partition], published: date, as_of: date) -> date:
    """First day that a fact is about which became known since a night; the day after that night at the latest."""
    files = files_of(ledger, new_values(ledger, published, as_of))
    with lake.connect() as con:
        first = con.execute(f"SELECT min(demand_day) FROM ({lake.select('demand_changes', files=files)})").fetchall()
    return min(first[0][0] or date.max, published + timedelta(days=1))


def _format(settings: Settings) -> str:
    """Hash of everything but facts that shapes a published file."""
    digest = hashlib.sha256(STORAGE_VERSION.encode())
    for path in sorted([*_PIPELINE.glob("*.sql"), *(_PIPELINE / "publishing").glob("*.sql")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    digest.update(repr([(t.name, t.meaning, t.key, t.published_columns) for t in TABLES.values()]).encode())
    shaping = {"by_location": settings.shop.by_location, "horizon_days": settings.forecast.horizon_days}
    digest.update(json.dumps(shaping, sort_keys=True).encode())
    return digest.hexdigest()[:16]
