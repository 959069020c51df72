"""Seasonal naive and the shared rule for quantiles of units."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pipeline.errors import HistoryError, ModelError
from pipeline.models.base import Compute, Fitted
from pipeline.models.quantiles import whole_units
from pipeline.models.seasonal_naive import FittedSeasonalNaive, SeasonalNaive, repeat_last_week
from pipeline.settings import QUANTILES
from tests.models.demand_panels import panel_of

WEEK = [3, 0, 5, 8, 13, 21, 0]
MEDIAN = QUANTILES.index(0.5)


def fitted(panel, tmp_path) -> Fitted:
    return SeasonalNaive().fit(panel, folder=tmp_path, compute=Compute())


def test_a_strictly_weekly_series_repeats_with_no_spread(tmp_path):
    panel = panel_of([WEEK * 12])
    forecast = fitted(panel, tmp_path).forecast(panel, 28)
    np.testing.assert_array_equal(forecast.mean, [WEEK * 4])
    np.testing.assert_array_equal(forecast.quantiles, np.repeat(forecast.mean[:, :, None], len(QUANTILES), axis=2))


def test_quantiles_are_the_last_week_plus_past_differences_of_the_weekday():
    monday = np.array([10, 14, 9, 20, 15, 11, 12, 30, 16, 15])
    units = np.zeros((1, 70))
    units[0, ::7] = monday
    _, quantiles = repeat_last_week(units, np.array([0]), 14, [0.1, 0.5, 0.9])
    np.testing.assert_allclose(quantiles[0, 0], 15 + np.quantile(np.diff(monday), [0.1, 0.5, 0.9]))
    np.testing.assert_allclose(quantiles[0, 7], 15 + np.quantile(monday[2:] - monday[:-2], [0.1, 0.5, 0.9]))
    np.testing.assert_array_equal(quantiles[0, 1], [0, 0, 0])


def test_longer_leads_of_a_wandering_series_spread_more():
    steps = np.random.default_rng(3).normal(0, 2, (40, 400))
    units = 500 + steps.cumsum(axis=1)
    _, quantiles = repeat_last_week(units, np.zeros(40, int), 91, [0.1, 0.9])
    width = (quantiles[:, :, 1] - quantiles[:, :, 0]).mean(axis=0)
    assert width[84:].mean() > 2 * width[:7].mean()


def test_days_before_the_launch_say_nothing_about_the_spread():
    launched = np.random.default_rng(1).integers(5, 30, 60).astype(float)
    old_shop = np.concatenate([np.zeros(300), launched])[None, :]
    young_shop = np.concatenate([np.zeros(40), launched])[None, :]
    answers = [repeat_last_week(u, np.array([u.shape[1] - 60]), 28, QUANTILES) for u in (old_shop, young_shop)]
    np.testing.assert_array_equal(answers[0][1], answers[1][1])


@pytest.mark.parametrize(
    "row",
    [[0] * 28, [0] * 27 + [40], [0] * 20 + [1] * 8, [1] * 14],
    ids=["never sold", "first sold tonight", "eight days old", "two weeks of shop"],
)
def test_short_and_empty_series_keep_the_contract(row, tmp_path):
    panel = panel_of([row])
    forecast = fitted(panel, tmp_path).forecast(panel, 91, grid=True)
    assert np.isfinite(forecast.mean).all()
    assert (forecast.mean >= 0).all()
    assert (np.diff(forecast.quantiles, axis=2) >= 0).all()
    assert (np.diff(forecast.grid, axis=2) >= 0).all()
    assert (forecast.quantiles == np.round(forecast.quantiles)).all()
    if not any(row):
        assert not forecast.mean.any()
        assert not forecast.quantiles.any()


def test_the_bytes_do_not_depend_on_the_slice_of_rows(tmp_path):
    panel = panel_of(np.random.default_rng(0).poisson(2, (9, 100)))
    whole = fitted(panel, tmp_path).forecast(panel, 35)
    part = fitted(panel, tmp_path).forecast(panel.rows(slice(4, 7)), 35)
    assert whole.quantiles[4:7].tobytes() == part.quantiles.tobytes()
    assert whole.mean[4:7].tobytes() == part.mean.tobytes()


def test_it_comes_back_from_its_folder(tmp_path):
    panel = panel_of(np.random.default_rng(0).poisson(2, (3, 60)))
    before = fitted(panel, tmp_path)
    before.save(tmp_path / "saved")
    after = FittedSeasonalNaive.load(tmp_path / "saved")
    assert after.describe() == before.describe()
    assert after.forecast(panel, 28).quantiles.tobytes() == before.forecast(panel, 28).quantiles.tobytes()


def test_a_folder_of_another_forecaster_is_refused(tmp_path):
    (tmp_path / "forecaster.json").write_text('{"kind": "lstm"}')
    with pytest.raises(ModelError, match=r"forecaster\.json: describes no seasonal_naive"):
        FittedSeasonalNaive.load(tmp_path)


def test_less_than_two_weeks_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(HistoryError, match=r"10 days of orders up to 2011-01-12 .* at least 14 days after"):
        fitted(panel_of([[1] * 10]), tmp_path)


finite = st.floats(-1e6, 1e6, allow_nan=False)


@given(arrays(float, array_shapes(min_dims=1, max_dims=3, max_side=6), elements=finite))
def test_whole_units_keeps_the_contract_whatever_comes_in(quantiles):
    whole = whole_units(quantiles)
    assert (whole >= 0).all()
    assert (whole == np.floor(whole)).all()
    assert (np.diff(whole, axis=-1) >= 0).all()
    np.testing.assert_array_equal(whole_units(whole), whole)


def test_whole_units_rounds_halves_up_and_sorts_crossing_quantiles():
    np.testing.assert_array_equal(whole_units(np.array([2.5, 0.49, -3.0, 0.5])), [0, 0, 1, 3])


def test_whole_units_refuses_what_is_not_finite():
    with pytest.raises(ModelError, match="1 of 2 quantiles"):
        whole_units(np.array([1.0, np.nan]))
