"""Cleaning as a whole: raw lines in, ledgers out."""

import math
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pytest

from pipeline.errors import SettingsError

MARCH_1 = date(2024, 3, 1)


def kinds(shop: Any) -> dict[str, int]:
    return dict(shop.sql("SELECT kind, count(*) FROM order_lines GROUP BY ALL"))


def test_every_accepted_line_is_kept_with_its_kind(shop: Any) -> None:
    part = shop.deliver(
        [
            {"order_id": "1"},
            {"order_id": "A2", "quantity": -1, "unit_price": 50.0},
            {"order_id": "C3", "quantity": -1},
            {"order_id": "4", "quantity": -2},
            {"order_id": "5", "quantity": -9, "unit_price": 0.0, "item_text": "damages"},
            {"order_id": "6", "unit_price": 0.0},
            {"order_id": "7", "item_id": "POST"},
            {"order_id": "8", "unit_price": -3.0},
            {"order_id": "9", "is_repeat": True},
            {"order_id": "10", "problem": "quantity is no number", "problem_column": "quantity"},
            {"order_id": "11"},
        ],
        quarantined=[12],
    )
    report = shop.clean()

    assert kinds(shop) == {
        "sale": 1, "adjustment": 2, "cancellation": 1, "return": 1, "write_off": 1, "free": 1, "non_merchandise": 1,
    }  # fmt: skip
    assert report.lines == 8
    counted = shop.sql(f"SELECT sum(value) FROM cleaning_report WHERE file_hash = '{part}' AND measure LIKE 'lines:%'")
    assert counted == [(8,)]
    assert report.measures["lines:write_off"] == (1, -9)


def test_only_sales_are_demand(shop: Any) -> None:
    shop.deliver(
        [
            {"order_id": "1", "quantity": 3},
            {"order_id": "2", "quantity": 5, "unit_price": 0.0},
            {"order_id": "3", "quantity": 7, "item_id": "POST"},
            {"order_id": "4", "quantity": -9, "unit_price": 0.0},
        ]
    )
    shop.clean()

    assert shop.demand() == {("mug", MARCH_1): 3}


def test_a_day_is_the_shops_local_day(new_shop: Callable[..., Any]) -> None:
    shop = new_shop(timezone="Asia/Shanghai")
    shop.deliver(
        [{"ordered_at": datetime(2024, 3, 1, 15, 59)}, {"order_id": "2", "ordered_at": datetime(2024, 3, 1, 16)}]
    )
    shop.clean()

    assert shop.demand() == {("mug", date(2024, 3, 1)): 1, ("mug", date(2024, 3, 2)): 1}


def test_money_is_stated_in_the_shops_currency(new_shop: Callable[..., Any]) -> None:
    shop = new_shop(exchange_rates={"USD": 0.9})
    shop.deliver([{"quantity": 2}, {"order_id": "2", "quantity": 3, "currency": "USD", "unit_price": 10.0}])
    shop.clean()

    assert shop.sql("SELECT sum(revenue)::DOUBLE FROM demand_changes") == [(5 + 27,)]


def test_a_currency_without_rate_is_named(shop: Any) -> None:
    shop.deliver([{"currency": "USD"}])

    with pytest.raises(SettingsError, match=r"orders_001\.csv: lines in USD.*exchange_rates"):
        shop.clean()
    assert shop.sql("SELECT * FROM cleaning_report") == []


def test_a_source_without_mapping_is_named(shop: Any) -> None:
    shop.deliver([{}])
    (shop.home / "shop.yaml").write_text((shop.home / "shop.yaml").read_text().replace("name: shop", "name: other"))

    with pytest.raises(SettingsError, match="'shop'"):
        shop.clean()


def test_the_master_category_tells_the_kind_from_when_it_was_known(shop: Any) -> None:
    shop.deliver_items([{"item_id": "gas", "item_text": "GAS", "category": "FUEL > UNLEADED"}], date(2024, 3, 2))
    shop.deliver([{"item_id": "gas"}, {"order_id": "2", "item_id": "gas", "ordered_at": datetime(2024, 3, 2, 8)}])
    shop.clean()

    assert shop.sql("SELECT demand_day, kind, category FROM order_lines ORDER BY 1") == [
        (date(2024, 3, 1), "sale", None),
        (date(2024, 3, 2), "non_merchandise", None),
    ]


# --- netting --------------------------------------------------------------------------------------------------------


def test_a_huge_order_cancelled_minutes_later_leaves_no_peak(shop: Any, at: Callable[..., datetime]) -> None:
    shop.deliver(
        [
            {"order_id": "541431", "quantity": 74_215, "ordered_at": at(0)},
            {"order_id": "C541433", "quantity": -74_215, "ordered_at": at(0, 16)},
        ]
    )
    report = shop.clean()

    assert shop.demand() == {}
    assert report.measures["netted"] == (1, 74_215)
    assert shop.sql("SELECT sum(units), sum(lines), sum(revenue)::DOUBLE FROM demand_changes") == [(0, 0, 0)]


def test_a_past_night_still_sees_what_was_cancelled_later(shop: Any, at: Callable[..., datetime]) -> None:
    shop.deliver([{"quantity": 10, "ordered_at": at(0)}, {"order_id": "C2", "quantity": -4, "ordered_at": at(3)}])
    shop.clean()

    assert shop.demand(as_of=date(2024, 3, 3)) == {("mug", MARCH_1): 10}
    assert shop.demand(as_of=date(2024, 3, 4)) == {("mug", MARCH_1): 6}


def test_a_cancellation_in_a_later_delivery_finds_its_order(shop: Any, at: Callable[..., datetime]) -> None:
    shop.deliver([{"quantity": 10, "ordered_at": at(0)}, {"order_id": "C2", "quantity": -4, "ordered_at": at(1)}])
    shop.clean()
    shop.deliver([{"order_id": "C3", "quantity": -8, "ordered_at": at(2)}])
    report = shop.clean()

    assert shop.demand() == {}
    assert report.measures["netted"] == (1, 6)
    assert report.measures["unmatched_cancellations"] == (1, 2)


@pytest.mark.parametrize(
    ("cancelling", "left"),
    [
        ({"quantity": -4}, 0),
        ({"quantity": -3}, 4),
        ({"quantity": -4, "unit_price": 2.4}, 4),
        ({"quantity": -4, "location": "other"}, 4),
        ({"quantity": -4, "customer_key": "ann"}, 4),
    ],
    ids=["exact", "another quantity", "another price", "another place", "a known customer"],
)
def test_without_a_customer_only_an_exact_match_counts(
    shop: Any, at: Callable[..., datetime], cancelling: dict[str, Any], left: int
) -> None:
    shop.deliver(
        [
            {"quantity": 4, "customer_key": None, "ordered_at": at(0)},
            {"order_id": "C2", "customer_key": None, "ordered_at": at(1), **cancelling},
        ]
    )
    shop.clean()

    assert sum(shop.demand().values()) == left


def test_without_a_customer_the_match_must_be_recent(shop: Any, at: Callable[..., datetime]) -> None:
    shop.deliver(
        [
            {"quantity": 4, "customer_key": None, "ordered_at": at(0)},
            {"order_id": "C2", "quantity": -4, "customer_key": None, "ordered_at": at(8)},
        ]
    )
    shop.clean()

    assert sum(shop.demand().values()) == 4


def test_a_cancellation_is_booked_at_the_orders_price(shop: Any, at: Callable[..., datetime]) -> None:
    shop.deliver(
        [
            {"quantity": 10, "unit_price": 2.0, "ordered_at": at(0)},
            {"order_id": "C2", "quantity": -4, "unit_price": 3.0, "ordered_at": at(1)},
        ]
    )
    shop.clean()

    assert shop.sql("SELECT reason, units, lines, revenue::DOUBLE FROM demand_changes ORDER BY 1") == [
        ("cancellation", -4, 0, -8.0),
        ("sale", 10, 1, 20.0),
    ]


# --- items ----------------------------------------------------------------------------------------------------------


def test_texts_are_normalised_and_seen_on_sales_only(shop: Any) -> None:
    shop.deliver(
        [
            {"item_text": " WHITE  <b>MUG</b> "},
            {"order_id": "2", "item_text": "white mug"},
            {"order_id": "3", "item_text": "sold as set on dotcom", "unit_price": 0.0},
            {"order_id": "4", "item_text": "damages", "quantity": -3, "unit_price": 0.0},
            {"order_id": "5", "item_text": None},
        ]
    )
    shop.clean()

    assert shop.sql("SELECT item_text, origin, lines FROM item_sightings ORDER BY 1") == [
        ("", "orders", 1),
        ("white mug", "orders", 2),
    ]


def test_a_correction_takes_its_old_text_back(shop: Any, at: Callable[..., datetime]) -> None:
    shop.deliver([{"item_text": "a mgu"}])
    shop.deliver([{"item_text": "a mug", "version": 2, "available_at": at(1)}])
    shop.clean()

    assert shop.sql("SELECT item_text, sum(lines) FROM item_sightings GROUP BY 1 HAVING sum(lines) <> 0") == [
        ("a mug", 1)
    ]


def test_launches_are_announced_in_the_shops_currency(new_shop: Callable[..., Any]) -> None:
    shop = new_shop(exchange_rates={"USD": 0.5})
    said = [
        {"item_id": "mug", "unit_price": 4.0, "currency": "EUR", "on_sale_from": date(2024, 3, 9)},
        {"item_id": "cup", "unit_price": 4.0, "currency": "USD"},
        {"item_id": "jug", "unit_price": 4.0, "currency": "XXX"},
        {"item_id": "urn", "unit_price": math.nan, "currency": "EUR", "on_sale_from": date(2024, 3, 9)},
        {"item_id": "pot", "item_text": "says nothing of its launch"},
    ]
    shop.deliver_items(said, MARCH_1)
    shop.clean()
    assert shop.sql("SELECT item_id, on_sale_from, unit_price, known_on FROM announced_items ORDER BY item_id") == [
        ("cup", None, 2.0, MARCH_1),
        ("mug", date(2024, 3, 9), 4.0, MARCH_1),
        ("urn", date(2024, 3, 9), None, MARCH_1),
    ]


def test_item_master_data_is_sighted_as_master(shop: Any) -> None:
    shop.deliver_items([{"item_id": "mug", "item_text": "The MUG", "category": "Home > Cups"}], MARCH_1)
    shop.clean()

    assert shop.sql("SELECT item_id, item_text, category, origin, known_on FROM item_sightings") == [
        ("mug", "the mug", "Home > Cups", "master", MARCH_1)
    ]
