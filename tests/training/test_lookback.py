"""How far back forecasters look: a panel of just those days gives the forecast of a longer one, byte for byte."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.models.base import Compute
from pipeline.models.networks.forecaster import NetworkForecaster
from pipeline.models.panel import Panel
from pipeline.models.seasonal_naive import SeasonalNaive
from pipeline.models.statistical import Statistical
from tests.models.network_panels import shop_panel, small

CPU = Compute(threads=1)


def last_days(panel: Panel, days: int) -> Panel:
    """The panel as a view that begins later gives it."""
    cut = panel.history - days
    units = panel.units[:, cut:]
    return replace(
        panel,
        first_day=panel.first_day + timedelta(days=cut),
        units=units,
        units_winsorised=panel.units_winsorised[:, cut:],
        price=panel.price[:, cut:],
        promotion=panel.promotion[:, cut:],
        promotion_lead=None if panel.promotion_lead is None else panel.promotion_lead[:, cut:],
        calendar=panel.calendar[cut:],
        closed=panel.closed[cut:],
        first_sold=np.where((units > 0).any(axis=1), (units > 0).argmax(axis=1), days).astype(np.int64),
    )


@pytest.mark.parametrize(
    "forecaster",
    [NetworkForecaster(small(), "lstm"), SeasonalNaive(), Statistical("dynamic_theta")],
    ids=lambda forecaster: forecaster.name,
)
def test_older_days_change_no_forecast(forecaster: Any, tmp_path: Path) -> None:
    panel = shop_panel(series=6, days=900, ahead=91)
    fitted = forecaster.fit(panel, folder=tmp_path / "fit", compute=CPU)
    # a history begins with its first sale: items sold before the cut are sold on it too
    cut = panel.history - fitted.lookback_days
    panel.units[panel.first_sold <= cut, cut] += 1
    recent = last_days(panel, fitted.lookback_days)
    long, short = (fitted.forecast(one, 91, grid=True) for one in (panel, recent))

    assert recent.history == fitted.lookback_days < panel.history
    assert (panel.first_sold < panel.history - recent.history).any()
    for name in ("mean", "quantiles", "grid"):
        assert getattr(long, name).tobytes() == getattr(short, name).tobytes(), name
    fewer = fitted.forecast(last_days(panel, 60), 91, grid=True)
    assert fewer.grid.tobytes() != long.grid.tobytes(), "the test sees nothing"
