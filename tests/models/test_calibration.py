"""How far the whole shop may go another way than was known: as its months moved, and further in a season never seen."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pipeline.models.base import Dependence, Forecast
from pipeline.models.calibration import _monthly_move, level_share
from pipeline.models.panel import Panel
from pipeline.models.paths import Paths, SeriesPaths
from pipeline.models.quantiles import GRID_LEVELS
from tests.models.demand_panels import panel_of

SERIES, AHEAD, RATE = 300, 28, 4.0
HALF_SEEN = 365 - AHEAD // 2
EACH = np.ones(SERIES)


def level(moves: float, days: int = 730) -> np.ndarray:
    """The level of a shop, drawn anew every month."""
    drawn = np.random.default_rng(1).normal(size=days // 28 + 1)
    return np.repeat(np.exp(moves * drawn), 28)[:days]


def shop(moves: float, days: int = 730) -> Panel:
    random = np.random.default_rng(2)
    return panel_of(random.poisson(RATE * level(moves, days), size=(SERIES, days)), ahead=AHEAD)


def forecast(rate: float = RATE, shape: float = 0.8) -> Forecast:
    levels = np.array(GRID_LEVELS)
    grid = np.broadcast_to(stats.gamma.ppf(levels, shape, scale=rate / shape), (SERIES, AHEAD, len(levels)))
    return Forecast(np.full((SERIES, AHEAD), rate), grid[..., ::4], grid, levels)


def spread_of_month(panel: Panel, dependence: Dependence) -> float:
    """Standard deviation of the log of the whole shop's 28 days, in the paths of a forecast."""
    paths = Paths(panel.as_of, "shop/1", dependence, np.array(GRID_LEVELS), AHEAD, count=200)
    drawn = SeriesPaths(paths, panel.item_id, panel.location, forecast())
    total = sum(drawn.draw(row)[0].sum(axis=0) for row in range(SERIES))
    return float(np.log(total).std())


@pytest.mark.parametrize("moves", [0.1, 0.2, 0.3])
def test_the_shop_is_as_unsure_as_its_months_moved(moves):
    truth = level(moves)
    months = [truth[day : day + 28].mean() for day in range(len(truth) - 27)]
    moved = np.std([np.log(months[day + 28] / months[day]) for day in range(len(months) - 28)])
    panel = shop(moves)
    share = level_share(panel, forecast(), EACH, market=0.0)
    assert spread_of_month(panel, Dependence(item=0.0, market=0.0, level=share)) == pytest.approx(moved, rel=0.15)


def test_what_the_days_have_in_common_counts():
    panel = shop(0.15)
    alone, beside = (level_share(panel, forecast(), EACH, market) for market in (0.0, 0.1))
    assert beside == pytest.approx(alone - 0.1 / 28)
    assert level_share(panel, forecast(), EACH, market=0.9) == 0.0


def test_items_that_sell_rarely_respond_more_and_count_for_all_that_they_stand_for():
    panel = shop(0.2)
    often, rarely = forecast(), forecast(0.02, shape=0.05)
    both = Forecast(*(np.concatenate([one, other]) for one, other in (
        (often.mean, rarely.mean), (often.quantiles, rarely.quantiles), (often.grid, rarely.grid)
    )), often.grid_levels)  # fmt: skip
    shares = [level_share(panel, both, np.repeat([1.0, many], SERIES), market=0.0) for many in (1, 200)]
    assert shares[1] < 0.7 * shares[0]


def test_a_season_never_seen_is_less_sure():
    shares = [level_share(shop(0.1, days), forecast(), EACH, market=0.0) for days in (HALF_SEEN - 14, HALF_SEEN, 365)]
    assert shares[0] > 1.5 * shares[1] > 3 * shares[2]


@pytest.mark.parametrize(("days", "moves"), [(30, 0.2), (70, 0.2), (83, 0.2), (140, 0.073), (730, 0.0145)])
def test_a_short_history_is_believed_to_move_as_shops_do(days, moves):
    assert _monthly_move(shop(0.0, days)) == pytest.approx(moves, rel=0.15)


def test_a_shop_that_opens_slowly_and_closes_for_weeks_does_not_move():
    steady = shop(0.0)
    closed = np.isin(np.arange(730 + AHEAD) % 365, range(340, 361))
    units = np.where(closed[:730] | (np.arange(730) < 25), 0, steady.units).astype(np.float32)
    shut = replace(steady, closed=closed, units=units, units_winsorised=units)
    assert _monthly_move(shut) == pytest.approx(_monthly_move(steady), abs=0.002)


def test_nothing_sold_and_nothing_expected_is_no_error():
    nothing = Forecast(
        np.zeros((2, 28)), np.zeros((2, 28, 11)), np.zeros((2, 28, len(GRID_LEVELS))), np.array(GRID_LEVELS)
    )
    assert 0.0 <= level_share(panel_of(np.zeros((2, 100))), nothing, np.ones(2), market=0.02) <= 0.2
