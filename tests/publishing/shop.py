"""A small shop's lake, written by hand: two years of sales, two nights of forecasts, a backtest, some bad lines."""

import math
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

import pyarrow as pa
from scipy import stats

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
            lake.write(con, "forecasts", {"as_of": night.isoformat()}, forecasts(night, items), part="lstm%2F1")
            lake.write(con, "forecast_totals", {"as_of": night.isoformat()}, totals(night, items), part="lstm%2F1")
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


def forecasts(night: date, items: dict[str, tuple[str, str, float, float]]) -> pa.Table:
    """Daily Poisson forecasts of a night."""
    rows = [
        {"item_id": item, "location": "", "target_date": night + timedelta(days=ahead), "horizon_days": ahead}
        | distribution(rate * times)
        | stamp(night)
        for item, (_, _, rate, times) in items.items()
        for ahead in range(1, HORIZON + 1)
    ]
    return pa.Table.from_pylist(rows)


def totals(night: date, items: dict[str, tuple[str, str, float, float]]) -> pa.Table:
    """Sums of the same, item-weeks from the day after the night (a Monday), item-seasons and the total by week."""
    starts = [night + timedelta(days=1 + 7 * n) for n in range(HORIZON // 7)]
    whole = sum(rate * times for _, _, rate, times in items.values())
    keys = [("item", item, rate * times) for item, (_, _, rate, times) in items.items()] + [("total", "", whole)]
    rows = []
    for level, identity, mean in keys:
        periods = [("week", start, 7) for start in starts] + [("season", starts[0], HORIZON)]
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
                | stamp(night)
            )
    return pa.Table.from_pylist(rows)


@cache
def distribution(mean: float) -> dict[str, float]:
    """A Poisson forecast under the contract."""
    levels = {
        column: float(stats.poisson.ppf(level, mean)) for column, level in zip(QUANTILE_COLUMNS, QUANTILES, strict=True)
    }
    return {"mean": float(mean), **levels}


def stamp(night: date) -> dict[str, Any]:
    return {
        "model_version": "lstm/1",
        "data_snapshot": "0" * 32,
        "made_at": datetime(night.year, night.month, night.day, 23),
    }


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
