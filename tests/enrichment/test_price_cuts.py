"""Planned prices: from the file to the cut of the usual price that a night reads, and what each night knew of it."""

from datetime import date, timedelta

import numpy as np
import pytest

from pipeline import as_of
from pipeline.as_of import as_of_view
from pipeline.enrichment.promotion_features import promotion_array, promotion_kinds
from pipeline.enrichment.promotions import take_over_promotions
from pipeline.models.panel import PRICE_CUT

DAY0 = date(2017, 1, 2)
NIGHT = date(2017, 3, 1)


def day(n: int) -> date:
    return DAY0 + timedelta(days=n)


def plan(
    shop, price, first=20, last=22, known=10, file="f1", item="a", location="", currency="GBP", kinds=("discount",)
):
    rows = [(item, location, kind, day(first), day(last), 1.0, day(known)) for kind in kinds]
    shop.promote(rows, file, price=price, currency=currency)


def take_over(shop, rates=None):
    own = shop.settings().shop
    return take_over_promotions(shop.lake, own.model_copy(update={"exchange_rates": rates or {}}))


def cuts(shop, items=("a",), locations=None, night=NIGHT, days=28):
    """The (S, days) cuts that a night reads, and how long before each day it was announced."""
    with as_of_view(shop.lake, night, by_location=locations is not None) as view:
        kinds, values, leads = promotion_array(view.con, items, locations or [""] * len(items), DAY0, days)
    at = kinds.index(PRICE_CUT)
    return values[:, :, at], leads[:, :, at]


@pytest.fixture
def selling(shop):
    """Two pounds on most days, three on a few; nothing of item new."""
    shop.sell([("a", day(n), 1, 3.0 if n in {3, 4} else 2.0) for n in range(0, 20, 2)])
    shop.sell([("b", day(n), 1, 4.0) for n in range(5)], part="b")
    return shop


def test_a_planned_price_is_read_as_a_cut_of_the_usual_one(selling) -> None:
    plan(selling, 1.5)
    assert take_over(selling).warnings == ()
    cut, lead = cuts(selling)
    expected = np.zeros(28)
    expected[20:23] = 0.25
    np.testing.assert_allclose(cut[0], expected)
    assert lead[0, 20:23].tolist() == [10, 11, 12]


def test_a_planned_rise_is_a_cut_below_zero_and_bounded(selling) -> None:
    plan(selling, 2.5)
    plan(selling, 900.0, first=25, last=25, file="f2")
    take_over(selling)
    cut, _ = cuts(selling)
    np.testing.assert_allclose(cut[0, [20, 25]], [-0.25, -1.0])


def test_no_night_before_the_announcement_knows_it_and_no_later_sale_changes_it(selling) -> None:
    plan(selling, 1.0)
    take_over(selling)
    with as_of_view(selling.lake, day(9)) as view:
        assert promotion_kinds(view.con) == ()
    before, _ = cuts(selling, night=day(10))
    selling.sell([("a", day(n), 5, 0.1) for n in (11, 13, 21)], part="cheap")
    after, _ = cuts(selling)
    np.testing.assert_array_equal(before, after)
    assert before[0, 20] == pytest.approx(0.5)


def test_what_was_announced_last_counts_and_earlier_nights_keep_theirs(selling) -> None:
    plan(selling, 1.5, known=5)
    plan(selling, 1.0, known=15, first=21, last=22, file="f2")
    take_over(selling)
    cut, lead = cuts(selling)
    np.testing.assert_allclose(cut[0, 19:24], [0, 0.25, 0.5, 0.5, 0])
    assert lead[0, 20:23].tolist() == [15, 6, 7]
    np.testing.assert_allclose(cuts(selling, night=day(14))[0][0, 19:24], [0, 0.25, 0.25, 0.25, 0])


def test_an_item_long_unsold_is_set_beside_its_last_price_and_a_new_one_has_no_cut(selling) -> None:
    plan(selling, 2.0, item="b", first=210, last=211, known=200)
    plan(selling, 2.0, item="new", first=210, last=211, known=200, file="f2")
    take_over(selling)
    cut, _ = cuts(selling, items=("b", "new"), night=day(205), days=212)
    assert cut[0, 211] == pytest.approx(0.5)
    assert not cut[1].any()


def test_a_price_for_all_places_is_set_beside_what_each_place_pays(shop) -> None:
    shop.sell([("a", day(1), 1, 2.0)], location="north", part="north")
    shop.sell([("a", day(1), 1, 4.0)], location="south", part="south")
    plan(shop, 1.0)
    plan(shop, 3.0, first=25, last=25, location="south", file="f2")
    take_over(shop)
    cut, _ = cuts(shop, items=("a", "a"), locations=["north", "south"])
    np.testing.assert_allclose(cut[:, [20, 25]], [[0.5, 0], [0.75, 0.25]])


def test_prices_of_another_currency_are_converted(selling) -> None:
    plan(selling, 3.0, currency="USD")
    take_over(selling, {"USD": 0.5})
    assert cuts(selling)[0][0, 20] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("price", "currency"), [(0.0, "GBP"), (-1.0, "GBP"), (float("nan"), "GBP"), (1.5, "USD")], ids=str
)
def test_an_impossible_price_is_told_and_its_promotion_kept(selling, price, currency) -> None:
    plan(selling, price, currency=currency)
    report = take_over(selling)
    assert (report.kept, report.impossible_prices) == (1, 1)
    assert "1 planned prices are left out" in report.warnings[0]
    with as_of_view(selling.lake, NIGHT) as view:
        assert promotion_kinds(view.con) == ("discount",)


def test_a_price_of_several_kinds_is_one_plan(selling) -> None:
    plan(selling, 1.5, kinds=("banner", "discount"))
    take_over(selling)
    with as_of_view(selling.lake, NIGHT) as view:
        rows = view.con.execute("SELECT * FROM planned_prices").fetchall()
    assert rows == [("a", "", day(20), day(22), 1.5, day(10))]


def test_a_shop_that_plans_no_prices_keeps_its_snapshots(selling, monkeypatch) -> None:
    plan(selling, None)
    take_over(selling)

    def snapshot():
        with as_of_view(selling.lake, NIGHT) as view:
            return view.snapshot

    with_the_table = snapshot()
    monkeypatch.setattr(as_of, "_HASHED_WHERE_THERE", ())
    assert snapshot() == with_the_table
    monkeypatch.undo()
    plan(selling, 1.5, file="f2")
    take_over(selling)
    priced = snapshot()
    monkeypatch.setattr(as_of, "_HASHED_WHERE_THERE", ())
    assert snapshot() != priced
