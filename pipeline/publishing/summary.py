"""What a person sees at the end of a night: a short table of forecasts, the scores, and where to look."""

import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from pipeline.lake import Lake
from pipeline.models.registry import MODEL
from pipeline.publishing.publish import published_file
from pipeline.publishing.query import Answer, connect
from pipeline.publishing.text_table import text_table

_HERE = Path(__file__).parent
_HEADLINE = (_HERE / "headline.sql").read_text(encoding="utf-8")
_SCORES = (_HERE / "scores.sql").read_text(encoding="utf-8")
_SHOWN = 200


def program() -> str:
    """How this person starts the command line: `.venv/bin/almanac` from a checkout."""
    started = sys.argv[0]
    return started if Path(started).name == "almanac" else "almanac"


def print_night(home: Path, night: date) -> None:
    """Print what a night made: forecasts of the best sellers, scores against the baselines, and where to look."""
    con = connect(home)
    try:
        forecasts = _answer(con, _HEADLINE, {"count": 8})
        scores = _answer(con, _SCORES, {"as_of": night})
    finally:
        con.close()
    print_table(forecasts, title=f"Forecasts of the night of {night}: most units expected in four weeks")
    if scores.rows:
        print_table(scores, title="Backtest, all origins pooled (lower is better, bias near 0)")
        _tell_who_won(scores)
    rising = f"SELECT * FROM rising_items(DATE '{night}', DATE '{night}' + 91) LIMIT 5"
    print(f"Tables and views  {published_file(home)}")
    print(f'In SQL            {program()} sql --home {home} "{rising}"')
    print(f"Season report     {home / 'report' / 'index.html'}")
    print(f"Dagster, MLflow   {program()} ui --home {home}")


def print_backfill(home: Path, made: Sequence[date], kept: Sequence[date], seconds: float, plot: Path) -> None:
    """Print what a backfill did, and how to ask what its nights said."""
    stood = f", {len(kept)} stood already" if kept else ""
    print(f"{len(made)} nights made in {seconds:,.0f} s{stood}.")
    first, last = min([*made, *kept]), max([*made, *kept])
    expected = f"SELECT * FROM season_vintages(DATE '{last}' - 27, DATE '{last}')"
    print(f'What each said   {program()} sql --home {home} "{expected}"')
    print(f"In a plot        {plot}")
    print(f"Still the same?  {program()} verify --home {home} --as-of {first}")


def _tell_who_won(scores: Answer) -> None:
    """Say it plainly when a baseline did better than the model that forecasts."""
    best = scores.rows[0][scores.columns.index("model")]
    if best != MODEL:
        print(
            f"The {MODEL}, which made these forecasts, did not beat {best} in this backtest: give it more training "
            "(training.max_seconds, backtest.max_seconds in almanac.yaml), or do not rely on it yet.\n"
        )


def print_scores(home: Path, night: date) -> None:
    """Print the pooled scores of the newest backtest up to a night, from the lake."""
    lake = Lake(home)
    with lake.connect() as con:
        lake.attach(con, "backtest_scores")
        scores = _answer(con, _SCORES, {"as_of": night})
    print_table(scores, title=f"Backtest before {night}, all origins pooled (lower is better, bias near 0)")


def print_leaderboard(home: Path, night: date) -> None:
    """Say where the leaderboard lies, and who could not take part."""
    csv = home / "report" / "leaderboard" / f"{night}.csv"
    failed = pd.read_csv(csv, index_col="model")["failed"].dropna()
    for model, why in failed.items():
        print(f"{model} did not take part: {why}")
    print(f"Leaderboard       {csv}\nIn a picture      {csv.with_suffix('.png')}")


def print_table(answer: Answer, *, title: str = "") -> None:
    """Print rows as a table for people: the first 200, with a word about the rest."""
    if title:
        print(title + "\n")
    print(text_table(answer.columns, answer.rows[:_SHOWN]) + "\n")
    if len(answer.rows) > _SHOWN:
        print(f"{_SHOWN} of {len(answer.rows):,} rows; --format csv gives all of them.")


def _answer(con: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any]) -> Answer:
    result = con.execute(sql, parameters)
    described = result.description or []
    return Answer(tuple(str(c[0]) for c in described), tuple(str(c[1]) for c in described), result.fetchall())
