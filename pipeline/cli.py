"""The command line `almanac`: thin over the Dagster jobs, so that every run's history shows in the UI.

Heavy libraries are imported inside the commands: `almanac --help` answers at once.
"""

import atexit
import os
import re
import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from pipeline.errors import AlmanacError, SettingsError, TransientError, is_stop
from pipeline.settings import home_folder

app = typer.Typer(
    name="almanac",
    help="Raw order lines in, a nightly almanac of seasonal demand out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

EXIT_PERMANENT = 1
EXIT_TRANSIENT = 75
"""EX_TEMPFAIL of sysexits.h: the same command may succeed later."""

_HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="Folder of the shop; default: ALMANAC_HOME, else data/ of the checkout."),
]

_ForceOption = Annotated[bool, typer.Option("--force", help="Make anew what stands already.")]


class Example(StrEnum):
    """Homes that `init` can make."""

    COMPLETE_JOURNEY = "complete-journey"
    GENERATED_SHOP = "generated-shop"
    ONLINE_RETAIL_II = "online-retail-ii"


class Control(StrEnum):
    """What `backtest` takes from the words; of `pipeline.models.controls`."""

    SHUFFLE_TEXT = "shuffle-text"
    CATEGORY_ONLY = "category-only"


class Format(StrEnum):
    """How `sql` prints."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@app.command(epilog="Example: `almanac init --home shop --example generated-shop`")
def init(
    home: _HomeOption = None,
    example: Annotated[Example | None, typer.Option(help="Start from an example; default: an empty home.")] = None,
    orders: Annotated[
        Path | None, typer.Option(help="Folder of the order files, for examples that do not carry their own.")
    ] = None,
    small: Annotated[
        bool, typer.Option("--small", help="A small generated shop, for a first look and for CI.")
    ] = False,
) -> None:
    """Make a home: settings, drop folder and, for an example, its orders."""
    from pipeline.examples.homes import SMALL_SHOP, init_home
    from pipeline.publishing.summary import program

    if small and example is not Example.GENERATED_SHOP:
        raise SettingsError("--small goes with --example generated-shop; the other examples are as large as they are")

    report = init_home(
        home_folder(home), example.value if example else None, orders=orders, shop=SMALL_SHOP if small else None
    )
    files = f"{len(report.files)} files in its drop folder" if report.files or not orders else f"orders in {orders}"
    print(f"Home made in {report.home}: settings in almanac.yaml, {files}.")
    night = f" --as-of {report.as_of}" if report.as_of else ""
    print(f"Next: {program()} run --home {report.home}{night}")


@app.command(epilog="Example: `almanac run --home shop --as-of 2017-11-26`")
def run(
    home: _HomeOption = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            "--as-of", formats=["%Y-%m-%d"], help="The night: last day known. Default: the last day with orders."
        ),
    ] = None,
    model_version: Annotated[
        str | None,
        typer.Option("--model-version", help="Forecast with this version, whatever the night knew, and train none."),
    ] = None,
    force: _ForceOption = False,
) -> None:
    """Run one night: ingest, validate, clean, enrich, train, backtest, forecast, publish.

    A night that was forecast keeps its forecasts as they were made; `--force` makes them anew.
    """
    from pipeline.orchestration.runs import run_night
    from pipeline.publishing.summary import print_night

    folder = home_folder(home)
    night = run_night(folder, as_of.date() if as_of else None, model_version=model_version, force=force)
    print_night(folder, night, model_version)


@app.command(epilog="Example: `almanac backfill --home shop --from 2010-09-05 --to 2011-08-28 --every 7d`")
def backfill(
    home: _HomeOption = None,
    *,
    first: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First night.")] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last night.")] = None,
    every: Annotated[str, typer.Option("--every", help="Step between nights: 1d, 7d, 4w.")] = "7d",
    season: Annotated[
        str | None, typer.Option("--season", help="A season of almanac.yaml, in place of --from and --to.")
    ] = None,
    force: _ForceOption = False,
) -> None:
    """Make past nights, each from what it knew. Nights that stand are kept; a killed backfill goes on where it was."""
    from pipeline.orchestration.backfill import backfill as run_backfill
    from pipeline.orchestration.backfill import nights_between
    from pipeline.orchestration.backfill import season as season_of
    from pipeline.publishing.season_plot import write_season_plot
    from pipeline.publishing.summary import print_backfill
    from pipeline.settings import SeasonSettings, load_settings

    folder = home_folder(home)
    if season is not None:
        if first or last:
            raise SettingsError("--season says from when to when; leave out --from and --to")
        window = season_of(load_settings(folder), season)
    elif first and last:
        window = SeasonSettings.model_construct(first=first.date(), last=last.date())
    else:
        raise SettingsError("give --from and --to (2010-09-05), or --season with a name from `seasons` in almanac.yaml")
    nights = nights_between(window.first, window.last, _days(every), with_last=season is not None)
    report = run_backfill(folder, nights, force=force)
    name = season or f"{window.first} to {window.last}"
    plot = write_season_plot(folder, name, window)
    print_backfill(folder, report.made, report.kept, report.seconds, plot, refused=report.refused)
    if report.refused:
        raise typer.Exit(EXIT_PERMANENT)


@app.command(epilog="Example: `almanac verify --home shop --as-of 2017-11-26`")
def verify(
    home: _HomeOption = None,
    as_of: Annotated[
        datetime | None, typer.Option("--as-of", formats=["%Y-%m-%d"], help="The night. Default: the newest.")
    ] = None,
) -> None:
    """Make the stored forecasts of a night again, from what it knew, and compare them byte for byte."""
    from pipeline.orchestration.verify import verify_night

    replayed = verify_night(home_folder(home), as_of.date() if as_of else None)
    for one in replayed:
        vintage = one.vintage
        rows = f"{vintage.forecast_rows:,} + {vintage.total_rows:,} rows"
        verdict = "the same, byte for byte" if one.same_bytes else "the same" if one.same else "NOT the same"
        print(f"{vintage.as_of} by {vintage.model_version}, {rows}: {verdict}")
        for told in one.told:
            print(f"  {told}")
    if not all(one.same for one in replayed):
        raise typer.Exit(EXIT_PERMANENT)


@app.command(epilog="Example: `almanac backtest --home shop --as-of 2017-11-26`")
def backtest(
    home: _HomeOption = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            "--as-of", formats=["%Y-%m-%d"], help="The night before which origins lie. Default: the last known."
        ),
    ] = None,
    leaderboard: Annotated[
        bool,
        typer.Option("--leaderboard", help="Score every forecaster of the house, on or off, within its budget."),
    ] = False,
    control: Annotated[
        list[Control] | None,
        typer.Option("--control", help="Score the model without what words tell too; may be given twice."),
    ] = None,
) -> None:
    """Score the model and the baselines at rolling origins before a night."""
    from pipeline.orchestration.runs import run_backtest_job
    from pipeline.publishing.summary import print_leaderboard, print_scores

    folder = home_folder(home)
    night = run_backtest_job(folder, as_of.date() if as_of else None, leaderboard=leaderboard, controls=control or ())
    print_scores(folder, night)
    if leaderboard:
        print_leaderboard(folder, night)


@app.command(epilog="Example: `almanac tune --home shop --minutes 120`")
def tune(
    minutes: Annotated[float, typer.Option("--minutes", help="Most minutes of this call.")],
    home: _HomeOption = None,
    as_of: Annotated[
        datetime | None,
        typer.Option("--as-of", formats=["%Y-%m-%d"], help="The night before whose backtest it is judged."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, help="Most trials in all, those of earlier calls included.")
    ] = None,
) -> None:
    """Search better settings of the networks, on past days that no backtest scores; a killed search goes on.

    Nothing is changed: what was found is printed as lines for almanac.yaml.
    """
    from pipeline.orchestration.tune import tune as run_search
    from pipeline.publishing.search_tables import print_search

    tuned = run_search(home_folder(home), minutes, as_of=as_of.date() if as_of else None, trials=trials)
    print_search(tuned.found, tuned.gain)


@app.command(epilog="Example: `almanac models --home shop --version 3`")
def models(
    home: _HomeOption = None,
    version: Annotated[
        str | None, typer.Option("--version", help="All of one version: its name, or its number alone.")
    ] = None,
) -> None:
    """List the model versions: what they come from, what the gate said of them, how they scored; or one in full."""
    from pipeline.orchestration.models import describe_model, list_models
    from pipeline.publishing.model_tables import print_model, print_models

    folder = home_folder(home)
    if version is None:
        print_models(list_models(folder))
    else:
        print_model(describe_model(folder, version))


@app.command(epilog="Example: `almanac rollback --home shop --to 3`")
def rollback(
    home: _HomeOption = None,
    to: Annotated[
        str | None, typer.Option("--to", help="Version to put back, by name or number. Default: the champion before.")
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option("--as-of", formats=["%Y-%m-%d"], help="First night that it serves. Default: the newest night."),
    ] = None,
) -> None:
    """Put an earlier model version back as champion. Nights before stay as they were made, and replay as they did."""
    from pipeline.orchestration.models import roll_back

    done = roll_back(home_folder(home), to, as_of.date() if as_of else None)
    until = f" up to {done.until}, when a champion takes over that was trained then" if done.until else ""
    print(f"{done.version} is champion in place of {done.replaced}: nights from {done.as_of} on use it{until}.")
    print(f"A night that stands keeps its forecasts; run it again to have it by {done.version}, too.")


@app.command(epilog='Example: `almanac sql --home shop "SELECT * FROM forecast_latest LIMIT 5"`')
def sql(
    query: Annotated[str, typer.Argument(help="SQL over the published tables, read-only.")],
    home: _HomeOption = None,
    output: Annotated[Format, typer.Option("--format", help="How to print the rows.")] = Format.TABLE,
) -> None:
    """Ask the published almanac.duckdb, at any hour, also during a run."""
    from pipeline.publishing.query import print_query

    print_query(home_folder(home), query, output.value)


@app.command(epilog="Example: `almanac ui --home shop`")
def ui(
    home: _HomeOption = None,
    port: Annotated[int, typer.Option(help="Port of the Dagster UI; MLflow gets the next one.")] = 3000,
) -> None:
    """Dagster and MLflow in the browser, with the schedules and sensors of this home."""
    from pipeline.orchestration.runs import serve_ui

    serve_ui(home_folder(home), port)


@app.command(epilog="Example: `almanac doctor --home shop`")
def doctor(home: _HomeOption = None) -> None:
    """Look at the machine and the home, and say what to mend."""
    from pipeline.doctor import examine

    findings = examine(home_folder(home))
    table = Table("check", "state", Column("finding", overflow="fold"))
    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    for finding in findings:
        table.add_row(finding.check, f"[{colours[finding.state]}]{finding.state}[/]", finding.text)
    Console().print(table)
    if any(finding.state == "fail" for finding in findings):
        raise typer.Exit(EXIT_PERMANENT)


def _days(text: str) -> int:
    """Days of a step such as 7d or 4w.

    Raises:
        SettingsError: it is none.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,3})([dw])", text)
    if found is None:
        raise SettingsError(f"--every {text}: no number of days or weeks; write 1d, 7d or 4w")
    return int(found[1]) * (7 if found[2] == "w" else 1)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; one clear message instead of a traceback for whatever a person can mend."""
    try:
        result: Any = app(args=arguments, standalone_mode=False)
    except AlmanacError as error:
        print(f"almanac: {error}", file=sys.stderr)
        return EXIT_TRANSIENT if isinstance(error, TransientError) else EXIT_PERMANENT
    except typer.Abort:
        print("almanac: stopped", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        return _stopped()
    except Exception as error:
        if is_stop(type(error).__name__, str(error)):
            return _stopped()
        show = getattr(error, "show", None)  # usage errors of the command line know how to print themselves
        if show is None:
            raise
        show()
        return int(getattr(error, "exit_code", 2))
    return result if isinstance(result, int) else 0


def _stopped() -> int:
    print("almanac: stopped; run the same command again to carry on", file=sys.stderr)
    return 130


def entry() -> None:
    """The console script: `main`, and then a quiet end."""
    # DuckDB 2.0's binding (nanobind) reports leaked types on stderr while the interpreter shuts down, 60 lines that
    # read like a crash and mean nothing; what is registered first runs last, after everybody else's farewell
    atexit.register(lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 2))
    sys.exit(main())


if __name__ == "__main__":
    entry()
