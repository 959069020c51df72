"""What a person sees at the end of a night: a short table of forecasts, the scores, and where to look."""

import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from pipeline.ingestion.standing import attach_marks
from pipeline.lake import Lake
from pipeline.models.registry import MODEL
from pipeline.publishing.publish import published_file
from pipeline.publishing.query import Answer, connect
from pipeline.publishing.season_plot import PEAK_DAYS
from pipeline.publishing.text_table import text_table
from pipeline.settings import load_settings

_HERE = Path(__file__).parent
_HEADLINE = (_HERE / "headline.sql").read_text(encoding="utf-8")
_SCORES = (_HERE / "scores.sql").read_text(encoding="utf-8")
_LATER_CORRECTIONS = (_HERE / "later_corrections.sql").read_text(encoding="utf-8")
_SHOWN = 200


def program() -> str:
    """How this person starts the command line: `.venv/bin/almanac` from a checkout."""
    started = sys.argv[0]
    return started if Path(started).name == "almanac" else "almanac"


def print_night(home: Path, night: date, model_version: str | None = None) -> None:
    """Print what a night made: forecasts of the best sellers, scores against the baselines, and where to look.

    Args:
        home: the home.
        night: the night.
        model_version: version that a person named; default: the night's own.
    """
    con = connect(home)
    try:
        asked = {"count": 8, "as_of": night, "model_version": model_version}
        forecasts = _answer(con, _HEADLINE, asked)
        newest, own, degraded = con.execute(
            "SELECT (SELECT max(as_of) FROM forecasts), min_by(model_version, NOT is_current), min_by(degraded, NOT is_current) "
            "FROM vintages WHERE as_of = $1 AND ($2::VARCHAR IS NULL OR model_version = $2)",
            [night, model_version],
        ).fetchall()[0]
        scores, scored = backtest_of(con, night)
    finally:
        con.close()
    by = model_version or own
    if forecasts.rows:
        print_table(forecasts, title=f"Forecasts of the night of {night} by {by}: most units expected in four weeks")
    else:
        print(
            f"The forecasts of the night of {night} by {by} are in {home / 'lake' / 'forecasts'}, not in the published file, "
            "where newer nights come first (publishing.max_forecast_rows).\n"
        )
    if degraded:
        print(f"DEGRADED: forecast without some members of the model. {degraded}\n")
    if scores.rows:
        _print_backtest(scores, scored)
        _tell_who_won(scores)
    _tell_later_corrections(home, night)
    query = f"SELECT * FROM rising_items(DATE '{night}' + 1, DATE '{night}' + 91) LIMIT 5"
    if model_version or night != newest:
        version = f" AND model_version = '{model_version}'" if model_version else ""
        query = f"SELECT * FROM forecasts WHERE as_of = DATE '{night}'{version} LIMIT 5"
    print(f"Tables and views  {published_file(home)}")
    print(f'In SQL            {program()} sql --home {home} "{query}"')
    print(f"Season report     {home / 'report' / 'index.html'}")
    print(f"Dagster, MLflow   {program()} ui --home {home}")


def print_backfill(
    home: Path, made: Sequence[date], kept: Sequence[date], seconds: float, plot: Path, *, refused: Sequence[date] = ()
) -> None:
    """Print what a backfill did, and how to ask what its nights said."""
    stood = f", {len(kept)} stood already" if kept else ""
    left = f", {len(refused)} left as they are: see above" if refused else ""
    print(f"{len(made)} nights made in {seconds:,.0f} s{stood}{left}.")
    nights = [*made, *kept, *refused]
    first, last = min(nights), max(nights)
    days = (
        f"DATE '{last}' - 27, DATE '{last}'"
        if (last - first).days >= PEAK_DAYS
        else f"DATE '{last}' + 1, DATE '{last}' + 28"
    )
    expected = f"SELECT * FROM season_vintages({days})"
    print(f'What each said   {program()} sql --home {home} "{expected}"')
    print(f"In a plot        {plot}")
    print(f"Still the same?  {program()} verify --home {home} --as-of {first}")


def _tell_who_won(scores: Answer) -> None:
    """Say it plainly when a baseline did better than the kind of model that forecasts."""
    named = [str(row[scores.columns.index("model")]) for row in scores.rows]
    best = named[0]
    if f"{MODEL} (degraded)" in named:
        print(
            f"DEGRADED: at some origins the {MODEL} was scored without some of its members, which had too little time or failed: the "
            "log above names them. Run again when the machine is free, or raise backtest.max_seconds in almanac.yaml.\n"
        )
    elif best != MODEL:
        print(
            f"The {MODEL} did not beat {best} in this backtest: give it more training "
            "(training.max_seconds, backtest.max_seconds in almanac.yaml), or do not rely on it yet.\n"
        )


def _tell_later_corrections(home: Path, night: date) -> None:
    """Say which corrections came after a night: dropped into a home of old data they come after all its nights."""
    lake = Lake(home)
    with lake.connect() as con:
        attach_marks(lake, con, "raw_files", "data_quality")
        asked = {"as_of": night, "time_zone": load_settings(home).shop.timezone}
        found = con.execute(_LATER_CORRECTIONS, asked).fetchall()
    if found:
        lines, name, known_on = found[-1]
        more = f", and those of {len(found) - 1:,} files more came after it too" if len(found) > 1 else ""
        print(f"{lines:,} corrected lines of {name} are known from {known_on}, after this night{more}.\n")


def print_scores(home: Path, night: date) -> None:
    """Print the pooled scores of the newest backtest up to a night, from the lake."""
    lake = Lake(home)
    with lake.connect() as con:
        lake.attach(con, "backtest_scores")
        scores, scored = backtest_of(con, night)
    _print_backtest(scores, scored)


def backtest_of(con: duckdb.DuckDBPyConnection, night: date) -> tuple[Answer, date | None]:
    """Pooled scores of the newest backtest up to a night, and the night that it was of."""
    scored = con.execute("SELECT max(as_of) FROM backtest_scores WHERE as_of <= $1::DATE", [night]).fetchall()[0][0]
    return _answer(con, _SCORES, {"as_of": scored}), scored


def _print_backtest(scores: Answer, scored: date | None) -> None:
    # each origin trains a network of its own: no score is of the version that forecasts
    title = f"Backtest before the night of {scored}: models trained anew at each origin, all origins pooled"
    print_table(scores, title=f"{title} (lower is better, bias near 0)")


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
    if not answer.rows:
        print("no rows")
    if len(answer.rows) > _SHOWN:
        print(f"{_SHOWN} of {len(answer.rows):,} rows; --format csv gives all of them.")


def _answer(con: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any]) -> Answer:
    result = con.execute(sql, parameters)
    described = result.description or []
    return Answer(tuple(str(c[0]) for c in described), tuple(str(c[1]) for c in described), result.fetchall())
