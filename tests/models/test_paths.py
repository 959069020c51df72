from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from pipeline.models.base import Dependence, Forecast, Stretches
from pipeline.models.paths import Paths, SeriesPaths, path_quantiles
from pipeline.settings import QUANTILES
from tests.forecasting.fakes import AS_OF, LEVELS

PATHS = Paths(AS_OF, "gamma/1", Dependence(item=0.15, market=0.05, level=0.0), LEVELS, horizon=28, count=200)


def gamma_grid(rate: float, *, shape: float = 1.5, horizon: int = 28) -> np.ndarray:
    return np.tile((rate / shape) * stats.gamma.ppf(LEVELS, shape), (horizon, 1)).astype(np.float32)


def draw(paths: Paths, item: str, grid: np.ndarray, mean: float) -> np.ndarray:
    return paths.draw(item, "", grid, paths.tail(grid, np.full(len(grid), mean))[0])


def test_a_draw_is_the_same_again_and_another_item_night_or_version_draws_otherwise():
    grid = gamma_grid(20)
    mine = draw(PATHS, "a", grid, 20)
    assert (draw(replace(PATHS), "a", grid, 20) == mine).all()
    others = [
        draw(PATHS, "b", grid, 20),
        draw(replace(PATHS, as_of=AS_OF + timedelta(days=1)), "a", grid, 20),
        draw(replace(PATHS, model_version="gamma/2"), "a", grid, 20),
        PATHS.draw("a", "store 1", grid, PATHS.tail(grid, np.full(28, 20.0))[0]),
    ]
    assert all((other != mine).any() for other in others)


def test_each_day_of_the_paths_follows_its_marginal():
    paths = replace(PATHS, count=4000)
    units = draw(paths, "a", gamma_grid(20), 20)
    for level in (0.05, 0.25, 0.5, 0.75, 0.95):
        wanted = stats.gamma.ppf(level, 1.5, scale=20 / 1.5)
        assert np.quantile(units, level) == pytest.approx(wanted, rel=0.04, abs=0.6), level


@pytest.mark.parametrize("rate", [0.01, 0.1, 1.0, 20.0])
def test_the_paths_have_the_stated_mean_and_the_expectation_is_exact(rate: float):
    paths = replace(PATHS, count=20_000)
    k = np.arange(1, 400)
    mean = float(stats.gamma.sf((k - 0.5) / (rate / 1.5), 1.5).sum())
    grid = gamma_grid(rate)
    excess, expected = paths.tail(grid, np.full(28, mean))
    drawn = paths.draw("a", "", grid, excess).mean()
    assert drawn == pytest.approx(expected[0], rel=0.05, abs=0.002)
    assert expected[0] == pytest.approx(mean, rel=0.03, abs=0.005)


def test_the_tail_carries_what_the_grid_cannot_show():
    """An item that sells once in 400 days is zero at every level of the grid and still has a mean."""
    grid = np.zeros((28, len(LEVELS)), np.float32)
    assert PATHS.tail(grid, np.full(28, 0.008))[1][0] == pytest.approx(0.008, rel=0.1)


def test_a_mean_at_odds_with_its_quantiles_does_not_make_an_absurd_day():
    grid = gamma_grid(2)
    assert draw(PATHS, "a", grid, 500.0).max() < 500


def test_days_of_one_item_move_together_as_the_dependence_says():
    paths = replace(PATHS, count=5000, dependence=Dependence(item=0.3, market=0.0, level=0.0))
    units = draw(paths, "a", gamma_grid(200), 200).astype(float)
    ranks = stats.norm.ppf((stats.rankdata(units, axis=1) - 0.5) / 5000)
    between_days = np.corrcoef(ranks)[np.triu_indices(28, 1)]
    assert between_days.mean() == pytest.approx(0.3, abs=0.02)


def test_items_share_the_market_of_a_day():
    paths = replace(PATHS, count=5000, dependence=Dependence(item=0.0, market=0.25, level=0.0))
    first, second = (draw(paths, item, gamma_grid(200), 200).astype(float) for item in "ab")
    same_day = [np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1] for a, b in zip(first, second, strict=True)]
    next_day = [np.corrcoef(a, b)[0, 1] for a, b in zip(first[1:], second[:-1], strict=True)]
    assert np.mean(same_day) == pytest.approx(0.24, abs=0.03)
    assert abs(np.mean(next_day)) < 0.02


def test_all_items_share_the_level_of_the_shop_on_all_days():
    paths = replace(PATHS, count=5000, dependence=Dependence(item=0.0, market=0.0, level=0.1))
    first, second = (draw(paths, item, gamma_grid(200), 200).astype(float) for item in "ab")
    another_day = [
        np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1] for a, b in zip(first[1:], second, strict=False)
    ]
    assert np.mean(another_day) == pytest.approx(0.1, abs=0.02)


def test_sums_are_wider_than_independent_days_and_narrower_than_days_in_step():
    grid = gamma_grid(20)

    def width(item_share: float) -> float:
        paths = replace(PATHS, count=4000, dependence=Dependence(item=item_share, market=0.0, level=0.0))
        quantiles = path_quantiles(draw(paths, "a", grid, 20).sum(axis=0, dtype=np.int64))
        return float(quantiles[QUANTILES.index(0.9)] - quantiles[QUANTILES.index(0.1)])

    alone, tied, in_step = width(0.0), width(0.15), width(1.0)
    assert alone * 1.3 < tied < in_step * 0.8
    one_day = 20 / 1.5 * (stats.gamma.ppf(0.9, 1.5) - stats.gamma.ppf(0.1, 1.5))
    assert in_step == pytest.approx(28 * one_day, rel=0.05)


def test_sums_of_items_cover_what_they_claim_when_the_truth_has_this_dependence():
    """Truth drawn by other means (scipy, the exact distribution): 80 % intervals of weekly sums hold 80 % of it."""
    item_share, market_share, items, worlds = 0.15, 0.05, 60, 60
    paths = replace(PATHS, count=400, dependence=Dependence(item_share, market_share, level=0.0))
    rng = np.random.default_rng(3)
    rates = rng.uniform(10, 40, items)
    market = rng.standard_normal((worlds, 1, 28)) * np.sqrt(market_share)
    own = rng.standard_normal((worlds, items, 1)) * np.sqrt(item_share)
    rest = rng.standard_normal((worlds, items, 28)) * np.sqrt(1 - item_share - market_share)
    truth = np.floor(stats.gamma.ppf(stats.norm.cdf(market + own + rest), 1.5) * rates[:, None] / 1.5 + 0.5)
    drawn = np.stack([draw(paths, str(n), gamma_grid(rate), rate) for n, rate in enumerate(rates)]).astype(np.int64)

    def coverage(sums: np.ndarray, paths_of_sums: np.ndarray) -> float:
        quantiles = path_quantiles(paths_of_sums)
        low, high = quantiles[..., QUANTILES.index(0.1)], quantiles[..., QUANTILES.index(0.9)]
        return float(((sums >= low) & (sums <= high)).mean())

    weekly = truth.reshape(worlds, items, 4, 7).sum(-1)
    weekly_paths = drawn.reshape(items, 4, 7, 400).sum(2)
    assert coverage(weekly, weekly_paths) == pytest.approx(0.80, abs=0.03)
    assert coverage(weekly.sum(2), weekly_paths.sum(1)) == pytest.approx(0.80, abs=0.03)
    assert coverage(weekly.sum(1), weekly_paths.sum(0)) == pytest.approx(0.80, abs=0.06)


def of_one_series(spread: np.ndarray | None, *, rate: float = 20, horizon: int = 63, count: int = 400) -> SeriesPaths:
    grid = gamma_grid(rate, horizon=horizon)
    forecast = Forecast(
        np.full((1, horizon), float(rate)),
        np.zeros((1, horizon, len(QUANTILES))),
        grid[None].astype(float),
        LEVELS,
        stretches=None if spread is None else Stretches(28, spread),
    )
    paths = replace(PATHS, horizon=horizon, count=count)
    return SeriesPaths(paths, np.array(["a"]), np.array([""]), forecast)


def test_sums_of_stretches_move_most_of_the_way_to_the_learned_spread():
    wanted = np.exp(0.8 * stats.norm.ppf(QUANTILES))
    plain, _ = of_one_series(None).draw(0)
    moved, mean = of_one_series(np.stack([wanted, wanted])[None]).draw(0)
    for first in (0, 28):
        of_plain, of_moved = (path_quantiles(of[first : first + 28].sum(axis=0)) for of in (plain, moved))
        np.testing.assert_allclose(of_moved, 0.75 * 20 * 28 * wanted + 0.25 * of_plain, rtol=0.02)
        ranks = [stats.rankdata(of[first : first + 28].sum(axis=0)) for of in (plain, moved)]
        assert np.corrcoef(*ranks)[0, 1] > 0.999
    np.testing.assert_allclose(moved[56:], plain[56:], rtol=0.02)
    np.testing.assert_allclose(mean, moved.mean(axis=1))


def test_a_spread_that_was_not_learned_changes_nothing_but_the_mean():
    nothing = np.full((1, 2, len(QUANTILES)), np.nan)
    plain, moved = (of_one_series(spread, count=100).draw(0)[0] for spread in (None, nothing))
    ratio = moved / np.maximum(plain, 1)
    assert np.ptp(ratio[plain > 0]) < 0.01
    assert ratio[plain > 0].mean() == pytest.approx(1.0, abs=0.02)


@settings(max_examples=60, deadline=None)
@given(
    rate=st.floats(0.001, 1e4),
    spread=hnp.arrays(np.float64, (1, 2, len(QUANTILES)), elements=st.floats(0, 1e6)),
)
def test_moved_paths_stay_finite_and_within_bounds(rate, spread):
    plain, moved = (of_one_series(of, rate=rate, count=20).draw(0)[0] for of in (None, np.sort(spread)))
    assert np.isfinite(moved).all()
    assert (moved >= 0).all()
    assert (moved <= 10.0001 * plain).all()


@settings(max_examples=60, deadline=None)
@given(
    grid=hnp.arrays(np.float32, (7, 6), elements=st.floats(0, 1e6, width=32)),
    mean=hnp.arrays(np.float64, 7, elements=st.floats(0, 1e6)),
    item=st.text(max_size=8),
    share=st.tuples(st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0, 0.2)),
)
def test_paths_are_whole_units_within_bounds_whatever_the_marginals(grid, mean, item, share):
    levels = np.array([0.05, 0.2, 0.4, 0.6, 0.8, 0.95])
    paths = Paths(date(2020, 2, 29), "any", Dependence(*share), levels, horizon=7, count=20)
    grid = np.sort(grid, axis=1)
    excess, expected = paths.tail(grid, mean)
    units = paths.draw(item, "", grid, excess)
    assert units.shape == (7, 20)
    assert units.dtype == np.int32
    assert (units >= np.floor(grid[:, :1] + 0.5)).all()
    assert np.isfinite(expected).all()
    quantiles = path_quantiles(units.astype(np.int64))
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    assert (quantiles == np.floor(quantiles)).all()
