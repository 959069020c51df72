"""What a person sees at the end of a night: a short table of forecasts, the scores, and where to look."""

import math
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.lake import Lake
from pipeline.publishing.publish import published_file
from pipeline.publishing.query import Answer, connect

_HERE = Path(__file__).parent
_HEADLINE = (_HERE / "headline.sql").read_text(encoding="utf-8")
_SCORES = (_HERE / "scores.sql").read_text(encoding="utf-8")
_SHOWN = 200


def print_night(home: Path, night: date) -> None:
    """Print what a night made: forecasts of the best sellers, scores against the baselines, and where to look."""
    con = connect(home)
    try:
        forecasts = _answer(con, _HEADLINE, {"count": 8})
        scores = _answer(con, _SCORES, {"as_of": night})
    finally:
        con.close()
    console = Console()
    print_table(
        forecasts, title=f"Forecasts of the night of {night}: most units expected in four weeks", console=console
    )
    if scores.rows:
        print_table(scores, title="Backtest, all origins pooled (lower is better, bias near 0)", console=console)
    file = published_file(home)
    lines = [
        f"Tables and views  {file}",
        f"In SQL            almanac sql --home {home} \"SELECT * FROM rising_items('{night}', DATE '{night}' + 91) LIMIT 5\"",
        f"Season report     {home / 'report' / 'index.html'}",
        f"Dagster, MLflow   almanac ui --home {home}",
    ]
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def print_scores(home: Path, night: date) -> None:
    """Print the pooled scores of the newest backtest up to a night, from the lake."""
    lake = Lake(home)
    with lake.connect() as con:
        lake.attach(con, "backtest_scores")
        scores = _answer(con, _SCORES, {"as_of": night})
    print_table(scores, title=f"Backtest before {night}, all origins pooled (lower is better, bias near 0)")


def print_table(answer: Answer, *, title: str | None = None, console: Console | None = None) -> None:
    """Print rows as a table for people: the first 200, numbers to the right."""
    console = console or Console()
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for name, kind in zip(answer.columns, answer.types, strict=True):
        table.add_column(Text(name), justify="left" if _is_text(kind) else "right", no_wrap=not _is_text(kind))
    for row in answer.rows[:_SHOWN]:
        # Text, not str: an item called "[bold]" is no markup
        table.add_row(*(Text(_shown(value)) for value in row))
    console.print(table)
    if len(answer.rows) > _SHOWN:
        console.print(f"{_SHOWN} of {len(answer.rows):,} rows; --format csv gives all of them.")


def _answer(con: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any]) -> Answer:
    result = con.execute(sql, parameters)
    described = result.description or []
    return Answer(tuple(str(c[0]) for c in described), tuple(str(c[1]) for c in described), result.fetchall())


def _is_text(kind: str) -> bool:
    return kind.upper().startswith(("VARCHAR", "STRING", "STRUCT", "MAP")) or kind.endswith("]")


def _shown(value: Any) -> str:
    if isinstance(value, (float, Decimal)):
        number = float(value)
        if math.isnan(number):
            return ""
        return f"{number:,.3f}" if abs(number) < 1 else f"{number:,.2f}".rstrip("0").rstrip(".")
    return "" if value is None else str(value)
