"""The season report: one small HTML page, self-contained, made from the published file.

It shows what analysts can also query: nothing is computed here that is not in `almanac.duckdb`. Item texts come from
orders and may hold anything, so every text is escaped.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import duckdb

from pipeline.errors import PublishError
from pipeline.lake import Lake, replace_file
from pipeline.publishing.fan_plot import Fan, inline_png
from pipeline.publishing.publish import published_file
from pipeline.publishing.query import connect
from pipeline.publishing.summary import backtest_of
from pipeline.publishing.text_table import shown
from pipeline.settings import Settings

_HERE = Path(__file__).parent
_CARDS = 6
_ROWS = 20
_LIKES = 3
_WEEKS = 60
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class SeasonReport:
    """What was written.

    Attributes:
        file: the page.
        items: item ids of the cards, those that will rise most first.
        bytes: size of the page.
        seconds: duration.
    """

    file: Path
    items: tuple[str, ...]
    bytes: int
    seconds: float


def report_file(home: Path) -> Path:
    """The page that people open."""
    return home / "report" / "index.html"


def write_season_report(lake: Lake, settings: Settings) -> SeasonReport:
    """Write the season report of the published night.

    Args:
        lake: the home's lake; the page goes beside it.
        settings: the shop's name.

    Raises:
        PublishError: nothing was published yet.
    """
    began = time.perf_counter()
    file = report_file(lake.home)
    con = connect(lake.home)
    try:
        page, items = _page(con, lake.home, settings)
    finally:
        con.close()
    with lake.scratch() as scratch:
        new = scratch / file.name
        new.write_text(page, encoding="utf-8")
        replace_file(new, file)
    return SeasonReport(file, items, file.stat().st_size, time.perf_counter() - began)


def _page(con: duckdb.DuckDBPyConnection, home: Path, settings: Settings) -> tuple[str, tuple[str, ...]]:
    """The page, and the items that have a card on it."""
    headline = con.execute(_sql("report_headline")).fetchall()
    if not headline:
        raise PublishError(
            f"{published_file(home)}: holds no forecast of the whole shop; run `almanac run --home {home}`"
        )
    first_day, last_day, *_, night, version, _, _ = headline[0]
    columns = "item_id, location, item_text, units_before, units_expected, units_low, units_high, probability_of_rise"
    rising = con.execute(
        f"SELECT {columns} FROM rising_items($1, $2) WHERE rise > 0 AND probability_of_rise >= 0.5 ORDER BY rise * probability_of_rise DESC, item_id, "
        f"location LIMIT {_CARDS + _ROWS}",
        [first_day, last_day],
    ).fetchall()
    scores, scored = backtest_of(con, night)
    fans = _fans(con, night, rising[:_CARDS])
    page = Template((_HERE / "season_report.html").read_text(encoding="utf-8")).substitute(
        shop=escape(settings.shop.name),
        night=night,
        first_day=first_day,
        last_day=last_day,
        model_version=escape(version),
        tiles=_tiles(headline[0], scores.rows),
        shop_plot=inline_png(fans["", ""], width=10.0, height=2.8),
        cards="".join(_card(row, fans[row[0], row[1]]) for row in rising[:_CARDS])
        or '<p class="soft">No item is expected to sell more than it did.</p>',
        rising=_table(
            ["item", "text", "pace of the last 56 days", "expected", "likely range", "probability of a rise"],
            [
                (_named(row), row[2], round(row[3], 1), round(row[4], 1), f"{row[5]:,.0f} to {row[6]:,.0f}", row[7])
                for row in rising[_CARDS:]
            ],
        ),
        new_items=_new_items(con),
        scores=_table(scores.columns, scores.rows, none="No backtest was run before this night."),
        backtest=f"A backtest before the night of {scored}: models trained anew at each origin, all origins pooled."
        if scored
        else "",
        quality=_table(
            ["measure", "lines", "files"], con.execute(_sql("report_quality")).fetchall(), none="Nothing was counted."
        ),
        queries=escape(_queries(home, night, first_day, last_day)),
    )
    return page, tuple(row[0] for row in rising[:_CARDS])


def _new_items(con: duckdb.DuckDBPyConnection) -> str:
    """The new items of which most is expected, and what each sells like."""
    rows = con.execute(_sql("report_new_items"), {"rows": _ROWS, "likes": _LIKES}).fetchall()
    return _table(
        ["item", "text", "on sale", "expected", "likely range", "sells like"],
        [
            (
                _named(row),
                row[2],
                f"{'since' if is_sold else 'from'} {begins}",
                round(mean, 1),
                f"{low:,.0f} to {high:,.0f}",
                " · ".join(likes),
            )
            for row in rows
            for begins, is_sold, mean, low, high, likes in [row[3:]]
        ],
        none="No item is announced, and none was first sold lately.",
    )


def _fans(con: duckdb.DuckDBPyConnection, night: date, rows: Rows) -> dict[tuple[str, str], Fan]:
    """Weekly history and forecast of some series, and of the whole shop under ('', '')."""
    keys = {"items": [row[0] for row in rows], "locations": [row[1] for row in rows]}
    history = con.execute(_sql("weekly_history"), keys | {"as_of": night, "weeks": _WEEKS}).fetchall()
    ahead = con.execute(_sql("weekly_fans"), keys).fetchall()
    series = [("", ""), *zip(keys["items"], keys["locations"], strict=True)]
    return {
        key: Fan(
            [(row[2], row[3]) for row in history if (row[0], row[1]) == key],
            [tuple(row[2:]) for row in ahead if (row[0], row[1]) == key],
        )
        for key in series
    }


def _tiles(headline: tuple[Any, ...], scores: Rows) -> str:
    """The headline numbers."""
    _, _, mean, low, high, _, _, series, change = headline
    tiles = [
        (f"{series:,}", "items forecast"),
        (f"{mean:,.0f}", f"units expected; {low:,.0f} to {high:,.0f} is likely (80 %)"),
    ]
    if change is not None:
        tiles.append((f"{change:+.0%}", "against the pace of the last 56 days"))
    if len(scores) > 1 and scores[0][1] and scores[1][1]:
        tiles.append(
            (
                f"{scores[0][1]:.3f}",
                f"WQL of {scores[0][0]}, the best of the backtest; {scores[1][0]} has {scores[1][1]:.3f}",
            )
        )
    return "".join(
        f'<div class="box"><b>{escape(number)}</b><span class="soft">{escape(what)}</span></div>'
        for number, what in tiles
    )


def _card(row: tuple[Any, ...], fan: Fan) -> str:
    """One item that will rise, with its fan."""
    _, _, text, before, expected, low, high, probability = row
    return (
        f'<div class="box"><h3>{escape(_named(row))} {escape(text or "")}</h3>{inline_png(fan)}'
        f'<span class="soft">{before:,.0f} → {expected:,.0f} units ({low:,.0f} to {high:,.0f}); '
        f"rises with probability {probability:.2f}</span></div>"
    )


def _named(row: tuple[Any, ...]) -> str:
    return " · ".join(part for part in row[:2] if part)


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, none: str = "None.") -> str:
    """An HTML table; a sentence when there is nothing to show."""
    if not rows:
        return f'<span class="soft">{escape(none)}</span>'
    # a header stands over its column: text to the left, numbers to the right
    kinds = [' class="text"' if any(isinstance(row[n], str) for row in rows) else "" for n in range(len(columns))]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(columns, kinds, strict=True))
    body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    kind = ' class="text"' if isinstance(value, str) else ""
    text = f"{value:,}" if isinstance(value, int) else shown(value)
    return f"<td{kind}>{escape(text)}</td>"


def _queries(home: Path, night: date, first_day: date, last_day: date) -> str:
    """SQL to start from."""
    return "\n".join(
        [
            f'duckdb -readonly {published_file(home)}      or      almanac sql --home {home} "…"',
            "",
            f"FROM rising_items(DATE '{first_day}', DATE '{last_day}') LIMIT 20;",
            "SELECT item_id, item_text, week_start, mean, q10, q90 FROM forecast_weekly ORDER BY mean DESC LIMIT 20;",
            f"SELECT sum(mean) FROM forecast_as_of(DATE '{night}') WHERE horizon_days <= 28;",
            "FROM forecast_accuracy ORDER BY as_of, lead_days;",
            "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'forecast_latest';",
        ]
    )


def _sql(name: str) -> str:
    return (_HERE / f"{name}.sql").read_text(encoding="utf-8")
