"""Checks of a newly built file, before it takes the place of the old one.

Each check is one query that finds what is wrong; the names are what a person reads when a publish is refused.
"""

from collections.abc import Iterator
from datetime import date
from itertools import pairwise

import duckdb

from pipeline.settings import QUANTILE_COLUMNS
from pipeline.tables import TABLES

_CONTRACT = ("forecasts", "forecast_totals")
_UNIQUE = ("items", "model_versions", "backtest_scores")


def problems(con: duckdb.DuckDBPyConnection, as_of: date, tables: tuple[str, ...]) -> list[str]:
    """What is wrong with the current database of a connection; nothing when it may be published.

    Args:
        con: connection whose current database is the new file.
        as_of: the night that it is of.
        tables: tables that it must have.
    """
    return [
        f"{name}: {count:,}"
        for name, sql in _checks(tables)
        if (count := con.execute(sql, {"as_of": as_of} if "$as_of" in sql else {}).fetchall()[0][0])
    ]


def _checks(tables: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Names of checks and the queries that count what breaks them."""
    yield (
        "tables missing",
        f"SELECT {len(tables)} - count(*) FROM duckdb_tables() "
        "WHERE database_name = current_database() AND NOT internal",
    )
    for name in tables:
        empty_key = " OR ".join(f'"{column}" IS NULL' for column in TABLES[name].key)
        yield f"{name}, rows without their whole key", f"SELECT count(*) FROM {name} WHERE {empty_key}"
    for name in _CONTRACT:
        yield (
            f"{name}, no rows of the night",
            f"SELECT (count(*) = 0)::INTEGER FROM {name} WHERE as_of = $as_of::DATE",
        )
        yield (
            f"{name}, rows that break the forecast contract",
            f"SELECT count(*) FROM {name} WHERE NOT coalesce({_contract()}, false)",
        )
        yield f"{name}, keys of the night twice", _twice(name, "as_of = $as_of::DATE")
    for name in _UNIQUE:
        yield f"{name}, keys twice", _twice(name, "true")
    yield (
        "forecasts of items that the table of items does not have",
        "SELECT count(*) FROM (SELECT DISTINCT item_id FROM forecasts WHERE as_of = $as_of::DATE) "
        "WHERE item_id NOT IN (SELECT item_id FROM items)",
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
