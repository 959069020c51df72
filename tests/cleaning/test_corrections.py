"""Corrected lines: booked when the correction became known, whatever was cancelled and in whatever order they came."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

MARCH_1 = date(2024, 3, 1)


def test_a_corrected_line_is_booked_when_the_correction_is_known(shop: Any, at: Callable[..., datetime]) -> None:
    shop.deliver([{"quantity": 10}])
    shop.deliver([{"quantity": 7, "version": 2, "available_at": at(5)}])
    report = shop.clean()

    assert shop.demand(date(2024, 3, 5)) == {("mug", MARCH_1): 10}
    assert shop.demand() == {("mug", MARCH_1): 7}
    assert report.measures["corrected"] == (1, -3)
    assert shop.sql("SELECT reason, units, lines FROM demand_changes WHERE reason = 'correction'") == [
        ("correction", -3, 0)
    ]


def test_a_line_corrected_in_the_same_delivery_counts_once(shop: Any) -> None:
    shop.deliver([{"quantity": 10}, {"quantity": 7, "version": 2}])
    shop.clean()

    assert shop.demand() == {("mug", MARCH_1): 7}


def test_a_line_corrected_twice_counts_once(shop: Any, at: Callable[..., datetime]) -> None:
    shop.deliver([{"quantity": 10}])
    shop.deliver([{"quantity": 7, "version": 2, "available_at": at(1)}])
    shop.deliver([{"quantity": 8, "version": 3, "available_at": at(2)}])
    shop.clean()

    assert [shop.demand(day)["mug", MARCH_1] for day in (date(2024, 3, 1), date(2024, 3, 2), date(2024, 3, 3))] == [
        10,
        7,
        8,
    ]


def test_a_correction_may_move_the_day_and_the_kind(shop: Any, at: Callable[..., datetime]) -> None:
    shop.deliver([{"quantity": 10}, {"order_id": "2", "quantity": 5}])
    shop.deliver(
        [
            {"quantity": 10, "version": 2, "ordered_at": at(-1), "available_at": at(1)},
            {"order_id": "2", "quantity": 5, "unit_price": 0.0, "version": 2, "available_at": at(1)},
        ]
    )
    shop.clean()

    assert shop.demand() == {("mug", date(2024, 2, 29)): 10}


def test_a_correction_of_a_cancelled_line_keeps_the_cancellation(shop: Any, at: Callable[..., datetime]) -> None:
    shop.deliver([{"quantity": 10}, {"order_id": "C2", "quantity": -4, "ordered_at": at(1)}])
    shop.deliver([{"quantity": 7, "version": 2, "available_at": at(2)}])
    shop.clean()

    assert shop.demand() == {("mug", MARCH_1): 3}


def test_a_correction_below_what_was_cancelled_leaves_nothing_negative(shop: Any, at: Callable[..., datetime]) -> None:
    shop.deliver([{"quantity": 10}, {"order_id": "C2", "quantity": -8, "ordered_at": at(1)}])
    shop.clean()
    shop.deliver([{"quantity": 3, "version": 2, "available_at": at(2)}])
    shop.clean()

    assert shop.demand() == {}
    assert shop.sql("SELECT sum(units) FROM netted_lines") == [(3,)]
    assert shop.demand(date(2024, 3, 2)) == {("mug", MARCH_1): 2}


def test_a_correction_of_a_quarantined_line_is_a_sale(shop: Any, at: Callable[..., datetime]) -> None:
    shop.deliver([{"quantity": 10}], quarantined=[2])
    shop.deliver([{"quantity": 7, "version": 2, "available_at": at(1)}])
    shop.clean()

    assert shop.sql("SELECT reason, units FROM demand_changes") == [("sale", 7)]


def test_a_line_whose_correction_was_known_first_counts_no_more(shop: Any, at: Callable[..., datetime]) -> None:
    shop.deliver([{"quantity": 7, "version": 2, "available_at": at(1)}])
    shop.clean()
    shop.deliver([{"quantity": 10, "version": 1, "available_at": at(2)}])
    report = shop.clean()

    assert shop.demand() == {("mug", MARCH_1): 7}
    assert report.measures["stale"] == (1, 0)


def test_a_line_cleaned_after_its_correction_counts_on_the_nights_between(
    shop: Any, at: Callable[..., datetime]
) -> None:
    # a corrected file that begins with repeats makes known early what was known, and is cleaned first
    shop.deliver(
        [{"quantity": 7, "version": 2, "available_at": at(30)}, {"order_id": "0", "is_repeat": True}], name="a.csv"
    )
    shop.deliver(
        [{"quantity": 10, "available_at": at(1)}, {"quantity": 8, "version": 3, "available_at": at(60)}], name="b.csv"
    )
    shop.clean()

    nights = {day: shop.demand(day).get(("mug", MARCH_1)) for day in map(date.fromisoformat, ["2024-03-01", "2024-03-02", "2024-03-31", "2024-04-30"])}  # fmt: skip
    assert list(nights.values()) == [None, 10, 7, 8]
