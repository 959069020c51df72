"""A shop that reports by week: its lines are dated on one day of the week, the others are closed, and the weeks come out right."""

from datetime import date, timedelta

import numpy as np
import pytest

from pipeline.as_of import as_of_view
from pipeline.backtesting.sums import forecast_sums
from pipeline.enrichment.calendar import build_calendar
from pipeline.lake import Lake
from pipeline.models.base import Compute
from pipeline.models.registry import make
from pipeline.settings import QUANTILES, ComputeSettings, Settings
from pipeline.training.panel import build_panel
from tests.enrichment.conftest import Shop

FIRST = date(2022, 1, 9)
NIGHT = date(2023, 3, 26)
"""Both Sundays, on which each week is reported."""
ITEMS, AHEAD = 40, 4
RATES = 4.0 * 1.15 ** np.arange(ITEMS)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = Shop(Lake(tmp_path_factory.mktemp("weekly") / "home", ComputeSettings(threads=1)))
    random = np.random.default_rng(2)
    sundays = [FIRST + timedelta(days=7 * week) for week in range((NIGHT - FIRST).days // 7 + 1 + AHEAD)]
    sales = [
        (f"item-{item:02}", day, int(units), 2.0)
        for day in sundays
        for item, units in enumerate(random.poisson(RATES))
        if units
    ]
    shop.sell(sales)
    build_calendar(shop.lake, settings(), FIRST, NIGHT + timedelta(days=40))
    return shop


def settings() -> Settings:
    return Settings.model_validate(
        {
            "shop": {"name": "A shop", "country": "GB", "timezone": "UTC", "currency": "GBP"},
            "sources": [{"mapping": "any"}],
            "training": {"hidden": 16, "max_steps": 150, "pretrain_steps": 20, "batch_size": 64},
        }
    )


def test_weeks_reported_on_sundays_are_forecast_on_sundays(
    shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with as_of_view(shop.lake, NIGHT) as view:
        panel = build_panel(view, settings(), horizon=28)
    with as_of_view(shop.lake, NIGHT + timedelta(days=28)) as view:
        came = build_panel(view, settings(), horizon=1).units[:, -28:].reshape(-1, AHEAD, 7).sum(axis=2)
    fitted = make("ensemble", settings()).fit(panel, folder=tmp_path_factory.mktemp("fit"), compute=Compute(threads=2))
    answer = fitted.forecast(panel, 28, grid=True)

    sunday = np.arange(28) % 7 == 6
    assert answer.mean[:, sunday].all()
    assert not answer.mean[:, ~sunday].any()
    assert not answer.quantiles[:, ~sunday].any()

    means, quantiles = forecast_sums(panel, answer, fitted.dependence, "weekly")
    weeks = means[:, :AHEAD]
    np.testing.assert_allclose(weeks, answer.mean[:, sunday])
    assert np.abs(weeks - RATES[:, None]).sum() / (AHEAD * RATES.sum()) < 0.2
    low, high = (quantiles[:, :AHEAD, QUANTILES.index(level)] for level in (0.1, 0.9))
    assert 0.65 < ((came >= low) & (came <= high)).mean() < 0.98
