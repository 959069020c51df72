"""Outliers: single bulk days are cut; seasons, promotions, festivals and sparse series are not."""

from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.as_of import as_of_view
from pipeline.lake import Lake
from pipeline.settings import ComputeSettings
from tests.forecasting.fakes import write_demand

DAYS = 730
FIRST = date(2022, 1, 1)


def winsorised(units: np.ndarray) -> np.ndarray:
    """(S, T) units as a night after them is trained on, through a lake and the as-of view."""
    night = FIRST + timedelta(days=units.shape[1] - 1)
    sold = [
        (str(series), "", FIRST + timedelta(days=day), units[series, day])
        for series, day in np.argwhere(units > 0).tolist()
    ]
    cut = np.zeros_like(units)
    with TemporaryDirectory() as home:
        lake = Lake(Path(home), ComputeSettings(threads=1, memory_limit="300MB"))
        write_demand(lake, sold, known_on=night)
        with as_of_view(lake, night) as view:
            found = view.con.execute("SELECT item_id, day, units_winsorised, units, is_outlier FROM demand_daily")
            for item, day, pulled_in, whole, is_outlier in found.fetchall():
                cut[int(item), (day - FIRST).days] = pulled_in
                assert whole == units[int(item), (day - FIRST).days]
                assert is_outlier == (pulled_in < whole)
    return cut


def shop_of(series: int = 30, mean: float = 12.0, seed: int = 3) -> np.ndarray:
    """Series with a week, over-dispersed as real ones are."""
    rng = np.random.default_rng(seed)
    level = rng.lognormal(np.log(mean), 0.5, (series, 1))
    week = 1 + 0.3 * np.sin(2 * np.pi * np.arange(DAYS) / 7)
    return rng.poisson(level * week * rng.gamma(3, 1 / 3, (series, DAYS)))


def test_a_bulk_day_is_cut_and_nothing_else() -> None:
    units = shop_of()
    dirty = units.copy()
    dirty[4, 300] = 74_215

    cut = winsorised(dirty)

    assert cut[4, 300] < 20 * units[4].mean()
    assert (cut != dirty).sum() <= 3


def test_a_season_and_a_promotion_of_a_few_days_are_not_cut() -> None:
    units = shop_of()
    units[:5] *= np.where((np.arange(DAYS) % 365 > 320) & (np.arange(DAYS) % 365 < 350), 15, 1)
    units[7, 200:204] = 30 * units[7].mean()

    cut = winsorised(units)

    assert (cut[:5] == units[:5]).mean() > 0.9995
    assert (cut[7, 200:204] == units[7, 200:204]).all()


def test_a_one_day_festival_of_the_whole_shop_is_not_cut() -> None:
    units = shop_of()
    units[:, 314] *= 25

    assert (winsorised(units)[:, 314] == units[:, 314]).mean() > 0.95


def test_an_item_that_sells_ones_may_sell_a_dozen() -> None:
    rng = np.random.default_rng(5)
    units = (rng.random((40, DAYS)) < 0.05).astype(np.int64)
    units[:, 100] = 12
    units[3, 200] = 900

    cut = winsorised(units)

    assert (cut[:, 100] == 12).all()
    assert cut[3, 200] < 100


def test_a_series_with_few_sales_is_left_alone() -> None:
    units = np.zeros((3, 100), np.int64)
    units[0, 10], units[0, 20] = 2, 5000

    assert (winsorised(units) == units).all()


def test_a_day_is_measured_by_its_own_year() -> None:
    """An item that sells a hundred times more two years later was small when it was small."""
    units = shop_of(mean=4)
    units[0, :365], units[0, 365:] = units[0, :365].clip(1, 6), 100 + units[0, 365:]
    units[0, 200] = 250

    cut = winsorised(units)

    assert cut[0, 200] < 100
    assert (np.delete(cut[0], 200) == np.delete(units[0], 200)).all()


def test_a_series_with_few_sales_in_its_four_quarters_is_left_alone() -> None:
    """However many it had before: they tell nothing of what is usual now."""
    units = np.zeros((1, DAYS), np.int64)
    units[0, :180:5] = 3
    units[0, 640] = 900
    units[0, 100] = 900

    cut = winsorised(units)

    assert cut[0, 100] < 900
    assert cut[0, 640] == 900


sales = st.integers(0, 10**6)


@given(
    arrays(np.int64, st.tuples(st.integers(1, 3), st.integers(1, 40)), elements=sales).filter(lambda units: units.any())
)
@settings(max_examples=15, deadline=None)
def test_no_day_is_raised_and_no_sale_vanishes(units: np.ndarray) -> None:
    cut = winsorised(units)

    assert (cut <= units).all()
    assert ((cut > 0) == (units > 0)).all()
