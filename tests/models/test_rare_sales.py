"""Days that sell with a chance below one in twenty: where the sales stand in their distribution."""

from datetime import date

import numpy as np
import pytest

from pipeline.models.base import Dependence
from pipeline.models.paths import Paths
from pipeline.models.quantiles import GRID_LEVELS
from pipeline.models.rare_sales import order_sizes, with_rare_sales
from tests.models.demand_panels import panel_of

G = len(GRID_LEVELS)
LAST = GRID_LEVELS.index(0.95)


def drawn(grid, mean, count=40_000):
    """Units of one day, drawn as the night draws them."""
    paths = Paths(date(2024, 1, 1), "v/1", Dependence(0.0, 0.0, 0.0), np.array(GRID_LEVELS), 1, count)
    small = grid[0].astype(np.float32)
    excess, _ = paths.tail(small, mean[0])
    return paths.draw("a", "", small, excess.astype(np.float32))


@pytest.mark.parametrize("size", [1.0, 2.0, 6.0])
@pytest.mark.parametrize("chance", [0.006, 0.012, 0.03, 0.045])
def test_a_day_sells_as_often_and_as_much_as_its_mean_and_its_orders_say(chance, size) -> None:
    mean = np.full((1, 1), chance * size)
    units = drawn(with_rare_sales(np.zeros((1, 1, G)), mean, np.array([size])), mean)
    assert (units > 0).mean() == pytest.approx(chance, rel=0.35, abs=0.002)
    if chance > 0.01 or size < 6:  # what lies beyond the grid's last level is bounded
        assert units.mean() == pytest.approx(chance * size, rel=0.25)


def test_without_it_the_same_mean_stands_in_a_few_large_days() -> None:
    mean = np.full((1, 1), 0.03)
    assert (drawn(np.zeros((1, 1, G)), mean) > 0).mean() < 0.01


def test_a_mean_that_one_day_in_twenty_cannot_carry_is_of_larger_orders() -> None:
    mean = np.full((1, 1), 0.4)
    units = drawn(with_rare_sales(np.zeros((1, 1, G)), mean, np.array([1.0])), mean)
    assert (units > 0).mean() == pytest.approx(0.05, rel=0.2)
    assert units.mean() == pytest.approx(0.4, rel=0.15)


def test_other_days_and_all_levels_up_to_the_last_learned_stay() -> None:
    random = np.random.default_rng(3)
    grid = np.sort(random.gamma(0.5, 3.0, (5, 7, G)), axis=2)
    grid[0] = 0.0
    grid[1, :, : LAST + 1] = 0.0
    mean = grid.mean(axis=2) + 0.02
    answer = with_rare_sales(grid, mean, np.full(5, 1.5))
    np.testing.assert_array_equal(answer[..., : LAST + 1], grid[..., : LAST + 1])
    np.testing.assert_array_equal(answer[2:], np.where((grid[2:, :, [LAST]] < 0.5), answer[2:], grid[2:]))
    assert (np.diff(answer, axis=2) >= 0).all()
    closed = with_rare_sales(np.zeros((1, 1, G)), np.zeros((1, 1)), np.array([1.5]))
    assert not closed.any()


def test_sizes_are_of_each_series_alone_and_of_the_last_year() -> None:
    units = np.zeros((3, 400))
    units[0, 40::2], units[1, 5] = 4, 400
    panel = panel_of(units)
    assert order_sizes(panel).tolist() == [pytest.approx((180 * 4 + 1) / 181), 1.0, 1.0]
    np.testing.assert_array_equal(order_sizes(panel.rows(slice(0, 1))), order_sizes(panel)[:1])
