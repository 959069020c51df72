"""Pictures of a backtest: for asset metadata, MLflow and the README."""

import io
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.as_of import AsOfView, as_of_view
from pipeline.backtesting.scoring import POOLED
from pipeline.backtesting.slices import HORIZONS
from pipeline.lake import Lake
from pipeline.settings import QUANTILE_COLUMNS
from pipeline.tracking.plots import ItemPlot

_YEAR = 365
"""Days of history behind a fan: more than a plot shows."""
_FANS = Path(__file__).with_name("fans.sql").read_text(encoding="utf-8")


def plot_wql_by_horizon(scores: pd.DataFrame) -> bytes:
    """Pooled WQL by horizon bucket, one line per model.

    Args:
        scores: rows of `backtest_scores` (`BacktestReport.scores`).

    Returns:
        A PNG.
    """
    from matplotlib.figure import Figure

    chosen = scores[(scores["metric"] == "wql") & (scores["origin"] == POOLED) & (scores["slice"] == "horizon")]
    order = [f"{first}-{last}" for first, last in HORIZONS]
    order = [bucket for bucket in [*order, f"{HORIZONS[-1][1] + 1}+"] if (chosen["value_of_slice"] == bucket).any()]
    # a Figure of its own, not pyplot: no global state, no display, safe in any thread
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for model in chosen["model"].unique():
        line = chosen[chosen["model"] == model].set_index("value_of_slice")["score"].reindex(order)
        axes.plot(range(len(order)), line.to_numpy(), marker="o", label=str(model).replace("_", " "))
    axes.set_xticks(range(len(order)), labels=order)
    axes.set_xlabel("days ahead")
    axes.set_ylabel("WQL (lower is better)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()


def item_fans(lake: Lake, as_of: date, model: str, *, by_location: bool = False, count: int = 4) -> list[ItemPlot]:
    """History, forecast fan and actuals of a few best sellers, at the newest origin of a night's backtest.

    Args:
        lake: the home's lake.
        as_of: night of the backtest.
        model: forecaster.
        by_location: as the shop forecasts.
        count: items to plot.
    """
    with lake.connect() as con:
        con.execute(f"CREATE VIEW lake_backtest_forecasts AS {lake.select('backtest_forecasts')}")
        found = con.execute(_FANS, {"as_of": as_of, "model": model, "count": count})
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    if not rows:
        return []
    origin: date = rows[0]["origin"]
    fans: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        fans.setdefault((row["item_id"], row["location"]), []).append(row)
    since = origin - timedelta(days=_YEAR - 1)
    with as_of_view(lake, origin, by_location=by_location, since=since) as view:
        return [_fan(view, item, location, fan) for (item, location), fan in fans.items()]


def _fan(view: AsOfView, item: str, location: str, fan: list[dict[str, Any]]) -> ItemPlot:
    text = view.con.execute("SELECT item_text FROM items WHERE item_id = $1", [item]).fetchall()
    known = view.con.execute(
        "SELECT coalesce(demand.units, 0) FROM shop_days LEFT JOIN "
        "(FROM demand_daily WHERE item_id = $1 AND location = $2) AS demand USING (day) ORDER BY day",
        [item, location],
    ).fetchall()
    return ItemPlot(
        title=" · ".join(part for part in (item, location, text[0][0] if text else "") if part),
        as_of=view.as_of,
        history=np.array([units for (units,) in known], dtype=np.float64),
        mean=np.array([day["mean"] for day in fan]),
        quantiles=np.array([[day[name] for name in QUANTILE_COLUMNS] for day in fan]),
        actuals=np.array([day["actual"] for day in fan]),
    )
