"""Which origins a night scores, which items, and what it says when none fits."""

from datetime import date, timedelta

import numpy as np
import pytest

from pipeline.backtesting.origins import plan_origins, scored_rows
from pipeline.settings import BacktestSettings
from tests.forecasting.fakes import some_settings
from tests.models.demand_panels import panel_of

NIGHT = date(2017, 11, 26)


def settings_with(**backtest):
    settings = some_settings()
    return settings.model_copy(update={"backtest": BacktestSettings(**backtest)})


def test_rolling_origins_end_where_the_newest_is_scored_to_its_last_day():
    plan = plan_origins(settings_with(origins=3, every_days=14, horizon_days=28), date(2016, 1, 1), NIGHT)
    assert plan.origins == (date(2017, 10, 1), date(2017, 10, 15), date(2017, 10, 29))
    assert plan.origins[-1] + timedelta(days=28) == NIGHT
    assert plan.skipped == {}


def test_origins_before_enough_history_are_left_out_and_said():
    first = NIGHT - timedelta(days=28 + 56 + 30)
    plan = plan_origins(settings_with(origins=4), first, NIGHT)
    assert plan.origins == (NIGHT - timedelta(days=56), NIGHT - timedelta(days=28))
    assert plan.asked == 4
    reason = plan.skipped[NIGHT - timedelta(days=84)]
    assert reason.startswith("only 31 days of orders before it")
    assert f"the first possible origin is {first + timedelta(days=55)}" in reason


def test_the_first_possible_origin_has_exactly_the_history_asked_for():
    first = NIGHT - timedelta(days=28 + 55)
    assert plan_origins(settings_with(origins=1), first, NIGHT).origins == (NIGHT - timedelta(days=28),)
    assert plan_origins(settings_with(origins=1), first + timedelta(days=1), NIGHT).origins == ()


def test_explicit_origins_win_and_those_not_over_by_the_night_are_left_out():
    asked = (date(2017, 10, 29), date(2017, 5, 7), date(2017, 10, 30))
    plan = plan_origins(settings_with(on=asked), date(2016, 1, 1), NIGHT)
    assert plan.origins == (date(2017, 5, 7), date(2017, 10, 29))
    assert "not over by 2017-11-26; the last possible origin is 2017-10-29" in plan.skipped[date(2017, 10, 30)]


def test_no_origin_left_says_how_many_fit_and_what_to_change():
    settings = settings_with(origins=2)
    plan = plan_origins(settings, NIGHT - timedelta(days=49), NIGHT)
    message = str(plan.too_little(settings, plan.skipped))
    assert "0 of 2 origins fit" in message
    assert "cover 50 days (2017-10-08 to 2017-11-26); one origin needs 84" in message
    for name in ("training.min_history_days", "backtest.horizon_days", "almanac.yaml", "a later night"):
        assert name in message


@pytest.mark.parametrize(
    ("max_items", "expected"), [(10, [0, 2, 3]), (2, [0, 3])], ids=["all sold often", "best sellers only"]
)
def test_items_are_chosen_by_the_year_before_the_origin(max_items, expected):
    units = np.zeros((4, 500))
    units[0, 400:] = 5
    units[1, :130] = 9  # sold often, but longer than a year ago
    units[2, 440:] = 2
    units[3, 450:] = 20
    settings = BacktestSettings(max_items=10, min_sale_days=50).model_copy(update={"max_items": max_items})
    assert scored_rows(panel_of(units), settings).tolist() == expected
