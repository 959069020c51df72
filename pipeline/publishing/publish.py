"""Publish a night: bring a copy of `almanac.duckdb` up to date, or build it anew, check it, and swap it in.

An open writer blocks readers of a DuckDB file, and one open reader blocks the writer. So the published file is never
written in place: it is made under another name and replaced by a rename. Whoever has the old file open keeps it,
whole, until it is closed; nobody ever sees half a night. The Parquet files of the lake stay the truth.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb

from pipeline.as_of import as_of_view
from pipeline.errors import PublishError
from pipeline.lake import Lake, replace_file, sql_path
from pipeline.models.base import Progress, silent
from pipeline.publishing.checks import Scope, problems
from pipeline.publishing.fill import PUBLISHED, Filled, fill
from pipeline.publishing.plan import STORAGE_VERSION, Plan, make_plan
from pipeline.settings import Settings


@dataclass(frozen=True)
class PublishReport:
    """What a publish did.

    Attributes:
        file: the published file.
        as_of: the night that it is of.
        why_full: why the file was built in full; empty when it was brought up to date.
        since: first day whose demand was looked at again; None when the file was built in full.
        rows: rows per table.
        bytes: size of the file.
        nights: nights whose forecasts it holds.
        nights_left_out: older nights that stay in the lake only, see `publishing.max_forecast_rows`.
        seconds: duration.
    """

    file: Path
    as_of: date
    why_full: str
    since: date | None
    rows: dict[str, int]
    bytes: int
    nights: int
    nights_left_out: int
    seconds: float


def published_file(home: Path) -> Path:
    """The file that analysts open."""
    return home / "warehouse" / "almanac.duckdb"


def publish(
    lake: Lake, settings: Settings, as_of: date, *, full: bool = False, progress: Progress = silent
) -> PublishReport:
    """Publish what a home knows on a night.

    Args:
        lake: the home's lake.
        settings: the home's settings.
        as_of: the night; facts and forecasts of later nights stay out.
        full: build the file in full even though the standing one could be brought up to date.
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
    plan = make_plan(lake, settings, as_of, file, full=full)
    progress("publish", 0, 3)
    try:
        filled, rows = _publish(lake, settings, plan, file, progress)
    except duckdb.Error as error:
        if plan.why_full:
            raise
        # the file that stands is damaged, or somebody wrote into it: the lake has all that it takes
        plan = plan.in_full(f"the file that stands cannot be brought up to date ({error})")
        filled, rows = _publish(lake, settings, plan, file, progress)
    progress("publish", 3, 3)
    return PublishReport(
        file=file,
        as_of=as_of,
        why_full=plan.why_full,
        since=plan.since,
        rows=rows,
        bytes=file.stat().st_size,
        nights=filled.nights,
        nights_left_out=filled.left_out,
        seconds=time.perf_counter() - began,
    )


def _publish(
    lake: Lake, settings: Settings, plan: Plan, file: Path, progress: Progress
) -> tuple[Filled, dict[str, int]]:
    """Make the new file beside the old one, check it and swap it in."""
    by_location = settings.shop.by_location
    with (
        as_of_view(lake, plan.as_of, by_location=by_location, since=plan.since) as view,
        _new_file(file) as new,
    ):
        con = view.con
        if not plan.why_full:
            _copy(file, new)
        con.execute(f"ATTACH '{sql_path(new)}' AS published (STORAGE_VERSION '{STORAGE_VERSION}')")
        try:
            filled = fill(view, lake, settings, plan)
            _describe(con, plan, new)
        finally:
            con.execute("USE memory")
            con.execute("DETACH published")
        progress("publish", 1, 3)
        con.execute(f"ATTACH '{sql_path(new)}' AS published (READ_ONLY)")
        con.execute("USE published")
        scope = Scope(plan.as_of, {} if plan.why_full else filled.added, plan.since, plan.published)
        wrong = problems(con, scope, PUBLISHED)
        rows = {name: _count(con, name) for name in PUBLISHED}
        con.execute("USE memory")
        con.execute("DETACH published")
        if wrong:
            raise PublishError(
                f"{file}: the new file of the night of {plan.as_of} was not published, because it failed its checks; "
                "the old one still stands:\n" + "\n".join(f"  {problem}" for problem in wrong)
            )
        progress("publish", 2, 3)
        replace_file(new, file)
    return filled, rows


def _describe(con: duckdb.DuckDBPyConnection, plan: Plan, new: Path) -> None:
    """Write what the file is of, and all of it into the file itself."""
    if plan.why_full:
        con.execute("CHECKPOINT published")  # before it the size is not known
        size = new.stat().st_size
        con.execute("INSERT INTO published.publication VALUES ($1, $2, $1, $3)", [plan.as_of, plan.format, size])
    else:
        con.execute("UPDATE published.publication SET as_of = $1", [plan.as_of])
    con.execute("CHECKPOINT published")


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


def _copy(file: Path, new: Path) -> None:
    """Copy the published file; in the kernel, and without copying a byte on file systems that share blocks."""
    try:
        with file.open("rb") as source, new.open("wb") as target:
            left = os.fstat(source.fileno()).st_size
            while left and (copied := os.copy_file_range(source.fileno(), target.fileno(), left)):
                left -= copied
    except (AttributeError, OSError):  # not on macOS, Windows and some network disks
        shutil.copyfile(file, new)


def _count(con: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(con.execute(f'SELECT count(*) FROM "{table}"').fetchall()[0][0])
