"""Comments of the published file: every table, view, macro and column says what it is.

Tables take theirs from `pipeline/tables`. Views and macros have theirs beside their SQL (`views.sql` …); a view's column that is
taken over from a table keeps the table's meaning without saying it twice.
"""

import duckdb

from pipeline.ingestion.mapping import sql_text
from pipeline.tables import TABLES

_TAKEN_FROM = ("forecasts", "forecast_totals", "vintages", "items", "similar_items", "demand_daily")


def add_comments(con: duckdb.DuckDBPyConnection, tables: tuple[str, ...]) -> None:
    """Comment the tables of the current database, and those columns of its views that have no comment yet."""
    for name in tables:
        con.execute(f'COMMENT ON TABLE "{name}" IS {sql_text(TABLES[name].meaning)}')
        for column in TABLES[name].published_columns:
            con.execute(f'COMMENT ON COLUMN "{name}"."{column.name}" IS {sql_text(column.meaning)}')
    taken = [column for table in reversed(_TAKEN_FROM) for column in TABLES[table].published_columns]
    meanings = {column.name: column.meaning for column in taken}
    for view, column in con.execute(
        "SELECT table_name, column_name FROM duckdb_columns() "
        "WHERE database_name = current_database() AND NOT internal AND comment IS NULL "
        "AND table_name IN (SELECT view_name FROM duckdb_views() WHERE database_name = current_database())"
    ).fetchall():
        if column in meanings:
            con.execute(f'COMMENT ON COLUMN "{view}"."{column}" IS {sql_text(meanings[column])}')
