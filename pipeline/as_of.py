"""The as-of view: what was known at the end of one night, and the only way to read facts for a forecast.

The nightly run, the backtest and the backfill all come through `as_of_view`, so there is no second code path in which
a leak could hide. The SQL beside this file says what each view is.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

import duckdb

from pipeline.errors import HistoryError
from pipeline.lake import Lake

_SQL = Path(__file__).with_name("as_of.sql").read_text(encoding="utf-8")
OUTLIER_RULE = Path(__file__).with_name("outliers.sql").read_text(encoding="utf-8")
"""SQL that makes the macro `outlier_caps`, of which the rule for outliers is the only one."""
FACTS = (
    "order_lines",
    "demand_changes",
    "item_sightings",
    "promotions",
    "calendar_daily",
    "calendar_occurrences",
    "item_text_features",
)
"""Lake tables that a view reads, as `lake_<table>` on its connection."""


@dataclass(frozen=True)
class AsOfView:
    """Facts as known at the end of the night `as_of`.

    Attributes:
        con: DuckDB connection with the views of `as_of.sql`.
        as_of: the night.
        first_day: first day with demand.
    """

    con: duckdb.DuckDBPyConnection
    as_of: date
    first_day: date

    @cached_property
    def snapshot(self) -> str:
        """Hash of the facts behind every forecast of this night, whatever their order and files (32 hex digits)."""
        parts = [self.as_of.isoformat()]
        for table in ("demand_daily", "items", "promotions", "calendar_events"):
            row = self.con.execute(
                f"SELECT count(*), bit_xor(hash(t)), sum(hash(t)::HUGEINT) FROM {table} AS t"
            ).fetchall()[0]
            parts.append(f"{table}={row}")
        return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]


@contextmanager
def as_of_view(lake: Lake, as_of: date, *, by_location: bool = False) -> Iterator[AsOfView]:
    """Open the facts of a home as one night knew them.

    Args:
        lake: the home's lake.
        as_of: the night; facts that became known later do not exist in the view.
        by_location: keep locations apart, or sum over them (location '').

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
        con.execute(OUTLIER_RULE)
        con.execute(_SQL)
        first_day = con.execute("SELECT min(day) FROM demand_daily").fetchall()[0][0]
        if first_day is None:
            earliest = con.execute("SELECT min(known_on) FROM lake_demand_changes").fetchall()[0][0]
            known = f"the first order became known on {earliest}" if earliest else "no order was ingested yet"
            raise HistoryError(
                f"{lake.home}: nothing was known on the night of {as_of}: {known}; choose a later --as-of"
            )
        yield AsOfView(con, as_of, first_day)


def known_days(lake: Lake) -> tuple[date, date]:
    """First and last day with orders in a home; the last is the default night.

    Raises:
        HistoryError: no order was ingested yet.
    """
    with lake.connect() as con:
        first, last = con.execute(
            f"SELECT min(demand_day), max(demand_day) FROM ({lake.select('demand_changes')})"
        ).fetchall()[0]
    if first is None:
        raise HistoryError(f"{lake.home}: no order was ingested yet; drop order files and run again")
    return first, last
