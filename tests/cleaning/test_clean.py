"""Cleaning as a whole: raw lines in, ledgers out."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import SettingsError
from pipeline.lake import Lake

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


# --- corrections ----------------------------------------------------------------------------------------------------


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


def test_item_master_data_is_sighted_as_master(shop: Any) -> None:
    shop.deliver_items([{"item_id": "mug", "item_text": "The MUG", "category": "Home > Cups"}], MARCH_1)
    shop.clean()

    assert shop.sql("SELECT item_id, item_text, category, origin, known_on FROM item_sightings") == [
        ("mug", "the mug", "Home > Cups", "master", MARCH_1)
    ]


# --- running again --------------------------------------------------------------------------------------------------


def a_few_deliveries(shop: Any, at: Callable[..., datetime]) -> None:
    shop.deliver_items([{"item_id": "mug", "item_text": "MUG", "category": "CUPS"}], MARCH_1)
    shop.deliver([{"quantity": 10}, {"order_id": "2", "quantity": 5, "ordered_at": at(1)}])
    shop.deliver(
        [{"order_id": "C3", "quantity": -7, "ordered_at": at(2)}, {"quantity": 9, "version": 2, "available_at": at(3)}]
    )


def test_cleaning_again_changes_nothing(shop: Any, at: Callable[..., datetime]) -> None:
    a_few_deliveries(shop, at)
    shop.clean()
    before = shop.ledger()
    report = shop.clean()

    assert report.deliveries == 0
    assert shop.ledger() == before


@pytest.mark.parametrize("written", [1, 2, 4, 6, 8])
def test_a_killed_run_resumes_to_the_same_ledger(
    new_shop: Callable[..., Any], at: Callable[..., datetime], monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    whole, killed = new_shop(), new_shop()
    for shop in (whole, killed):
        a_few_deliveries(shop, at)
    whole.clean()
    calls = 0
    write, write_partitions = Lake.write, Lake.write_partitions

    def count() -> None:
        nonlocal calls
        calls += 1
        if calls > written:
            raise KeyboardInterrupt

    def dying_write(self: Lake, *args: Any, **kwargs: Any) -> int:
        count()
        return write(self, *args, **kwargs)

    def dying_write_partitions(self: Lake, *args: Any, **kwargs: Any) -> Any:
        count()
        return write_partitions(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Lake, "write", dying_write)
        patched.setattr(Lake, "write_partitions", dying_write_partitions)
        with pytest.raises(KeyboardInterrupt):
            killed.clean()
    killed.clean()

    assert killed.ledger() == whole.ledger()


def test_a_delivery_that_is_not_validated_waits(shop: Any) -> None:
    part = shop.deliver([{}])
    shop.lake.part_path("data_quality", {"file_hash": part}, "part").unlink()

    assert shop.clean().deliveries == 0


def test_a_delivery_of_bad_lines_only_is_cleaned_once(shop: Any) -> None:
    shop.deliver([{}], quarantined=[2])

    assert shop.clean().lines == 0
    assert shop.clean().deliveries == 0


# --- how lines are cut into deliveries --------------------------------------------------------------------------------

LINE = st.fixed_dictionaries(
    {
        "item_id": st.sampled_from(["mug", "cup"]),
        "customer_key": st.sampled_from(["ann", "bob", None]),
        "quantity": st.sampled_from([1, 2, 2, 3, 9, -1, -2, -2, -3]),
        "minutes": st.integers(0, 6 * 24 * 60),
        "late": st.sampled_from([0, 0, 0, 2]),
    }
)


@given(lines=st.lists(LINE, min_size=2, max_size=14), data=st.data())
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_demand_does_not_depend_on_how_lines_are_cut_into_deliveries(
    new_shop: Callable[..., Any], at: Callable[..., datetime], lines: list[dict[str, Any]], data: st.DataObject
) -> None:
    rows = [
        {
            "order_id": f"{'C' if line['quantity'] < 0 else ''}{number}",
            "item_id": line["item_id"],
            "customer_key": line["customer_key"],
            "quantity": line["quantity"],
            "ordered_at": at(0, line["minutes"]),
            "available_at": at(line["late"], line["minutes"]),
        }
        for number, line in enumerate(lines)
    ]
    corrected = data.draw(st.lists(st.integers(0, len(rows) - 1), unique=True, max_size=3))
    rows += [
        {**rows[number], "quantity": rows[number]["quantity"] * 2, "version": 2, "available_at": at(12 + number)}
        for number in corrected
    ]
    rows.sort(key=lambda row: (row["available_at"], row["ordered_at"], row["quantity"] < 0, row["order_id"]))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(rows) - 1), max_size=3)))
    whole, cut = new_shop(), new_shop()
    whole.deliver(rows)
    whole.clean()
    for first, last in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        cut.deliver(rows[first:last])
        if data.draw(st.booleans()):
            cut.clean()
    cut.clean()

    for night in (date(2024, 3, 3), date(2024, 3, 8), date(2024, 4, 1)):
        assert cut.demand(night) == whole.demand(night)
    ledger = (
        "SELECT item_id, demand_day, reason, known_on, sum(units), sum(lines), sum(revenue) FROM demand_changes "
        "GROUP BY ALL HAVING sum(units) <> 0 OR sum(lines) <> 0 ORDER BY ALL"
    )
    assert cut.sql(ledger) == whole.sql(ledger)
