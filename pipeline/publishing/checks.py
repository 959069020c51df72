"""Checks of a newly made file, before it takes the place of the old one.

Each check is one query that finds what is wrong; the names are what a person reads when a publish is refused. Rows that stood
in the file before were checked when they came, so that only what was written since is looked at.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise

import duckdb

from pipeline.settings import QUANTILE_COLUMNS
from pipeline.tables import TABLES

_CONTRACT = ("forecasts", "forecast_totals")
_UNIQUE = ("items", "item_reviews", "model_versions", "backtest_scores", "vintages", "publication", "published_parts")
_UNIQUE_SINCE = ("demand_daily", "prices_daily", "shop_days")


@dataclass(frozen=True)
class Scope:
    """What of a file is looked at.

    Attributes:
        as_of: the night that it is of.
        added: partitions written, by table of the lake; a table that is not named is looked at whole.
        since: first day of demand, prices and shop days that may have been written; None: all.
        known_before: revisions known after this night were written.
    """

    as_of: date
    added: Mapping[str, Sequence[str]] = field(default_factory=dict)
    since: date | None = None
    known_before: date = date(1, 1, 1)

    def rows(self, table: str) -> str:
        """SQL that is true for the rows of a table that are looked at."""
        if table in _UNIQUE_SINCE and self.since is not None:
            return "day >= getvariable('checked_since')"
        if table == "demand_revisions":
            return "known_on > getvariable('checked_known')"
        if table in self.added:
            (column,) = TABLES[table].partition
            kind = next(c.type for c in TABLES[table].columns if c.name == column)
            return f"\"{column}\" IN (SELECT unnest(getvariable('added_{table}'))::{kind})"
        return "true"

    def prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        """Set the variables that the checks read."""
        con.execute("SET VARIABLE checked_since = $1::DATE", [self.since or date(1, 1, 1)])
        con.execute("SET VARIABLE checked_known = $1::DATE", [self.known_before])
        for table, values in self.added.items():
            con.execute(f"SET VARIABLE added_{table} = $1::VARCHAR[]", [list(values)])


def problems(con: duckdb.DuckDBPyConnection, scope: Scope, tables: tuple[str, ...]) -> list[str]:
    """What is wrong with the current database of a connection; nothing when it may be published.

    Args:
        con: connection whose current database is the new file.
        scope: what of it is looked at.
        tables: tables that it must have.
    """
    scope.prepare(con)
    return [
        f"{name}: {count:,}"
        for name, sql in _checks(scope, tables)
        if (count := con.execute(sql, {"as_of": scope.as_of} if "$as_of" in sql else {}).fetchall()[0][0])
    ]


def _checks(scope: Scope, tables: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Names of checks and the queries that count what breaks them."""
    yield (
        "tables missing",
        f"SELECT {len(tables)} - count(*) FROM duckdb_tables() "
        "WHERE database_name = current_database() AND NOT internal",
    )
    for name in tables:
        empty_key = " OR ".join(f'"{column}" IS NULL' for column in TABLES[name].key)
        yield (
            f"{name}, rows without their whole key",
            f"SELECT count(*) FROM {name} WHERE ({empty_key}) AND {scope.rows(name)}",
        )
    for name in _CONTRACT:
        yield (
            f"{name}, no rows of the night",
            f"SELECT (count(*) = 0)::INTEGER FROM {name} WHERE as_of = $as_of::DATE",
        )
        yield (
            f"{name}, rows that break the forecast contract",
            f"SELECT count(*) FROM {name} WHERE NOT coalesce({_contract()}, false) AND {scope.rows(name)}",
        )
        yield f"{name}, keys of the night twice", _twice(name, "as_of = $as_of::DATE")
    for name in (*_UNIQUE, *_UNIQUE_SINCE):
        yield f"{name}, keys twice", _twice(name, scope.rows(name))
    yield (
        "forecasts of items that the table of items does not have",
        "SELECT count(*) FROM (SELECT DISTINCT item_id FROM forecasts WHERE as_of = $as_of::DATE) "
        "WHERE item_id NOT IN (SELECT item_id FROM items)",
    )
    yield (
        "nights with forecasts that have not one current vintage",
        f"SELECT count(*) FROM (SELECT DISTINCT as_of FROM forecasts WHERE {scope.rows('forecasts')}) "
        "WHERE as_of NOT IN (SELECT as_of FROM vintages WHERE is_current GROUP BY as_of HAVING count(*) = 1)",
    )
    for what, listing in (
        ("tables", "duckdb_tables()"),
        ("views", "duckdb_views()"),
        ("columns", "duckdb_columns()"),
        ("macros", "duckdb_functions()"),
    ):
        yield (
            f"{what} without a comment",
            f"SELECT count(*) FROM {listing} "
            "WHERE database_name = current_database() AND NOT internal AND coalesce(comment, '') = ''",
        )


def _contract() -> str:
    """SQL that is true for a row that keeps DESIGN.md's forecast contract."""
    whole = [f"{column} = round({column})" for column in QUANTILE_COLUMNS]
    rising = [f"{low} <= {high}" for low, high in pairwise(QUANTILE_COLUMNS)]
    return " AND ".join(["isfinite(mean)", "mean >= 0", "isfinite(q95)", "q05 >= 0", *whole, *rising])


def _twice(table: str, where: str) -> str:
    key = ", ".join(f'"{column}"' for column in TABLES[table].key)
    return f"SELECT count(*) FROM (SELECT {key} FROM {table} WHERE {where} GROUP BY ALL HAVING count(*) > 1)"
