"""Outliers: single bulk days are cut; seasons, promotions, festivals and sparse series are not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.cleaning.outliers import winsorise

DAYS = 730


def shop_of(series: int = 60, mean: float = 12.0, seed: int = 3) -> np.ndarray:
    """Series with a week, over-dispersed as real ones are."""
    rng = np.random.default_rng(seed)
    level = rng.lognormal(np.log(mean), 0.5, (series, 1))
    week = 1 + 0.3 * np.sin(2 * np.pi * np.arange(DAYS) / 7)
    return rng.poisson(level * week * rng.gamma(3, 1 / 3, (series, DAYS))).astype(np.float32)


def test_a_bulk_day_is_cut_and_nothing_else() -> None:
    units = shop_of()
    dirty = units.copy()
    dirty[4, 300] = 74_215

    cut = winsorise(dirty)

    assert cut[4, 300] < 20 * units[4].mean()
    assert (cut != dirty).sum() <= 3
    assert dirty[4, 300] == 74_215


def test_a_season_is_not_cut() -> None:
    units = shop_of()
    season = np.where((np.arange(DAYS) % 365 > 320) & (np.arange(DAYS) % 365 < 350), 15, 1)
    units[:10] *= season

    assert (winsorise(units)[:10] == units[:10]).mean() > 0.9995


def test_a_promotion_of_a_few_days_is_not_cut() -> None:
    units = shop_of()
    units[7, 200:204] = 30 * units[7].mean()

    assert (winsorise(units)[7, 200:204] == units[7, 200:204]).all()


def test_a_one_day_festival_of_the_whole_shop_is_not_cut() -> None:
    units = shop_of()
    units[:, 314] *= 25

    assert (winsorise(units)[:, 314] == units[:, 314]).mean() > 0.95


def test_an_item_that_sells_ones_may_sell_a_dozen() -> None:
    rng = np.random.default_rng(5)
    units = (rng.random((40, DAYS)) < 0.05).astype(np.float32)
    units[:, 100] = 12
    units[3, 200] = 900

    cut = winsorise(units)

    assert (cut[:, 100] == 12).all()
    assert cut[3, 200] < 100


def test_a_series_with_few_sales_is_left_alone() -> None:
    units = np.zeros((3, 100), np.float32)
    units[0, 10], units[0, 20] = 2, 5000

    assert (winsorise(units) == units).all()


@pytest.mark.parametrize("shape", [(0, 10), (5, 10)], ids=["no series", "no sales"])
def test_nothing_sold_is_nothing_cut(shape: tuple[int, int]) -> None:
    assert winsorise(np.zeros(shape, np.float32)).shape == shape


@given(arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 40)), elements=st.integers(0, 10**6).map(float)))
@settings(max_examples=25, deadline=None)
def test_no_day_is_raised_and_no_sale_vanishes(units: np.ndarray) -> None:
    cut = winsorise(units)

    assert (cut <= units).all()
    assert ((cut > 0) == (units > 0)).all()
    assert (cut == np.round(cut)).all()
