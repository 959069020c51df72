"""SQL on the published file, read-only: what `almanac sql` answers.

The file is opened read-only and without access to the file system or the network, so that a query can neither change
what others read nor write anywhere else.
"""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb

from pipeline.errors import PublishError, QueryError
from pipeline.publishing.publish import published_file
from pipeline.settings import SETTINGS_FILE

Format = Literal["table", "csv", "json"]


@dataclass(frozen=True)
class Answer:
    """Rows of a query.

    Attributes:
        columns: names.
        types: DuckDB types.
        rows: values, as Python objects.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def as_csv(self) -> str:
        """The rows as CSV with a header; nulls are empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return text.getvalue()

    def as_json(self) -> str:
        """The rows as a JSON array of objects; dates, times and decimals as text."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return json.dumps(rows, ensure_ascii=False, default=str, indent=1)


def connect(home: Path) -> duckdb.DuckDBPyConnection:
    """Open a home's published file as an analyst would; the caller closes it.

    Raises:
        PublishError: nothing was published yet, or the file cannot be opened.
    """
    file = published_file(home)
    if not file.is_file():
        first = "" if (home / SETTINGS_FILE).is_file() else f"`almanac init --home {home}` to make a home there, then "
        raise PublishError(f"{file}: nothing is published yet; run {first}`almanac run --home {home}`")
    try:
        return duckdb.connect(str(file), read_only=True, config={"enable_external_access": "false"})
    except duckdb.Error as error:
        raise PublishError(
            f"{file}: cannot be opened as a DuckDB file ({error}); run `almanac run --home {home}` to publish it anew"
        ) from error


def query(home: Path, sql: str) -> Answer:
    """Answer one query from the published file.

    Args:
        home: the home.
        sql: a query; of several statements, the last one answers.

    Raises:
        PublishError: nothing was published yet.
        QueryError: DuckDB refuses the SQL; the message is its own.
    """
    con = connect(home)
    try:
        result = con.execute(sql) if con.extract_statements(sql) else None
        if result is None:
            raise QueryError(
                f"{published_file(home)}: no SQL was given; for example: SELECT * FROM forecast_latest LIMIT 5"
            )
        described = result.description or []
        return Answer(tuple(str(c[0]) for c in described), tuple(str(c[1]) for c in described), result.fetchall())
    except duckdb.Error as error:
        raise QueryError(f"{published_file(home)}: {error}") from error
    finally:
        con.close()


def print_query(home: Path, sql: str, output: str = "table") -> None:
    """Print the answer to a query: as a table for people, or as CSV or JSON for programs."""
    answer = query(home, sql)
    if output == "csv":
        print(answer.as_csv(), end="")
    elif output == "json":
        print(answer.as_json())
    else:
        from pipeline.publishing.summary import print_table

        print_table(answer)
