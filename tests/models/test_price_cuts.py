"""Forecasters learn how much a planned price cut sells, not only that there is one."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.models.base import Compute
from pipeline.models.gradient_boosting.forecaster import LightgbmQuantiles
from pipeline.models.networks.forecaster import NetworkForecaster
from pipeline.models.panel import PRICE_CUT, Panel
from tests.models.network_panels import shop_panel, small

ELASTICITY = 2.0
HISTORY, AHEAD = 224, 14


@pytest.fixture(scope="module")
def panel() -> Panel:
    """Items of one price; now and then it is cut by a tenth or by two fifths, and the demand follows its elasticity."""
    random = np.random.default_rng(8)
    plain = shop_panel(60, HISTORY, AHEAD, seed=5)
    shape = (plain.series, HISTORY + AHEAD)
    cut = np.where(random.random(shape) < 0.2, random.choice([0.1, 0.4], shape), 0.0)
    week = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0])[np.arange(shape[1]) % 7]
    units = random.poisson(8 * week * (1 - cut) ** -ELASTICITY).astype(np.float32)[:, :HISTORY]
    return replace(
        plain,
        units=units,
        units_winsorised=units,
        promotion=cut[:, :, None].astype(np.float32),
        promotion_kinds=(PRICE_CUT,),
        price=np.full(shape, 2.5, np.float32),
        first_sold=np.zeros(plain.series, np.int64),
    )


@pytest.mark.parametrize(
    "forecaster",
    [
        LightgbmQuantiles(small(max_steps=60, batch_size=128), 600.0),
        pytest.param(
            NetworkForecaster(small(hidden=24, max_steps=200, batch_size=64, learning_rate=5e-3), "quantile_mlp"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["lightgbm", "quantile_mlp"],
)
def test_a_deeper_cut_sells_more(panel, forecaster, tmp_path) -> None:
    fitted = forecaster.fit(panel, folder=tmp_path, compute=Compute(threads=1))
    sold = {}
    for cut in (0.0, 0.1, 0.4):
        promotion = panel.promotion.copy()
        promotion[:, HISTORY:] = cut
        sold[cut] = float(fitted.forecast(replace(panel, promotion=promotion), AHEAD).mean.sum())
    for cut in (0.1, 0.4):
        assert sold[cut] / sold[0.0] == pytest.approx((1 - cut) ** -ELASTICITY, rel=0.2), cut
