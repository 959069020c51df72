"""Slices: each forecast in exactly one value, classes after the published rules, nothing of the future."""

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.backtesting import slices
from tests.models.demand_panels import panel_of

DAYS = 140


def test_horizon_buckets():
    days = np.array([1, 7, 8, 14, 15, 28, 29, 56, 57, 91, 92])
    assert slices.horizon_bucket(days).tolist() == [
        "1-7", "1-7", "8-14", "8-14", "15-28", "15-28", "29-56", "29-56", "57-91", "57-91", "92+",
    ]  # fmt: skip


def test_volume_classes_follow_the_cumulated_units():
    totals = [500, 0, 300, 100, 60, 30, 10]  # of 1,000: .5, –, .8, .9, .96, .99, 1
    units = np.zeros((len(totals), DAYS))
    units[:, -1] = totals
    assert slices.volume_class(panel_of(units)).tolist() == ["A", "C", "A", "B", "B", "C", "C"]


def test_one_giant_is_an_a_item_and_an_empty_panel_has_no_classes():
    units = np.zeros((2, DAYS))
    units[:, -1] = [990, 10]
    assert slices.volume_class(panel_of(units)).tolist() == ["A", "C"]
    assert slices.volume_class(panel_of(np.zeros((0, DAYS)))).tolist() == []


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([5, 6, 5, 4] * 35, "smooth"),
        ([1, 40, 1, 2] * 35, "erratic"),
        ([0, 5, 0, 6] * 35, "intermittent"),
        ([0, 1, 0, 40] * 35, "lumpy"),
        ([0] * DAYS, "lumpy"),
        ([0] * 100 + [5, 6, 5, 4] * 10, "smooth"),
    ],
    ids=["smooth", "erratic", "intermittent", "lumpy", "never sold", "counted from its launch"],
)
def test_intermittency_after_syntetos_and_boylan(row, expected):
    assert slices.intermittency(panel_of([row])).tolist() == [expected]


def test_closed_days_do_not_make_an_item_intermittent():
    week = [5, 6, 5, 0, 5, 4, 0]
    closed = np.array([units == 0 for units in week] * 24)
    assert slices.intermittency(panel_of([week * 20], closed=closed)).tolist() == ["smooth"]
    assert slices.intermittency(panel_of([week * 20])).tolist() == ["intermittent"]


def test_item_age_counts_the_night_as_the_first_day():
    units = np.zeros((7, DAYS))
    for row, age in enumerate([0, 1, 28, 29, 90, 91, DAYS]):
        if age:
            units[row, DAYS - age] = 3
    assert slices.item_age(panel_of(units)).tolist() == ["0", "1-28", "1-28", "29-90", "29-90", "91+", "91+"]


def test_a_holiday_makes_its_whole_week():
    origin = date(2017, 11, 19)  # a Sunday
    labels = slices.holiday_week(origin, 14, {date(2017, 11, 23)})
    assert labels.tolist() == ["holiday"] * 7 + ["other"] * 7
    past = slices.holiday_week(origin - timedelta(days=4), 10, {origin - timedelta(days=5)})
    assert past.tolist() == ["holiday"] * 4 + ["other"] * 6


@given(arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(8, 40)), elements=st.integers(0, 50)))
def test_every_series_has_exactly_one_label_of_each_slice(units):
    panel = panel_of(units)
    assert set(slices.volume_class(panel)) <= {"A", "B", "C"}
    assert set(slices.intermittency(panel)) <= {"smooth", "erratic", "intermittent", "lumpy"}
    assert set(slices.item_age(panel)) <= {"0", "1-28", "29-90", "91+"}
    for labels in (slices.volume_class(panel), slices.intermittency(panel), slices.item_age(panel)):
        assert labels.shape == (panel.series,)
