"""Scores against values worked out by hand, against utilsforecast, and their properties."""

import numpy as np
import pandas as pd
import pytest
import utilsforecast.losses as published
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import poisson

from pipeline.backtesting import scores
from pipeline.backtesting.scores import LEVELS, Scales
from pipeline.models.quantiles import WQL_LEVELS

ACTUAL = np.array([0.0, 4.0, 10.0, 2.0])
MEAN = np.array([1.0, 2.0, 10.0, 5.0])
SERIES = np.array([0, 0, 1, 1])
Q10, MEDIAN, Q90 = 1, 5, 9


def constant(actual, value=0.0):
    """The same number at every level."""
    return np.repeat((np.zeros(len(actual)) + value)[:, None], len(LEVELS), axis=1)


def test_point_scores_by_hand():
    # errors −1, 2, 0, −3 on Σy = 16
    assert scores.wape(ACTUAL, MEAN) == pytest.approx(6 / 16)
    assert scores.bias(ACTUAL, MEAN) == pytest.approx(2 / 16)
    assert scores.mae(ACTUAL, MEAN) == pytest.approx(6 / 4)
    assert scores.mse(ACTUAL, MEAN) == pytest.approx(14 / 4)
    assert scores.rmse(ACTUAL, MEAN) == pytest.approx(np.sqrt(3.5))
    # sums per series: 4 against 3, 12 against 15


def test_wql_by_hand():
    quantiles = np.zeros((2, len(LEVELS)))
    quantiles[0] = [0, 0, 1, 1, 2, 2, 3, 3, 4, 6, 9]
    quantiles[1] = 5
    actual = np.array([3.0, 5.0])
    # y = 3, levels .1 … .9, quantiles 0 1 1 2 2 3 3 4 6: under it q·(3 − ŷ), over it (1 − q)·(ŷ − 3)
    by_hand = [0.1 * 3, 0.2 * 2, 0.3 * 2, 0.4 * 1, 0.5 * 1, 0, 0, 0.2 * 1, 0.1 * 3]
    assert scores.quantile_loss(actual, quantiles) == pytest.approx([2 * np.mean(by_hand), 0])
    assert scores.wql(actual, quantiles) == pytest.approx(2 * np.mean(by_hand) / 8)


def test_the_extreme_levels_are_no_part_of_wql():
    actual = np.array([3.0, 5.0])
    quantiles = constant(actual, 4.0)
    wild = quantiles.copy()
    wild[:, 0], wild[:, -1] = -1e6, 1e6
    assert scores.wql(actual, wild) == scores.wql(actual, quantiles)


def test_wql_of_one_number_at_every_level_is_its_wape():
    assert scores.wql(ACTUAL, constant(ACTUAL, MEAN)) == pytest.approx(scores.wape(ACTUAL, MEAN))


def test_scores_agree_with_utilsforecast():
    rng = np.random.default_rng(5)
    series, horizon, days = 6, 14, 90
    history = rng.poisson(4, (series, days)).astype(float)
    history[:, 0] = 1  # sold from the first day on, as utilsforecast takes it
    actual, mean = rng.poisson(4, (series, horizon)).astype(float), rng.gamma(2, 2, (series, horizon))
    quantiles = np.sort(rng.gamma(2, 2, (series, horizon, len(LEVELS))), axis=2)
    ids = np.repeat(np.arange(series), horizon)
    frame = pd.DataFrame({"unique_id": ids, "ds": np.tile(days + np.arange(horizon), series), "y": actual.ravel()})
    frame["mean"] = mean.ravel()
    for k in range(len(LEVELS)):
        frame[f"q{k}"] = quantiles[:, :, k].ravel()
    frame["mean-lo-80"], frame["mean-hi-80"] = frame[f"q{Q10}"], frame[f"q{Q90}"]
    past = pd.DataFrame(
        {
            "unique_id": np.repeat(np.arange(series), days),
            "ds": np.tile(np.arange(days), series),
            "y": history.ravel(),
        }
    )
    y, f, q = actual.ravel(), mean.ravel(), quantiles.reshape(-1, len(LEVELS))
    scale = scores.scales(history, np.zeros(series, int))

    def theirs(loss, **options):
        return loss(frame, **options)["mean"].mean()

    assert scores.mae(y, f) == pytest.approx(theirs(published.mae, models=["mean"]))
    assert scores.mse(y, f) == pytest.approx(theirs(published.mse, models=["mean"]))
    weekly = {"models": ["mean"], "seasonality": 7, "train_df": past}
    assert scores.mase(y, f, ids, scale) == pytest.approx(theirs(published.mase, **weekly))
    assert scores.rmsse(y, f, ids, scale) == pytest.approx(theirs(published.rmsse, **weekly))
    assert scores.coverage(y, q, 0.8) == pytest.approx(theirs(published.coverage, models=["mean"], level=80))
    tens = {"mean": [f"q{k}" for k in range(1, 10)]}
    mean_pinball = published.mqloss(frame, models=tens, quantiles=np.array(WQL_LEVELS))["mean"].mean()
    assert scores.wql(y, q) == pytest.approx(2 * mean_pinball * y.size / y.sum())


def test_scales_count_from_the_first_sale_on():
    history = np.array([[0] * 30 + [2, 4, 6, 8, 2, 4, 6, 5, 4, 6], [0] * 40], dtype=float)
    scale = scores.scales(history, np.array([30, 40]))
    # |5 − 2|, |4 − 4|, |6 − 6|: the days before the launch count nowhere
    assert scale.absolute[0] == pytest.approx(3 / 3)
    assert scale.squared[0] == pytest.approx(9 / 3)
    assert np.isnan(scale.absolute[1])
    assert np.isnan(scores.scales(history[:, :7], np.array([0, 0])).absolute).all()


def test_a_series_without_scale_is_left_out_and_not_infinite():
    scale = Scales(np.array([2.0, np.nan]), np.array([4.0, np.nan]))
    assert scores.mase(ACTUAL, MEAN, SERIES, scale) == pytest.approx(1.5 / 2)
    assert scores.rmsse(ACTUAL, MEAN, SERIES, scale) == pytest.approx(np.sqrt(2.5 / 4))
    one = SERIES == 1
    assert np.isnan(scores.mase(ACTUAL[one], MEAN[one], SERIES[one], scale))


def test_coverage_counts_the_ends_and_interpolates_the_quartiles():
    quantiles = np.tile(np.arange(11.0), (4, 1))  # q20 = 2, q30 = 3, so q25 = 2.5; q75 = 7.5
    actual = np.array([2.5, 7.5, 2.4, 7.6])
    assert scores.coverage(actual, quantiles, 0.5) == pytest.approx(0.5)
    assert scores.coverage(np.array([1.0, 9.0, 0.9, 9.1]), quantiles, 0.8) == pytest.approx(0.5)
    assert scores.coverage(np.array([0.0, 10.0, -1.0, 11.0]), quantiles, 0.9) == pytest.approx(0.5)


@pytest.mark.parametrize("rates", [(0.02, 0.5), (0.3, 5.0), (3.0, 60.0)], ids=["rare", "some", "many"])
def test_pit_of_a_calibrated_forecast_is_flat_however_many_zeros(rates):
    rng = np.random.default_rng(2)
    rate = np.exp(rng.uniform(*np.log(rates), 30_000))
    actual = rng.poisson(rate).astype(float)
    quantiles = poisson.ppf(LEVELS, rate[:, None])
    np.testing.assert_allclose(scores.pit_deciles(actual, quantiles), 0.1, atol=0.03)
    assert scores.pit_coverage(actual, quantiles) == pytest.approx(0.8, abs=0.02)
    if rates[1] < 1:
        assert scores.coverage(actual, quantiles, 0.8) > 0.9


def test_pit_tells_a_forecast_that_is_too_narrow_or_too_low():
    actual = np.random.default_rng(2).poisson(20, 20_000).astype(float)
    narrow = np.tile(np.linspace(19, 21, len(LEVELS)), (len(actual), 1))
    low = np.tile(np.linspace(2, 12, len(LEVELS)), (len(actual), 1))
    assert scores.pit_coverage(actual, narrow) < 0.4
    assert scores.pit_deciles(actual, low)[9] > 0.9


def test_stability_by_hand():
    assert scores.stability(np.array([1.0, 4.0]), np.array([2.0, 2.0])) == pytest.approx(3 / 4)
    assert scores.stability(np.array([2.0, 2.0]), np.array([2.0, 2.0])) == 0


def test_nothing_sold_is_no_score():
    nothing = np.zeros(3)
    for score in (scores.wape(nothing, nothing), scores.bias(nothing, nothing), scores.wql(nothing, constant(nothing))):
        assert np.isnan(score)
    assert np.isnan(scores.mae(nothing[:0], nothing[:0]))
    assert np.isnan(scores.pit_deciles(nothing[:0], constant(nothing[:0]))).all()


def test_paired_gain_is_exact_where_every_item_gains_alike():
    loss = np.random.default_rng(0).gamma(2, 2, 300)
    gain = scores.paired_gain(0.8 * loss, loss, np.repeat(np.arange(30), 10))
    assert (gain.gain, gain.low, gain.high) == pytest.approx((0.2, 0.2, 0.2))


def test_paired_gain_is_unsure_where_one_item_makes_it():
    item = np.repeat(np.arange(20), 5)
    other = np.ones(100)
    mine = np.where(item == 0, 0.0, 1.0)
    gain = scores.paired_gain(mine, other, item)
    assert gain.gain == pytest.approx(0.05)
    assert gain.low == pytest.approx(0, abs=0.01)
    assert gain.high > 0.1
    assert gain == scores.paired_gain(mine, other, item)


def test_paired_gain_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(8)
    hits = 0
    for trial in range(60):
        other = rng.gamma(1, 1, 80)
        mine = other * rng.uniform(0.6, 1.2, 80)
        gain = scores.paired_gain(mine, other, np.arange(80), draws=300, seed=trial)
        hits += gain.low <= 0.1 <= gain.high
    assert hits >= 51


def test_the_interval_of_one_model_holds_its_wql():
    rng = np.random.default_rng(4)
    actual, loss, item = rng.poisson(3, 400).astype(float), rng.gamma(1, 1, 400), np.repeat(np.arange(40), 10)
    low, high = scores.wql_interval(loss, actual, item)
    assert low < loss.sum() / actual.sum() < high


positive = st.floats(0.0, 1e4, allow_nan=False)
vectors = st.integers(2, 12).flatmap(
    lambda n: st.tuples(
        arrays(float, n, elements=positive),
        arrays(float, n, elements=positive),
        arrays(float, (n, len(LEVELS)), elements=positive),
        st.floats(0.01, 100.0),
    )
)


@given(vectors)
def test_relative_scores_do_not_depend_on_the_unit_of_measure(case):
    actual, mean, quantiles, factor = case
    actual[0] += 1.0
    quantiles = np.sort(quantiles, axis=1)
    series = np.arange(len(actual)) % 2
    for score, forecast in ((scores.wape, mean), (scores.bias, mean), (scores.wql, quantiles)):
        assert score(factor * actual, factor * forecast) == pytest.approx(score(actual, forecast), rel=1e-6, abs=1e-9)
    scale = Scales(np.array([1.0, 3.0]), np.array([2.0, 5.0]))
    scaled = Scales(factor * scale.absolute, factor**2 * scale.squared)
    for score in (scores.mase, scores.rmsse):
        assert score(factor * actual, factor * mean, series, scaled) == pytest.approx(
            score(actual, mean, series, scale), rel=1e-6, abs=1e-9
        )


@given(arrays(float, st.integers(1, 20), elements=positive))
def test_a_perfect_forecast_scores_zero_and_covers_all(actual):
    actual[0] += 1.0
    series = np.zeros(len(actual), int)
    scale = Scales(np.ones(1), np.ones(1))
    perfect = constant(actual, actual)
    for zero in (
        scores.wape(actual, actual),
        scores.bias(actual, actual),
        scores.mae(actual, actual),
        scores.rmse(actual, actual),
        scores.wql(actual, perfect),
        scores.mase(actual, actual, series, scale),
        scores.rmsse(actual, actual, series, scale),
    ):
        assert zero == 0
    assert all(scores.coverage(actual, perfect, share) == 1 for share in (0.5, 0.8, 0.9))
    assert scores.pit_deciles(actual, perfect).sum() == pytest.approx(1)
