"""Reviews of series × days, as each day knew them."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from pipeline.as_of import as_of_view
from pipeline.enrichment.calendar import build_calendar
from pipeline.enrichment.review_features import review_array
from pipeline.training.panel import build_panel
from tests.enrichment.conftest import Shop
from tests.enrichment.test_reviews import day, review, review_shop, selling

__all__ = ["selling"]
NOWHERE = Path("/nowhere")


def features(shop: Shop, night: int, items: tuple[str, ...] = ("a", "b"), first: int = 0) -> np.ndarray:
    with as_of_view(shop.lake, day(night)) as view:
        found = review_array(view.con, items, day(first), night - first + 1, shop.settings(model=NOWHERE))
    assert found is not None
    return found


def expected(shop_reviews: list[tuple], item: str, on: int) -> tuple[float, float, float]:
    """By the definition: what a day knew of an item, from (item, written, known, replaced, sentiment)."""
    known = [r for r in shop_reviews if r[2] <= on and (r[3] is None or r[3] > on)]
    usual = np.mean([r[4] for r in known]) if known else 0.0
    mine = [r for r in known if r[0] == item]
    young = [r for r in mine if on - r[1] < 91]
    mean = (sum(r[4] for r in young) + 5 * usual) / (len(young) + 5) - usual
    return float(np.log1p(sum(on - r[1] < 28 for r in mine))), float(np.log1p(len(young))), float(mean)


@pytest.fixture
def told(selling: Shop) -> list[tuple]:
    """Random reviews in the lake, and as tuples: some known late, some edited."""
    random = np.random.default_rng(7)
    rows, tuples = [], []
    for number in range(120):
        item, at = str(random.choice(["a", "b", "c"])), int(random.integers(0, 150))
        known, stars = at + int(random.integers(0, 40)), float(random.integers(1, 6))
        edited = known + int(random.integers(0, 30)) if number % 3 == 0 else None
        rows.append(review(str(number), item, at, known, rating=stars))
        tuples.append((item, at, known, edited, (stars - 3) / 2))
        if edited is not None:
            rows.append(review(str(number), item, at, edited, version=2, rating=1.0))
            tuples.append((item, at, edited, None, -1.0))
    review_shop(selling, rows)
    return tuples


def test_each_day_counts_what_it_knew(selling: Shop, told: list[tuple]) -> None:
    found = features(selling, 180)
    for row, item in enumerate(("a", "b")):
        for on in range(0, 181, 6):
            np.testing.assert_allclose(found[row, on], expected(told, item, on), atol=1e-6, err_msg=f"{item} {on}")


def test_a_past_day_is_told_as_its_own_night_told_it(selling: Shop, told: list[tuple]) -> None:
    last = features(selling, 180)
    for night in (20, 77, 140):
        np.testing.assert_array_equal(features(selling, night), last[:, : night + 1])


def test_neither_the_first_day_nor_the_other_series_matter(selling: Shop, told: list[tuple]) -> None:
    whole = features(selling, 180)
    np.testing.assert_array_equal(features(selling, 180, first=120), whole[:, 120:])
    np.testing.assert_array_equal(features(selling, 180, ("b", "unheard of", "b"))[[0, 2]], whole[[1, 1]])
    assert not features(selling, 180, ("unheard of",)).any()


def test_a_panel_has_them_and_one_without_reviews_has_not(selling: Shop) -> None:
    build_calendar(selling.lake, selling.settings(), day(0), day(60))
    panels = []
    for _ in range(2):
        with as_of_view(selling.lake, day(10)) as view:
            panels.append(build_panel(view, selling.settings(model=NOWHERE), horizon=7))
        review_shop(selling, [review("1", "a", 3, 5, rating=1.0)])
    without, panel = panels
    assert without.reviews is None
    assert panel.reviews is not None
    assert panel.reviews.shape == (2, 11, 3)
    assert not panel.reviews[0, :5].any()
    assert panel.reviews[0, 5:, 0] == pytest.approx(np.log(2))
    assert panel.rows(np.array([1])).reviews.shape == (1, 11, 3)
    assert panel.until(6).reviews.shape == (2, 6, 3)
    assert panel.first_day + timedelta(days=10) == panel.as_of
