"""The plot of a replayed season: what each vintage said about it, against what came."""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb

from pipeline.lake import Lake, replace_file
from pipeline.publishing.query import connect
from pipeline.settings import SeasonSettings

PEAK_DAYS = 28
"""The season's last days, whose whole demand each vintage is asked for."""
_SHOWN = 5
_WEEKS = Path(__file__).with_name("season_weeks.sql").read_text(encoding="utf-8")
_INK, _SOFT, _MARK = "#1d2733", "#8a949e", "#1f6fb2"


@dataclass(frozen=True)
class SeasonSaid:
    """What was said about a season.

    Attributes:
        came: (first day of week, units).
        weeks: night → (first day of week, mean, q10, q90).
        peak: (night, expected, q10, q90, whether it covered all days ahead of time) of the season's last days.
        peak_came: units of those days; None while they have not come.
    """

    came: list[tuple[date, float]]
    weeks: dict[date, list[tuple[date, float, float, float]]]
    peak: list[tuple[date, float, float, float, bool]]
    peak_came: float | None


def write_season_plot(home: Path, name: str, season: SeasonSettings) -> Path:
    """Draw what the published vintages said about a season; returns the PNG in `report/seasons/`.

    Args:
        home: folder of the home.
        name: name of the season, or its nights.
        season: its nights.

    Raises:
        PublishError: nothing was published yet.
    """
    con = connect(home)
    try:
        said = season_said(con, season)
    finally:
        con.close()
    file = home / "report" / "seasons" / f"{quote(name.replace(' ', '_'))}.png"
    with Lake(home).scratch() as scratch:
        new = scratch / "season.png"
        _draw(said, name, season).savefig(new, format="png", metadata={"Software": None})
        replace_file(new, file)
    return file


def season_said(con: duckdb.DuckDBPyConnection, season: SeasonSettings) -> SeasonSaid:
    """Read a season out of the published file."""
    came: list[tuple[date, float]] = []
    weeks: dict[date, list[tuple[date, float, float, float]]] = {}
    for night, week, mean, low, high in con.execute(_WEEKS, {"first": season.first, "last": season.last}).fetchall():
        if night is None:
            came.append((week, mean))
        else:
            weeks.setdefault(night, []).append((week, mean, low, high))
    from_day = season.last - timedelta(days=PEAK_DAYS - 1)
    rows = con.execute(
        "SELECT as_of, sold_before + expected_covered, sold_before + q10_covered, sold_before + q90_covered, "
        "expected IS NOT NULL, actual FROM season_vintages($1::DATE, $2::DATE) "
        "WHERE as_of BETWEEN $3 AND $2::DATE AND (expected IS NOT NULL OR as_of >= $1::DATE) ORDER BY as_of",
        [from_day, season.last, season.first],
    ).fetchall()
    return SeasonSaid(came, weeks, [row[:5] for row in rows], rows[-1][5] if rows else None)


def _draw(said: SeasonSaid, name: str, season: SeasonSettings) -> Any:
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    # a stretch shorter than the peak has no peak that its nights looked ahead to
    has_peak = (season.last - season.first).days >= PEAK_DAYS and bool(said.peak)
    above, *rest = figure.subplots(1 + has_peak, 1, height_ratios=[3, 2][: 1 + has_peak], squeeze=False)[:, 0]
    nights = sorted(said.weeks)
    shown = nights[:: max(1, -(-len(nights) // _SHOWN))]
    for place, night in enumerate(shown):
        colour = colormaps["viridis"](0.9 - 0.8 * place / max(len(shown) - 1, 1))
        days, mean, low, high = zip(*said.weeks[night], strict=True)
        above.fill_between(days, low, high, color=colour, alpha=0.15, linewidth=0)
        above.plot(days, mean, color=colour, linewidth=1.6, marker=".", label=f"said on {night}")
    if said.came:
        days, units = zip(*said.came, strict=True)
        above.plot(days, units, color=_INK, linewidth=2.2, label="came")
    above.set_title(f"{name}: units of the whole shop by week (from Monday), mean and 80 % interval", loc="left")

    for below in rest:
        _draw_peak(below, said, season)
    for axes, corner in zip((above, *rest), ("upper left", "lower right"), strict=False):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8, loc=corner)
        axes.set_ylim(bottom=0)
        axes.margins(x=0.02)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(_SOFT)
        axes.grid(axis="y", color="#e3e7ec", linewidth=0.8)
        axes.tick_params(colors=_INK, labelsize=8, length=0)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    return figure


def _draw_peak(below: Any, said: SeasonSaid, season: SeasonSettings) -> None:
    """What each night expected of the season's last days."""
    for whole, marker in ((True, "o"), (False, "^")):
        points = [point for point in said.peak if point[4] is whole]
        if points:
            at, mean, low, high, _ = zip(*points, strict=True)
            below.vlines(at, low, high, color=_MARK, alpha=0.4, linewidth=4)
            told = "expected" if whole else "sold so far and expected"
            below.plot(at, mean, marker, color=_MARK, markersize=5, label=told)
    if said.peak_came is not None:
        below.axhline(said.peak_came, color=_INK, linewidth=1.6, label="came")
    first = season.last - timedelta(days=PEAK_DAYS - 1)
    below.set_title(f"the {PEAK_DAYS} days from {first} to {season.last}, as each night saw them", loc="left")
    below.set_xlabel("night")
