"""Prompts: what they tell, and that they tell nothing that the night could not know."""

from dataclasses import replace
from datetime import date

import numpy as np

from pipeline.models.finetuning.prompts import Prompts
from pipeline.models.panel import PRICE_CUT
from tests.models.demand_panels import panel_of


def ramps(days, start, scale):
    distance = start - np.arange(days)
    return np.where((distance >= 0) & (distance <= 3 * scale), np.exp(-np.maximum(distance, 0) / scale), 0.0)


def november():
    """A series of ten a day but none on Sundays, from Monday 2011-09-19; the night is Sunday 2011-11-20."""
    units = np.tile([10.0] * 6 + [0.0], 9)[None, :]
    days = units.shape[1] + 28
    friday = 63 + 4
    calendar = np.stack(
        [
            ramps(days, friday, 3),
            ramps(days, friday, 14),
            np.where(np.arange(days) > friday, np.exp(-np.abs(np.arange(days) - friday - 1) / 4), 0),
            np.arange(days) == 63 + 3,
            np.full(days, 0.3),
        ],
        axis=1,
    ).astype(np.float32)
    promotion = np.zeros((1, days, 1), np.float32)
    promotion[0, 65:67] = 0.5
    lead = np.zeros((1, days, 1), np.uint8)
    lead[0, 65], lead[0, 66] = 3, 9  # the first was announced the day it became three days off
    return replace(
        panel_of(units, ahead=28, closed=np.arange(days) % 7 == 6),
        first_day=date(2011, 9, 19),
        calendar=calendar,
        calendar_names=(
            "black_friday_before_3",
            "black_friday_before_14",
            "black_friday_after_4",
            "holiday",
            "year_sin_1",
        ),
        promotion=promotion,
        promotion_kinds=("discount",),
        promotion_lead=lead,
        price=np.full((1, days), 2.55, np.float32),
        item_text=np.array(["RED LAMP"], dtype=np.str_),
    )


def test_a_prompt_in_full():
    assert Prompts(november()).of(0, 62, 0, 8.6) == (
        "item: RED LAMP. level: 8.6. sales: 12 12 12 12 12 12 0 12 12 12 12 12 12 0. weekly: 10 10 10 10 10 10 10 10. "
        "weeks ahead: 1 from monday. environment: week 47, black friday in 4 days, holiday thursday, closed sunday, "
        "discount wednesday thursday, price 2.55"
    )


def test_weeks_further_ahead_are_told_as_they_are():
    prompts = Prompts(november())
    following = prompts.of(0, 62, 1, 8.6)
    assert "weeks ahead: 2 from monday." in following
    assert "week 48, black friday 3 days ago, closed sunday, price" in following
    assert "black friday in 11 days" in prompts.of(0, 55, 0, 8.6)


def test_days_since_an_event_are_told_by_the_scale_of_its_column():
    """Christmas runs down by another scale where it is a small event, as in China."""
    days = np.arange(63 + 28)
    panel = november()
    small = np.where(days > 60, np.exp(-np.abs(days - 61) / 3), 0)[:, None].astype(np.float32)
    before = np.zeros_like(small)
    named = replace(
        panel,
        calendar=np.concatenate([panel.calendar, before, small, before], axis=1),
        calendar_names=(*panel.calendar_names, "christmas_before_7", "christmas_after_3", "own_event_before_3"),
    )
    assert "christmas 3 days ago" in Prompts(named).of(0, 62, 0, 8.6)
    assert "christmas 10 days ago" in Prompts(named).of(0, 62, 1, 8.6)


def test_a_promotion_not_yet_announced_is_not_told():
    prompts = Prompts(november())
    assert "discount wednesday thursday" in prompts.of(0, 62, 0, 8.6)
    assert "discount thursday, price" in prompts.of(0, 61, 0, 8.6)  # Wednesday's was announced a day later
    assert "discount" not in prompts.of(0, 55, 1, 8.6)


def test_a_planned_price_is_told_by_how_much_it_is_cut():
    panel = november()
    cut = np.concatenate([panel.promotion, 0.2 * (panel.promotion > 0)], axis=2).astype(np.float32)
    lead = np.repeat(panel.promotion_lead, 2, axis=2)
    planned = replace(panel, promotion=cut, promotion_kinds=("discount", PRICE_CUT), promotion_lead=lead)
    assert "price-cut 20% wednesday thursday, price" in Prompts(planned).of(0, 62, 0, 8.6)
    assert "price-cut 20% thursday, price" in Prompts(planned).of(0, 61, 0, 8.6)


def test_last_year_is_told_where_the_item_was_sold_then():
    units = np.full((2, 420), 4.0)
    units[0, 56:63] = 8  # 364 days before the week after the last night
    units[1, :100] = 0
    prompts = Prompts(panel_of(units))
    assert "last year: 20 20 20 20 20 20 20." in prompts.of(0, 419, 0, 4.0)
    assert "last year: 10 10 10 10 10 10 10." in prompts.of(0, 419, 1, 4.0)
    assert "last year" not in prompts.of(1, 419, 0, 4.0)
    assert "last year" not in prompts.of(0, 200, 0, 4.0)


def test_nothing_after_the_night_is_told():
    panel = november()
    night = 40
    changed = replace(
        panel, units=panel.units.copy(), units_winsorised=panel.units_winsorised.copy(), price=panel.price.copy()
    )
    changed.units[:, night + 1 :] = 999
    changed.units_winsorised[:, night + 1 :] = 999
    changed.price[:, night + 1 :] = 77
    for week in range(3):
        assert Prompts(panel).of(0, night, week, 8.6) == Prompts(changed).of(0, night, week, 8.6)


def test_new_items_and_bare_panels_have_prompts():
    units = np.zeros((1, 60))
    units[0, 57:] = 3
    prompt = Prompts(replace(panel_of(units), price=np.full((1, 88), np.nan, np.float32))).of(0, 59, 0, 1.0)
    assert prompt.startswith(
        "level: 1.0. sales: 0 0 0 0 0 0 0 0 0 0 0 30 30 30. weekly: new. weeks ahead: 1 from friday."
    )
    assert prompt.endswith("environment: week 9")
