"""Publish a night: build a new `almanac.duckdb` beside the old one, check it, and swap it in.

An open writer blocks readers of a DuckDB file, and one open reader blocks the writer. So the published file is never
written in place: it is built under another name and replaced by a rename. Whoever has the old file open keeps it,
whole, until it is closed; nobody ever sees half a night. The Parquet files of the lake stay the truth.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb

from pipeline.as_of import FACTS, AsOfView, as_of_view
from pipeline.errors import PublishError
from pipeline.lake import Lake, replace_file, sql_path
from pipeline.models.base import Progress, silent
from pipeline.publishing.checks import problems
from pipeline.publishing.comments import add_comments
from pipeline.settings import Settings
from pipeline.tables import TABLES

STORAGE_VERSION = "v1.4.0"
"""DuckDB 2.0 writes a format that 1.x clients cannot open, unless told otherwise."""

PUBLISHED = (
    "items",
    "demand_daily",
    "prices_daily",
    "shop_days",
    "calendar_daily",
    "calendar_events",
    "forecasts",
    "forecast_totals",
    "backtest_scores",
    "backtest_forecasts",
    "model_versions",
    "raw_files",
    "quarantined_order_lines",
    "data_quality",
    "cleaning_report",
)
"""Tables of the published file."""

_FROM_LAKE = tuple(name for name in PUBLISHED if TABLES[name].layer == "lake" and name not in FACTS)
_HERE = Path(__file__).parent
_TABLES_SQL = (_HERE / "tables.sql").read_text(encoding="utf-8")
_VIEWS_SQL = (_HERE / "views.sql").read_text(encoding="utf-8")
_VINTAGES_SQL = (_HERE / "vintages.sql").read_text(encoding="utf-8")


@dataclass(frozen=True)
class PublishReport:
    """What a publish did.

    Attributes:
        file: the published file.
        as_of: the night that it is of.
        rows: rows per table.
        bytes: size of the file.
        nights: nights whose forecasts it holds.
        nights_left_out: older nights that stay in the lake only, see `publishing.max_forecast_rows`.
        seconds: duration.
    """

    file: Path
    as_of: date
    rows: dict[str, int]
    bytes: int
    nights: int
    nights_left_out: int
    seconds: float


def published_file(home: Path) -> Path:
    """The file that analysts open."""
    return home / "warehouse" / "almanac.duckdb"


def publish(lake: Lake, settings: Settings, as_of: date, *, progress: Progress = silent) -> PublishReport:
    """Publish what a home knows on a night.

    Args:
        lake: the home's lake.
        settings: the home's settings.
        as_of: the night; facts and forecasts of later nights stay out.
        progress: told how many steps are done.

    Returns:
        What was published.

    Raises:
        HistoryError: no order was known on the night.
        PublishError: the new file failed its checks; the old one still stands.
        DiskFullError: the disk is full; the old file still stands.
    """
    began = time.perf_counter()
    file = published_file(lake.home)
    with as_of_view(lake, as_of, by_location=settings.shop.by_location) as view, _new_file(file) as new:
        progress("publish", 0, 3)
        nights, left_out = _fill(view, lake, settings, new)
        progress("publish", 1, 3)
        view.con.execute(f"ATTACH '{sql_path(new)}' AS published (READ_ONLY)")
        view.con.execute("USE published")
        wrong = problems(view.con, as_of, PUBLISHED)
        rows = {name: _count(view.con, name) for name in PUBLISHED}
        view.con.execute("USE memory")
        view.con.execute("DETACH published")
        if wrong:
            raise PublishError(
                f"{file}: the new file of the night of {as_of} was not published, because it failed its checks; "
                "the old one still stands:\n" + "\n".join(f"  {problem}" for problem in wrong)
            )
        progress("publish", 2, 3)
        replace_file(new, file)
    progress("publish", 3, 3)
    return PublishReport(
        file=file,
        as_of=as_of,
        rows=rows,
        bytes=file.stat().st_size,
        nights=nights,
        nights_left_out=left_out,
        seconds=time.perf_counter() - began,
    )


@contextmanager
def _new_file(file: Path) -> Iterator[Path]:
    """Where the new file is built; nothing of it is left behind, whatever happens, nor from a run that was killed."""
    new = file.with_name(file.name + ".new")
    leftovers = (new, new.with_name(new.name + ".wal"))
    file.parent.mkdir(parents=True, exist_ok=True)
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    try:
        yield new
    finally:
        for leftover in leftovers:
            leftover.unlink(missing_ok=True)


def _fill(view: AsOfView, lake: Lake, settings: Settings, new: Path) -> tuple[int, int]:
    """Write tables, views and comments into the new file; nights of forecasts that went in, and that did not."""
    con = view.con
    for name in _FROM_LAKE:
        con.execute(f'CREATE VIEW "lake_{name}" AS {lake.select(name)}')
    room = settings.publishing.max_forecast_rows
    nights = left_out = 0
    for variable, table in (("totals_from", "forecast_totals"), ("forecasts_from", "forecasts")):
        sql = _VINTAGES_SQL.replace("{table}", f"lake_{table}")
        oldest, found, fitting = con.execute(sql, {"as_of": view.as_of, "max_rows": room}).fetchall()[0]
        con.execute(f"SET VARIABLE {variable} = $1::DATE", [oldest or view.as_of])
        nights, left_out = fitting, found - fitting
    con.execute("SET VARIABLE horizon_days = $1::INTEGER", [settings.forecast.horizon_days])
    con.execute(f"ATTACH '{sql_path(new)}' AS published (STORAGE_VERSION '{STORAGE_VERSION}')")
    try:
        con.execute(_TABLES_SQL)
        con.execute("USE published")
        con.execute(_VIEWS_SQL)
        add_comments(con, PUBLISHED)
        con.execute("CHECKPOINT published")
    finally:
        con.execute("USE memory")
        con.execute("DETACH published")
    return nights, left_out


def _count(con: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(con.execute(f'SELECT count(*) FROM "{table}"').fetchall()[0][0])
