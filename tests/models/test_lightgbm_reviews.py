"""LightGBM reads reviews as the night of each window knew them, and a shop without has no columns for them."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.models.base import Compute
from pipeline.models.gradient_boosting.features import Features
from pipeline.models.gradient_boosting.windows import Windows
from pipeline.models.panel import REVIEW_FEATURES
from tests.models.network_panels import shop_panel

CPU = Compute(threads=1)


@pytest.fixture(scope="module")
def panel():
    return shop_panel()


def table_of(panel, windows):
    return Features.learn(panel, panel.history).table(panel, windows, CPU)


def reviewed(panel):
    """The panel with numbers of its own for each series and day."""
    numbers = np.arange(panel.series * panel.history * len(REVIEW_FEATURES), dtype=np.float32)
    return replace(panel, reviews=numbers.reshape(panel.series, panel.history, -1))


def test_reviews_are_read_as_the_night_knew_them(panel):
    known = reviewed(panel)
    windows = Windows(*(np.array(column) for column in ([0, 2, 2], [60, 50, 80], [63, 51, 90], [63, 57, 91])))
    table = table_of(known, windows)
    assert table.names[-3:] == REVIEW_FEATURES
    np.testing.assert_array_equal(table.values[:, -3:], known.reviews[[0, 2, 2], [60, 50, 80]])
    later = known.reviews.copy()
    later[:, 81:] = -1
    np.testing.assert_array_equal(table_of(replace(known, reviews=later), windows).values, table.values)


def test_a_shop_without_reviews_has_no_columns_for_them(panel):
    windows = Windows.ahead(panel, np.array([0]), [(1, 1)], 60)
    plain = table_of(panel, windows)
    assert not set(REVIEW_FEATURES) & set(plain.names)
    none = replace(panel, reviews=np.zeros((panel.series, panel.history, len(REVIEW_FEATURES)), np.float32))
    assert table_of(none, windows).names == plain.names
    assert "reviews" not in Features.learn(panel, panel.history).to_json()
    # a model that learned of them forecasts a night that knows of none
    learned = Features.learn(reviewed(panel), panel.history)
    assert Features.from_json(learned.to_json()) == learned
    assert not learned.table(panel, windows, CPU).values[:, -3:].any()
