"""Prices: carried forward from the last sale, and never back."""

from datetime import date, timedelta

import numpy as np
import pytest

from pipeline.as_of import as_of_view
from pipeline.enrichment.prices import price_array

DAY0 = date(2017, 1, 2)


def day(n: int) -> date:
    return DAY0 + timedelta(days=n)


def prices(shop, items=("a",), history=10, horizon=5, first=0, night=60, locations=None, by_location=False):
    with as_of_view(shop.lake, day(night), by_location=by_location) as view:
        return price_array(view.con, list(items), locations or [""] * len(items), day(first), history, horizon)


def test_a_price_is_carried_forward_and_stands_beyond_the_night(shop) -> None:
    shop.sell([("a", day(0), 2, 1.5), ("a", day(4), 1, 2.5)])
    (row,) = prices(shop)
    assert row.dtype == np.float32
    assert row.tolist() == [1.5] * 4 + [2.5] * 11


def test_a_price_is_never_filled_back(shop) -> None:
    shop.sell([("a", day(3), 1, 2.0), ("b", day(0), 1, 1.0)])
    a, b, never = prices(shop, items=("a", "b", "x"))
    assert np.isnan(a[:3]).all()
    assert (a[3:] == 2.0).all()
    assert (b == 1.0).all()
    assert np.isnan(never).all()


def test_the_last_sale_before_the_first_day_counts(shop) -> None:
    shop.sell([("a", day(-20), 1, 9.0), ("a", day(-5), 1, 3.0), ("a", day(2), 1, 4.0), ("b", day(-1), 1, 1.0)])
    a, b = prices(shop, items=("a", "b"))
    assert a[:3].tolist() == [3.0, 3.0, 4.0]
    assert (b == 1.0).all()


def test_a_sale_on_the_first_day_wins_over_an_earlier_one(shop) -> None:
    shop.sell([("a", day(-5), 1, 3.0), ("a", day(0), 1, 4.0)])
    assert prices(shop)[0][0] == 4.0


def test_a_sale_beyond_the_history_is_not_read(shop) -> None:
    shop.sell([("a", day(0), 1, 1.0), ("a", day(12), 1, 8.0)])
    assert (prices(shop, history=10) == 1.0).all()


def test_a_sale_not_known_on_the_night_is_not_read(shop) -> None:
    shop.sell([("a", day(0), 1, 1.0)])
    shop.sell([("a", day(4), 1, 8.0)], known_on=day(30), part="late")
    assert (prices(shop, night=29) == 1.0).all()
    assert prices(shop, night=30)[0][4] == 8.0


def test_prices_of_locations_stay_apart(shop) -> None:
    shop.sell([("a", day(0), 1, 1.0)], location="north")
    shop.sell([("a", day(0), 1, 3.0)], location="south", part="south")
    north, south = prices(shop, items=("a", "a"), locations=["north", "south"], by_location=True)
    assert (north[0], south[0]) == (1.0, 3.0)
    assert prices(shop)[0][0] == 2.0


def test_many_random_series_are_as_a_plain_loop_fills_them(shop) -> None:
    random = np.random.default_rng(3)
    items = [f"i{n}" for n in range(40)]
    sales = sorted(
        {
            (items[random.integers(40)], int(random.integers(-10, 30))): float(random.integers(1, 99))
            for _ in range(300)
        }.items()
    )
    shop.sell([(item, day(n), 1, price) for (item, n), price in sales])
    found = prices(shop, items=items, history=25, horizon=4)
    expected = np.full((40, 29), np.nan)
    for (item, n), price in sorted(sales, key=lambda sale: sale[0][1]):
        if n < 25:
            expected[items.index(item), max(n, 0) :] = price
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_nothing_asked_gives_nothing(shop) -> None:
    shop.sell([("a", day(0), 1, 1.0)])
    assert prices(shop, items=()).shape == (0, 15)


def test_items_and_locations_must_match(shop) -> None:
    shop.sell([("a", day(0), 1, 1.0)])
    with pytest.raises(ValueError, match="1 items, but 2 locations"):
        prices(shop, items=("a",), locations=["", ""])
