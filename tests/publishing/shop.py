"""A small shop's lake, written by hand: two years of sales, two nights of forecasts, a backtest, some bad lines."""

import math
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

import pyarrow as pa
from scipy import stats

from pipeline.forecasting.vintages import Vintage, file_hash, part_of, write_vintage
from pipeline.lake import Lake
from pipeline.settings import QUANTILE_COLUMNS, QUANTILES
from tests.forecasting.fakes import write_demand

NIGHT = date(2017, 11, 26)
NIGHTS = (NIGHT - timedelta(days=7), NIGHT)
ITEMS = {
    "10": ("advent candle & holder", "christmas", 3.0, 4.0),
    "11": ("tree <b>bauble</b>", "christmas", 2.0, 3.0),
    "20": ("garden hose", "garden", 6.0, 0.3),
    "x904631": ("年糕 rice cake", "食品", 4.0, 1.0),
}
"""Item → text, category, units a day before the night, and how many times that the season will bring."""

HORIZON = 91


def write_shop(
    lake: Lake, *, items: dict[str, tuple[str, str, float, float]] | None = None, history_days: int = 500
) -> Lake:
    """Fill a lake with everything that publishing reads."""
    items = items or ITEMS
    days = [NIGHT - timedelta(days=n) for n in range(0, history_days, 3)]
    for known_on, first in zip(NIGHTS, (date.min, NIGHTS[0]), strict=True):
        mine = [day for day in days if (first < day <= known_on)]
        write_demand(
            lake, [(item, "", day, round(3 * items[item][2])) for item in items for day in mine], known_on=known_on
        )
    with lake.connect() as con:
        sightings = {
            "item_id": list(items),
            "item_text": [text for text, *_ in items.values()],
            "category": [category for _, category, *_ in items.values()],
            "origin": ["master"] * len(items),
            "lines": [1] * len(items),
        }
        lake.write(con, "item_sightings", {"known_on": days[-1].isoformat()}, pa.table(sightings))
        for night in NIGHTS:
            write_vintage_of(lake, night, items)
        lake.write(con, "backtest_scores", {"as_of": NIGHT.isoformat()}, scores())
        quality = {"file_name": ["a.csv"], "source": ["s"], "measure": ["lines"], "value": [7]}
        lake.write(con, "data_quality", {"file_hash": "f1"}, pa.table(quality))
        bad = {
            "file_name": ["a.csv"],
            "source": ["s"],
            "line": [3],
            "problem_column": ["qty"],
            "reason": ["not a number: <script>alert(1)</script>"],
            "raw_text": ["x"],
        }
        lake.write(con, "quarantined_order_lines", {"file_hash": "f1"}, pa.table(bad))
    return lake


def write_vintage_of(
    lake: Lake,
    night: date,
    items: dict[str, tuple[str, str, float, float]] | None = None,
    version: str = "lstm/1",
    *,
    made_at: datetime | None = None,
    is_named: bool = False,
    times: float = 1.0,
) -> Vintage:
    """A night's forecasts (all rates so many times) with their row in `vintages`, as forecasting writes them."""
    scaled = {
        item: (text, category, rate * times, lift) for item, (text, category, rate, lift) in (items or ITEMS).items()
    }
    with lake.connect() as con:
        for table, rows in (
            ("forecasts", forecasts(night, scaled, version)),
            ("forecast_totals", totals(night, scaled, version)),
        ):
            lake.write(con, table, {"as_of": night.isoformat()}, rows, part=part_of(version))
    return write_row_of(lake, night, version, len(scaled), made_at=made_at, is_named=is_named)


def write_row_of(
    lake: Lake, night: date, version: str, series: int, *, made_at: datetime | None = None, is_named: bool = False
) -> Vintage:
    """The row in `vintages` of forecasts that stand in the lake."""
    vintage = Vintage(
        as_of=night,
        model_version=version,
        trained_as_of=night,
        is_named=is_named,
        data_snapshot="0" * 32,
        series=series,
        forecast_rows=series * HORIZON,
        total_rows=(series + 1) * (HORIZON // 7 + 1) + HORIZON,
        forecasts_hash="",
        totals_hash="",
        settings_hash="",
        device="cpu",
        threads=2,
        libraries="{}",
        made_at=made_at or datetime(night.year, night.month, night.day, 23),
    )
    days, sums = (file_hash(path) for path in vintage.files(lake).values())
    vintage = replace(vintage, forecasts_hash=days, totals_hash=sums)
    write_vintage(lake, vintage)
    return vintage


def forecasts(night: date, items: dict[str, tuple[str, str, float, float]], version: str = "lstm/1") -> pa.Table:
    """Daily Poisson forecasts of a night."""
    rows = [
        {"item_id": item, "location": "", "target_date": night + timedelta(days=ahead), "horizon_days": ahead}
        | distribution(rate * times)
        | stamp(version)
        for item, (_, _, rate, times) in items.items()
        for ahead in range(1, HORIZON + 1)
    ]
    return pa.Table.from_pylist(rows)


def totals(night: date, items: dict[str, tuple[str, str, float, float]], version: str = "lstm/1") -> pa.Table:
    """Sums of the same, item-weeks from the day after the night (a Monday), item-seasons; the total by day and week."""
    starts = [night + timedelta(days=1 + 7 * n) for n in range(HORIZON // 7)]
    whole = sum(rate * times for _, _, rate, times in items.values())
    keys = [("item", item, rate * times) for item, (_, _, rate, times) in items.items()] + [("total", "", whole)]
    rows = []
    for level, identity, mean in keys:
        periods = [("week", start, 7) for start in starts] + [("season", starts[0], HORIZON)]
        if level == "total":
            periods += [("day", night + timedelta(days=ahead), 1) for ahead in range(1, HORIZON + 1)]
        for kind, start, days in periods:
            rows.append(
                {
                    "level": f"{level}-{kind}",
                    "id": identity,
                    "location": "",
                    "period_start": start,
                    "period_end": start + timedelta(days=days - 1),
                }
                | distribution(mean * days)
                | stamp(version)
            )
    return pa.Table.from_pylist(rows)


@cache
def distribution(mean: float) -> dict[str, float]:
    """A Poisson forecast under the contract."""
    levels = {
        column: float(stats.poisson.ppf(level, mean)) for column, level in zip(QUANTILE_COLUMNS, QUANTILES, strict=True)
    }
    return {"mean": float(mean), **levels}


def stamp(version: str) -> dict[str, Any]:
    return {"model_version": version, "data_snapshot": "0" * 32}


def scores() -> pa.Table:
    """Pooled scores of a model and two baselines."""
    rows = []
    for model, wql in (("lstm", 0.71), ("auto_ets", 0.95), ("seasonal_naive", 1.37)):
        for metric, score in (
            ("wql", wql),
            ("wape", wql * 1.2),
            ("bias", -0.03),
            ("mase", math.nan),
            ("coverage_90", 0.91),
        ):
            rows.append(
                {
                    "model": model,
                    "origin": "all",
                    "slice": "all",
                    "value_of_slice": "all",
                    "metric": metric,
                    "score": score,
                    "forecasts": 1000,
                }
            )
    return pa.Table.from_pylist(rows)
