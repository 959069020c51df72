"""Cleaning again, after a kill, and in other deliveries: the same ledgers."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.lake import Lake

MARCH_1 = date(2024, 3, 1)


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
