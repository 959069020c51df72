"""Rivals of the measure that are no forecasters of the house: LightGBM straight on totals, Croston as its library gives it."""

import warnings
from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from pipeline.as_of import as_of_view
from pipeline.backtesting.backtest import actuals
from pipeline.backtesting.origins import scored_rows
from pipeline.backtesting.scoring import origin_series
from pipeline.examples.homes import ONLINE_RETAIL_NIGHT
from pipeline.lake import Lake
from pipeline.models.base import Compute
from pipeline.models.gradient_boosting.features import Features
from pipeline.models.gradient_boosting.training import Task, train
from pipeline.models.gradient_boosting.windows import Windows
from pipeline.models.panel import Panel
from pipeline.models.quantiles import quantile_loss, whole_units
from pipeline.settings import QUANTILES, Settings
from pipeline.training.panel import MAX_DAYS, build_panel
from tests.benchmarks.accuracy.shop import changed, tell

HORIZON = 28
CONFORMAL_WINDOWS = 10
"""Stretches of the horizon that Croston's intervals are fitted on, where the history has so many."""


def measured(
    lake: Lake, settings: Settings, origins: tuple[date, ...]
) -> Iterator[tuple[Panel, NDArray[np.int64], NDArray[np.float64]]]:
    """At each origin: what it knew, the rows of the measure, and the (N, H) units that came."""
    rules = changed(settings, backtest={"min_sale_days": 60, "max_items": 2000}).backtest
    for origin in origins:
        with as_of_view(lake, origin, by_location=False, since=origin - timedelta(days=MAX_DAYS - 1)) as view:
            panel = build_panel(view, settings, horizon=settings.forecast.horizon_days, home=lake.home)
        rows = scored_rows(panel, rules)
        with as_of_view(lake, ONLINE_RETAIL_NIGHT, by_location=False, since=origin) as night:
            yield panel, rows, actuals(night, origin_series(panel.rows(rows)), HORIZON)


def straight_totals(
    lake: Lake, settings: Settings, compute: Compute, *, origins: tuple[date, ...], seconds: float
) -> float:
    """WQL of 28-day totals by LightGBM trained straight on totals.

    It reads the features of the house, and has all its rounds: the strongest such rival that there is.
    """
    loss = units = 0.0
    for panel, rows, came in measured(lake, settings, origins):
        features = Features.learn(panel, panel.history - HORIZON)
        task = Task(panel, features, HORIZON, HORIZON, max_seconds=seconds, settings=settings.training)
        boosters = train(task, compute, tell).boosters
        table = features.table(panel, Windows.ahead(panel, rows, [(1, HORIZON)]), compute)
        loss += float(quantile_loss(came.sum(axis=1), whole_units(boosters.predict(table, compute)[1])).sum())
        units += float(came.sum())
    return loss / units


def library_croston(lake: Lake, settings: Settings, *, origins: tuple[date, ...]) -> float:
    """WQL of days by statsforecast's CrostonSBA with its conformal intervals, rounded to whole units like all others."""
    loss = units = 0.0
    for panel, rows, came in measured(lake, settings, origins):
        said = np.stack(
            [_croston(panel.units_winsorised[row, min(panel.first_sold[row], panel.history - 1) :]) for row in rows]
        )
        loss += float(quantile_loss(came.reshape(-1), whole_units(said).reshape(came.size, -1)).sum())
        units += float(came.sum())
    return loss / units


def _croston(units: NDArray[np.float32]) -> NDArray[np.float64]:
    """(H, Q) quantiles of one series from its first sale on."""
    from statsforecast.models import CrostonSBA
    from statsforecast.utils import ConformalIntervals

    windows = min(CONFORMAL_WINDOWS, (len(units) - 1) // HORIZON)
    widths = [round(200 * abs(level - 0.5), 6) for level in QUANTILES]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if windows < 2:
            return np.repeat(CrostonSBA().forecast(y=units, h=HORIZON)["mean"][:, None], len(QUANTILES), axis=1)
        model = CrostonSBA(prediction_intervals=ConformalIntervals(h=HORIZON, n_windows=windows))
        answer = model.forecast(y=units, h=HORIZON, level=sorted(set(widths)))
    columns = [
        answer[f"{'lo' if level < 0.5 else 'hi'}-{width}"] for level, width in zip(QUANTILES, widths, strict=True)
    ]
    return np.stack(columns, axis=1).astype(np.float64)
