"""The as-of view: what was known at the end of one night, and the only way to read facts for a forecast.

The nightly run, the backtest and the backfill all come through `as_of_view`, so there is no second code path in which
a leak could hide. The SQL beside this file says what each view is.

A view that begins at a day (`since`) has the rows that the whole view has from that day on, and reads no more of the
demand ledger than those rows need: a night costs the same however long the history is.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

import duckdb

from pipeline.errors import HistoryError
from pipeline.lake import Lake

_SQL = Path(__file__).with_name("as_of.sql").read_text(encoding="utf-8")
_OUTLIERS = Path(__file__).with_name("outliers.sql").read_text(encoding="utf-8")
_FIRST_DAY = Path(__file__).with_name("first_day.sql").read_text(encoding="utf-8")
FACTS = (
    "order_lines",
    "demand_changes",
    "demand_changes_until",
    "item_sightings",
    "item_sightings_until",
    "announced_items",
    "promotions",
    "calendar_daily",
    "calendar_occurrences",
    "item_text_features",
    "reviews",
)
"""Lake tables that a view reads, as `lake_<table>` on its connection."""
_HASHED = ("demand_daily", "shop_days", "items", "promotions", "calendar_occurrences", "calendar_daily")
"""Views that all others of a night follow from."""
_HASHED_WHERE_THERE = ("planned_prices", "announced_items", "review_versions")
"""The same, of what not every shop has: without a row they leave a snapshot as it was before Almanac knew them."""
ANNOUNCED_DAYS = 28
"""Days on sale without a sale after which an announced item is expected no longer."""
_BUSY_DAYS = 28
"""Days to both sides that tell how busy the shop usually is (`outliers.sql`)."""


@dataclass(frozen=True)
class AsOfView:
    """Facts as known at the end of the night `as_of`.

    Attributes:
        con: DuckDB connection with the views of `as_of.sql`.
        as_of: the night.
        first_day: first day of which a demand was known, however long before `since`.
        since: first day that demand, prices and shop days are there of; None: all days.
    """

    con: duckdb.DuckDBPyConnection
    as_of: date
    first_day: date
    since: date | None = None

    @property
    def begins(self) -> date:
        """First day whose demand is there."""
        return max(self.first_day, self.since or self.first_day)

    @cached_property
    def snapshot(self) -> str:
        """Hash of the facts behind every forecast of this night, whatever their order and files (32 hex digits)."""
        parts = [self.as_of.isoformat(), str(self.since)]
        for table in (*_HASHED, *_HASHED_WHERE_THERE):
            row = self.con.execute(
                f"SELECT count(*), bit_xor(hash(t)), sum(hash(t)::HUGEINT) FROM {table} AS t"
            ).fetchall()[0]
            if row[0] or table in _HASHED:
                parts.append(f"{table}={row}")
        return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]


@contextmanager
def as_of_view(lake: Lake, as_of: date, *, by_location: bool = False, since: date | None = None) -> Iterator[AsOfView]:
    """Open the facts of a home as one night knew them.

    Args:
        lake: the home's lake.
        as_of: the night; facts that became known later do not exist in the view.
        by_location: keep locations apart, or sum over them (location '').
        since: leave out `demand_daily`, `shop_days` and `prices_daily` before this day; the rows from it on are those of
            the whole view. `items` then lacks those sold before that day that the item ledger does not name, and the
            days of first and last sale. All else is whole.

    Yields:
        The view; its connection closes with the context.

    Raises:
        HistoryError: no order was known by then.
    """
    with lake.connect() as con:
        for table in FACTS:
            con.execute(f'CREATE VIEW "lake_{table}" AS {lake.select(table)}')
        con.execute("SET VARIABLE as_of = $1::DATE", [as_of])
        con.execute("SET VARIABLE by_location = $1::BOOLEAN", [by_location])
        con.execute("SET VARIABLE since = $1::DATE", [since or date.min])
        con.execute("SET VARIABLE announced_days = $1::INTEGER", [ANNOUNCED_DAYS])
        con.execute("SET VARIABLE reads_from = $1::DATE", [reads_from(since) if since else date.min])
        con.execute(_FIRST_DAY)
        first_day = con.execute("SELECT getvariable('first_day')").fetchall()[0][0]
        if first_day is None:
            earliest = con.execute("SELECT min(known_on) FROM lake_demand_changes").fetchall()[0][0]
            known = f"the first order became known on {earliest}" if earliest else "no order was ingested yet"
            raise HistoryError(
                f"{lake.home}: nothing was known on the night of {as_of}: {known}; choose a later --as-of"
            )
        con.execute(_OUTLIERS)
        con.execute(_SQL)
        yield AsOfView(con, as_of, first_day, since)


def reads_from(since: date) -> date:
    """First day of demand that rows of `demand_daily` and `shop_days` from `since` on depend on.

    What is usual for a series is told by four quarters, for each day of the four weeks before (`outliers.sql`); closed
    days are told by the half year before (`as_of.sql`), which lies within.
    """
    quarter = _quarter_start(since - timedelta(days=_BUSY_DAYS))
    return (
        quarter.replace(year=quarter.year - 1, month=quarter.month + 3)
        if quarter.month < 10
        else quarter.replace(month=1)
    )


def changes_from(day: date) -> date:
    """First day of `demand_daily` or `shop_days` whose row may change because of a fact about `day`."""
    return _quarter_start(day) - timedelta(days=_BUSY_DAYS)


def known_days(lake: Lake) -> tuple[date, date]:
    """First and last day with orders in a home; the last is the default night.

    Raises:
        HistoryError: no order was ingested yet.
    """
    nights = [date.fromisoformat(partition["known_on"]) for partition in reversed(lake.partitions("demand_changes"))]
    if not nights:
        raise HistoryError(f"{lake.home}: no order was ingested yet; drop order files and run again")
    with lake.connect() as con:
        for table in ("demand_changes", "demand_changes_until"):
            con.execute(f'CREATE VIEW "lake_{table}" AS {lake.select(table)}')
        con.execute("SET VARIABLE as_of = $1::DATE", [nights[0]])
        con.execute(_FIRST_DAY)
        first: date = con.execute("SELECT getvariable('first_day')").fetchall()[0][0]
        return first, _last_day(con, nights)


def text_known(lake: Lake, as_of: date) -> bool:
    """Whether a text of any item was known on a night; for what is decided before a view is opened."""
    with lake.connect() as con:
        sightings = lake.select("item_sightings")
        found = con.execute(
            f"SELECT 1 FROM ({sightings}) WHERE known_on <= $1::DATE AND item_text <> '' LIMIT 1", [as_of]
        )
        return bool(found.fetchall())


def _last_day(con: duckdb.DuckDBPyConnection, nights: list[date]) -> date:
    """Last day with orders. No day is known before it is over, so the newest nights tell it; mostly the newest one.

    Args:
        con: connection with `lake_demand_changes`.
        nights: nights on which something became known, newest first.
    """
    read = 1
    while True:
        last: date = con.execute(
            "SELECT max(demand_day) FROM lake_demand_changes WHERE known_on >= $1::DATE",
            [nights[min(read, len(nights)) - 1]],
        ).fetchall()[0][0]
        if read >= len(nights) or last >= nights[read]:
            return last
        read *= 2


def _quarter_start(day: date) -> date:
    return day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
