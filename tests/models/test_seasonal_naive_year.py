"""Seasonal naive over a year, and when the weekly one answers for it."""

import numpy as np
import pytest

from pipeline.errors import HistoryError, ModelError
from pipeline.models import registry
from pipeline.models.base import Compute
from pipeline.models.seasonal_naive import SeasonalNaive
from pipeline.models.seasonal_naive_year import LAG, LOOKBACK_DAYS, FittedSeasonalNaiveYear, SeasonalNaiveYear
from pipeline.settings import QUANTILES
from tests.models.demand_panels import panel_of


def forecast_of(panel, horizon=28, *, of=SeasonalNaiveYear, **options):
    return of().fit(panel, folder=None, compute=Compute()).forecast(panel, horizon, **options)


def test_the_same_weekday_of_the_year_before_comes_again():
    units = np.random.default_rng(0).poisson(20, (2, 800))
    forecast = forecast_of(panel_of(units), 91)
    np.testing.assert_array_equal(forecast.mean, units[:, 800 - LAG : 800 - LAG + 91])
    assert forecast.fallbacks == 0


def test_a_year_that_repeats_exactly_has_no_spread():
    year = np.random.default_rng(1).poisson(9, LAG)
    forecast = forecast_of(panel_of([np.tile(year, 3)]), 91, grid=True)
    np.testing.assert_array_equal(forecast.quantiles[0], np.repeat(year[:91, None], len(QUANTILES), axis=1))
    np.testing.assert_array_equal(forecast.grid[0], np.repeat(year[:91, None], forecast.grid.shape[2], axis=1))


def test_the_spread_is_that_of_the_weekday_s_differences_to_the_year_before():
    units = np.random.default_rng(2).poisson(30, 3 * LAG).astype(float)
    forecast = forecast_of(panel_of([units]), 14, grid=True)
    night = len(units) - 1
    for step in (1, 7, 13):
        days = np.array([d for d in range(night - LAG + 1, night + 1) if (night + step - d) % 7 == 0])
        differences = units[days] - units[days - LAG]
        expected = units[night + step - LAG] + np.quantile(differences, 0.9)
        assert forecast.grid[0, step - 1, list(forecast.grid_levels).index(0.9)] == pytest.approx(max(expected, 0))


def test_a_series_or_shop_younger_than_a_year_is_left_to_the_weekly_one_and_counted():
    rng = np.random.default_rng(3)
    old = rng.poisson(5, 500) + 1
    young = np.concatenate([np.zeros(500 - LAG + 1), rng.poisson(5, LAG - 1) + 1])
    panel = panel_of([old, young])
    forecast, weekly = forecast_of(panel, 35), forecast_of(panel, 35, of=SeasonalNaive)
    assert forecast.fallbacks == 1
    np.testing.assert_array_equal(forecast.quantiles[1], weekly.quantiles[1])
    np.testing.assert_array_equal(forecast.mean[0], old[500 - LAG : 500 - LAG + 35])
    shop = panel_of(old[None, : LAG - 1])
    assert forecast_of(shop).fallbacks == 1
    assert forecast_of(panel_of(old[None, :LAG])).fallbacks == 0


def test_with_few_differences_to_the_year_before_the_weekly_spread_is_taken():
    units = np.random.default_rng(4).poisson(40, LAG + 5)
    panel = panel_of([units])
    forecast, weekly = forecast_of(panel, 14, grid=True), forecast_of(panel, 14, of=SeasonalNaive, grid=True)
    around = weekly.grid[0] - weekly.mean[0][:, None]
    np.testing.assert_allclose(forecast.grid[0], np.maximum(forecast.mean[0][:, None] + around, 0))


def test_beyond_a_year_the_year_before_the_last_comes_again():
    units = np.random.default_rng(5).poisson(20, 2 * LAG)
    mean = forecast_of(panel_of([units], ahead=366), 366).mean[0]
    np.testing.assert_array_equal(mean[LAG:], units[LAG : LAG + 2])
    np.testing.assert_array_equal(mean[:LAG], units[LAG:])


@pytest.mark.parametrize(
    "row", [[0] * 400, [0] * 399 + [40], [1] + [0] * 729, [3] * LAG, [1] * 14],
    ids=["never sold", "first sold tonight", "sold once, two years ago", "a year of shop", "two weeks of shop"],
)  # fmt: skip
def test_the_contract_holds_on_odd_series(row):
    forecast = forecast_of(panel_of([row]), 91, grid=True)
    assert np.isfinite(forecast.mean).all()
    assert (forecast.mean >= 0).all()
    assert (np.diff(forecast.quantiles, axis=2) >= 0).all()
    assert (np.diff(forecast.grid, axis=2) >= 0).all()
    assert (forecast.quantiles == np.round(forecast.quantiles)).all()


def test_slices_of_rows_give_the_bytes_of_the_whole_and_what_comes_later_is_not_read():
    panel = panel_of(np.random.default_rng(6).poisson(2, (6, 760)))
    whole = forecast_of(panel)
    part = forecast_of(panel.rows(slice(2, 5)))
    assert whole.quantiles[2:5].tobytes() == part.quantiles.tobytes()
    later = np.hstack([panel.units, np.full((6, 20), 99.0)])
    assert forecast_of(panel_of(later).until(760)).quantiles.tobytes() == whole.quantiles.tobytes()


def test_no_more_than_the_lookback_is_read():
    units = np.random.default_rng(7).poisson(8, (3, LOOKBACK_DAYS + 90))
    units[:, 90] += 1
    short = forecast_of(panel_of(units[:, 90:]), 91)
    assert forecast_of(panel_of(units), 91).quantiles.tobytes() == short.quantiles.tobytes()


def test_it_comes_back_from_its_folder_by_the_registry(tmp_path):
    panel = panel_of(np.random.default_rng(0).poisson(2, (3, 400)))
    before = SeasonalNaiveYear().fit(panel, folder=tmp_path, compute=Compute())
    before.save(tmp_path / "saved")
    after = registry.load(tmp_path / "saved")
    assert after.describe() == before.describe()
    assert after.forecast(panel, 28).quantiles.tobytes() == before.forecast(panel, 28).quantiles.tobytes()
    with pytest.raises(ModelError, match="cannot be read"):
        FittedSeasonalNaiveYear.load(tmp_path / "elsewhere")


def test_less_than_two_weeks_is_refused():
    with pytest.raises(HistoryError, match="seasonal_naive_year: 13 days"):
        forecast_of(panel_of([[1] * 13]))
