"""Promotions: taken over once, merged without changing any day, and read as an array."""

import tempfile
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.as_of import as_of_view
from pipeline.enrichment.promotion_features import promotion_array, promotion_kinds
from pipeline.enrichment.promotions import take_over_promotions
from pipeline.errors import DeliveryError
from pipeline.lake import Lake
from tests.enrichment.conftest import Shop

DAY0 = date(2017, 1, 2)
NIGHT = date(2017, 3, 1)


def day(n: int) -> date:
    return DAY0 + timedelta(days=n)


def promotion(item="a", kind="display", first=0, last=6, share=0.5, known=-7, location=""):
    return (item, location, kind, day(first), day(last), share, day(known))


def ledger(lake: Lake) -> list[tuple]:
    with lake.connect() as con:
        return con.execute(
            f"SELECT item_id, kind, starts_on, ends_on, share FROM ({lake.select('promotions')}) AS p ORDER BY ALL"
        ).fetchall()


def array(shop, items=("a",), days=28, night=NIGHT, **options):
    with as_of_view(shop.lake, night, by_location=options.pop("by_location", False)) as view:
        locations = options.pop("locations", [""] * len(items))
        return promotion_array(view.con, list(items), locations, DAY0, days, **options)[:2]


@pytest.fixture
def selling(shop):
    shop.sell([("a", DAY0, 1, 2.0), ("b", DAY0, 1, 2.0)])
    return shop


def test_overlapping_and_adjoining_periods_of_one_kind_are_merged(shop) -> None:
    shop.promote(
        [
            promotion(first=0, last=6),
            promotion(first=7, last=13),
            promotion(first=3, last=5),
            promotion(first=15, last=20),
            promotion(kind="mailer", first=0, last=6),
            promotion(item="b", first=14, last=15),
        ]
    )
    report = take_over_promotions(shop.lake, shop.settings().shop)
    assert ledger(shop.lake) == [
        ("a", "display", day(0), day(13), 0.5),
        ("a", "display", day(15), day(20), 0.5),
        ("a", "mailer", day(0), day(6), 0.5),
        ("b", "display", day(14), day(15), 0.5),
    ]
    assert (report.delivered, report.kept, report.merged, report.impossible) == (6, 4, 2, 0)


def test_announcements_of_different_days_stay_apart(shop) -> None:
    shop.promote([promotion(first=0, last=6, known=-7), promotion(first=7, last=13, known=-1)])
    assert take_over_promotions(shop.lake, shop.settings().shop).kept == 2


@pytest.mark.parametrize(
    "bad",
    [
        promotion(first=6, last=0),
        promotion(item=""),
        promotion(kind=""),
        promotion(share=1.5),
        promotion(share=-0.1),
        promotion(item=None),
    ],
    ids=["ends before it starts", "no item", "no kind", "share above 1", "negative share", "item missing"],
)
def test_impossible_promotions_are_counted_and_left_out(shop, bad) -> None:
    shop.promote([bad, promotion()])
    report = take_over_promotions(shop.lake, shop.settings().shop)
    assert (report.delivered, report.kept, report.merged, report.impossible) == (2, 1, 0, 1)


def test_a_promotion_without_a_share_reaches_the_whole_shop(shop) -> None:
    shop.promote([promotion(share=None)])
    take_over_promotions(shop.lake, shop.settings().shop)
    assert [row[-1] for row in ledger(shop.lake)] == [1.0]


def test_a_delivery_is_taken_over_once(shop) -> None:
    shop.promote([promotion()], "f1")
    assert take_over_promotions(shop.lake, shop.settings().shop).deliveries == 1
    assert take_over_promotions(shop.lake, shop.settings().shop).deliveries == 0
    shop.promote([promotion(), promotion(item="b")], "f1")  # the same name again: already taken over
    shop.promote([promotion(item="c")], "f1")
    assert len(ledger(shop.lake)) == 1


def test_a_killed_take_over_is_resumed(shop) -> None:
    shop.promote([promotion(), promotion(item="b", known=-3)])
    take_over_promotions(shop.lake, shop.settings().shop)
    before = ledger(shop.lake)
    # the count is written last: without it the delivery counts as not taken over
    shop.lake.part_path("promotion_report", {"file_hash": "f1"}, "part").unlink()
    shop.lake.part_path("promotions", {"known_on": day(-3)}, "f1").unlink()
    assert take_over_promotions(shop.lake, shop.settings().shop).deliveries == 1
    assert ledger(shop.lake) == before


def test_deleted_promotions_are_named_and_taken_over_again(shop) -> None:
    shop.promote([promotion(), promotion(item="b", known=-3)])
    take_over_promotions(shop.lake, shop.settings().shop)
    before = ledger(shop.lake)
    shop.lake.part_path("promotions", {"known_on": day(-3)}, "f1").unlink()
    report = take_over_promotions(shop.lake, shop.settings().shop)
    assert ledger(shop.lake) == before
    assert report.deliveries == 1
    assert "1 of the 2 files f1.parquet" in report.warnings[0]
    assert take_over_promotions(shop.lake, shop.settings().shop).warnings == ()


def test_deleted_promotions_that_cannot_be_had_again_are_refused(shop) -> None:
    shop.promote([promotion(), promotion(item="b", known=-3)])
    take_over_promotions(shop.lake, shop.settings().shop)
    shop.lake.part_path("promotions", {"known_on": day(-3)}, "f1").unlink()
    shop.lake.part_path("raw_promotions", {"file_hash": "f1"}, "part").unlink()
    before = ledger(shop.lake)
    with pytest.raises(DeliveryError, match="backup:\n  lake/raw_promotions/file_hash=f1"):
        take_over_promotions(shop.lake, shop.settings().shop)
    assert ledger(shop.lake) == before


def test_reports_of_before_files_were_counted_are_taken_as_they_are(shop) -> None:
    shop.promote([promotion()])
    take_over_promotions(shop.lake, shop.settings().shop)
    with shop.lake.connect() as con:
        old = f"SELECT * FROM ({shop.lake.select('promotion_report')}) WHERE measure <> 'files'"
        shop.lake.write(con, "promotion_report", {"file_hash": "f1"}, old)
    shop.lake.part_path("promotions", {"known_on": day(-7)}, "f1").unlink()
    report = take_over_promotions(shop.lake, shop.settings().shop)
    assert (report.deliveries, report.warnings) == (0, ())


def test_the_array_has_the_share_of_each_day(selling) -> None:
    selling.promote(
        [
            promotion(first=2, last=4, share=0.5),
            promotion(first=4, last=5, share=0.75),
            promotion("b", "mailer", 27, 40),
        ]
    )
    take_over_promotions(selling.lake, selling.settings().shop)
    kinds, shares = array(selling, items=("b", "a", "x"))
    assert kinds == ("display", "mailer")
    assert shares.shape == (3, 28, 2)
    assert shares.dtype == np.float32
    expected = np.zeros(28)
    expected[2:4], expected[4:6] = 0.5, 0.75
    np.testing.assert_array_equal(shares[1, :, 0], expected)
    assert shares[0].nonzero() == (np.array([27]), np.array([1]))
    assert not shares[2].any()


def test_the_array_is_the_view_by_day(selling) -> None:
    selling.promote([promotion(first=2, last=9, share=0.5), promotion(first=4, last=5, share=0.25), promotion("b")])
    take_over_promotions(selling.lake, selling.settings().shop)
    kinds, shares = array(selling, items=("a", "b"))
    with as_of_view(selling.lake, NIGHT) as view:
        rows = view.con.execute("SELECT item_id, day, kind, share FROM promotions_daily").fetchall()
    expected = np.zeros_like(shares)
    for item, on, kind, share in rows:
        expected[("a", "b").index(item), (on - DAY0).days, kinds.index(kind)] = share
    np.testing.assert_array_equal(shares, expected)


def test_a_promotion_is_invisible_before_its_announcement(selling) -> None:
    selling.promote([promotion(first=20, last=25, known=10)])
    take_over_promotions(selling.lake, selling.settings().shop)
    assert array(selling, night=day(9))[0] == ()
    assert array(selling, night=day(10))[1].any()


def test_kinds_of_a_trained_model_keep_their_places(selling) -> None:
    selling.promote([promotion(kind="mailer"), promotion(kind="coupon")])
    take_over_promotions(selling.lake, selling.settings().shop)
    kinds, shares = array(selling, kinds=("mailer", "display"))
    assert kinds == ("mailer", "display")
    assert shares[0, :7, 0].all()
    assert not shares[..., 1].any()
    with as_of_view(selling.lake, NIGHT) as view:
        assert promotion_kinds(view.con) == ("coupon", "mailer")


def test_promotions_without_location_reach_every_location(selling) -> None:
    selling.promote([promotion(first=0, last=0), promotion(first=1, last=1, location="north")])
    take_over_promotions(selling.lake, selling.settings().shop)
    _, shares = array(selling, items=("a", "a"), locations=["north", "south"], by_location=True)
    assert shares[0, :3, 0].tolist() == [0.5, 0.5, 0]
    assert shares[1, :3, 0].tolist() == [0.5, 0, 0]


periods = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(-3, 12), st.integers(0, 6), st.sampled_from([0.25, 0.5, 1.0])),
    min_size=1,
    max_size=12,
)


@settings(max_examples=15, deadline=None)
@given(periods)
def test_merging_changes_no_day(drawn) -> None:
    from pipeline.settings import ComputeSettings

    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder), ComputeSettings(threads=1))
        with lake.connect() as con:
            rows = ", ".join(
                f"('{item}', '', 'display', DATE '{day(first)}', DATE '{day(first + length)}', {share}, "
                f"NULL, NULL, DATE '{DAY0}', 's', {line})"
                for line, (item, first, length, share) in enumerate(drawn)
            )
            names = "item_id, location, kind, starts_on, ends_on, share, unit_price, currency, known_on, source, line"
            lake.write(con, "raw_promotions", {"file_hash": "f"}, f"SELECT * FROM (VALUES {rows}) AS v ({names})")
        report = take_over_promotions(lake, Shop(lake).settings().shop)
        kept = ledger(lake)
    expected, found = {}, {}
    for item, first, length, share in drawn:
        for n in range(first, first + length + 1):
            expected[item, day(n)] = max(share, expected.get((item, day(n)), 0))
    for item, _, start, end, share in kept:
        for n in range((end - start).days + 1):
            on = start + timedelta(days=n)
            found[item, on] = max(share, found.get((item, on), 0))
    assert found == expected
    assert report.kept == len(kept) == len(set(kept))
    assert report.kept + report.merged == report.delivered == len(drawn)
