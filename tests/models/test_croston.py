"""Croston's method behind the forecasters' interface."""

import numpy as np
import pytest
from statsforecast.models import CrostonSBA

from pipeline.errors import HistoryError, ModelError
from pipeline.models import registry
from pipeline.models.base import Compute
from pipeline.models.croston import Croston, FittedCroston, day_of
from pipeline.models.quantiles import GRID_LEVELS
from pipeline.models.seasonal_naive import SeasonalNaive
from pipeline.settings import QUANTILES
from tests.models.demand_panels import panel_of


def now_and_then(series=1, days=300, rate=0.2, seed=0):
    rng = np.random.default_rng(seed)
    units = (rng.random((series, days)) < rate) * rng.integers(1, 6, (series, days))
    units[:, 0] = 2
    return units


def forecast_of(panel, horizon=28, **options):
    return Croston().fit(panel, folder=None, compute=Compute()).forecast(panel, horizon, **options)


def test_the_mean_is_the_library_s_and_the_same_every_day():
    units = now_and_then()
    expected = CrostonSBA().forecast(y=units[0].astype(float), h=1)["mean"][0]
    np.testing.assert_array_equal(forecast_of(panel_of(units)).mean, np.full((1, 28), expected))


def test_the_distribution_has_the_mean_that_it_states():
    units = now_and_then()[0].astype(float)
    levels = (np.arange(20_000) + 0.5) / 20_000
    mean, quantiles = day_of(units, levels)
    assert quantiles.mean() == pytest.approx(mean, rel=1e-3)


def test_zeros_and_order_sizes_come_as_often_as_the_method_says():
    units = np.tile([0, 0, 0, 0, 6], 60).astype(float)
    mean, quantiles = day_of(units, [0.5, 0.8, 0.82, 0.99])
    assert mean == pytest.approx(0.95 * 6 / 5)
    np.testing.assert_array_equal(quantiles, [0, 0, 6, 6])


def test_later_order_sizes_weigh_more():
    small_then_large = np.tile([0, 1], 40).tolist() + np.tile([0, 9], 12).tolist()
    large_then_small = np.tile([0, 9], 40).tolist() + np.tile([0, 1], 12).tolist()
    high = [day_of(np.array(row, float), [0.8])[1][0] for row in (small_then_large, large_then_small)]
    assert high == [9, 1]


def test_closed_days_count_neither_behind_nor_ahead():
    closed = np.arange(70 + 28) % 7 == 6
    units = np.where(closed[:70], 0, 3)[None, :]
    forecast = forecast_of(panel_of(units, closed=closed), grid=True)
    assert not forecast.mean[:, closed[70:]].any()
    assert not forecast.quantiles[:, closed[70:]].any()
    assert not forecast.grid[:, closed[70:]].any()
    np.testing.assert_allclose(forecast.mean[:, ~closed[70:]], 0.95 * 3)


def test_a_series_that_never_sold_falls_back_and_is_counted():
    panel = panel_of(np.vstack([now_and_then(days=60), np.zeros((1, 60))]))
    forecast = forecast_of(panel)
    naive = SeasonalNaive().fit(panel, folder=None, compute=Compute()).forecast(panel, 28)
    assert forecast.fallbacks == 1
    np.testing.assert_array_equal(forecast.quantiles[1], naive.quantiles[1])


@pytest.mark.parametrize(
    "row", [[7] * 60, [0, 0, 0, 0, 0, 0, 1] * 12, [0] * 59 + [500], [0.4, 0] * 8, [1] + [0] * 80],
    ids=["every day", "once a week", "one sale tonight", "parts of a unit", "one sale long ago"],
)  # fmt: skip
def test_the_contract_holds_on_odd_series(row):
    forecast = forecast_of(panel_of([row], ahead=91), 91, grid=True)
    assert np.isfinite(forecast.mean).all()
    assert (forecast.mean > 0).all()
    assert (forecast.quantiles >= 0).all()
    assert (forecast.quantiles == np.round(forecast.quantiles)).all()
    assert (np.diff(forecast.quantiles, axis=2) >= 0).all()
    assert (np.diff(forecast.grid, axis=2) >= 0).all()
    assert forecast.grid.shape == (1, 91, len(GRID_LEVELS))
    mine = [GRID_LEVELS.index(level) for level in QUANTILES]
    np.testing.assert_array_equal(forecast.grid[:, :, mine], forecast.quantiles)


def test_slices_of_rows_give_the_bytes_of_the_whole_and_what_comes_later_is_not_read():
    panel = panel_of(now_and_then(series=6, days=140))
    whole = forecast_of(panel)
    part = forecast_of(panel.rows(slice(2, 5)))
    assert whole.quantiles[2:5].tobytes() == part.quantiles.tobytes()
    later = np.hstack([panel.units, np.full((6, 20), 99.0)])
    assert forecast_of(panel_of(later).until(140)).quantiles.tobytes() == whole.quantiles.tobytes()


def test_it_comes_back_from_its_folder_by_the_registry(tmp_path):
    panel = panel_of(now_and_then(series=3))
    before = Croston().fit(panel, folder=tmp_path, compute=Compute())
    before.save(tmp_path / "saved")
    after = registry.load(tmp_path / "saved")
    assert after.describe() == before.describe()
    assert after.forecast(panel, 14).quantiles.tobytes() == before.forecast(panel, 14).quantiles.tobytes()
    with pytest.raises(ModelError, match="cannot be read"):
        FittedCroston.load(tmp_path / "elsewhere")


def test_less_than_two_weeks_is_refused():
    with pytest.raises(HistoryError, match="croston: 13 days"):
        forecast_of(panel_of([[1] * 13]))
