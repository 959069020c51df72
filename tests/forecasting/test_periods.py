from datetime import date

import numpy as np

from pipeline.forecasting.periods import KINDS, periods


def test_weeks_start_on_monday_and_are_clipped_to_the_horizon():
    # 2017-11-29 is a Wednesday
    weeks = periods(date(2017, 11, 29), 10, ("week",))
    assert list(zip(weeks.starts_on, weeks.ends_on, strict=True)) == [
        (date(2017, 11, 29), date(2017, 12, 3)),
        (date(2017, 12, 4), date(2017, 12, 8)),
    ]


def test_months_are_calendar_months_clipped_to_the_horizon():
    months = periods(date(2017, 11, 27), 91, ("month",))
    assert list(zip(months.starts_on, months.ends_on, strict=True)) == [
        (date(2017, 11, 27), date(2017, 11, 30)),
        (date(2017, 12, 1), date(2017, 12, 31)),
        (date(2018, 1, 1), date(2018, 1, 31)),
        (date(2018, 2, 1), date(2018, 2, 25)),
    ]


def test_a_horizon_of_one_day_is_one_period_of_each_kind():
    one = periods(date(2017, 11, 27), 1, KINDS)
    assert one.kind == KINDS
    assert set(one.starts_on) == set(one.ends_on) == {date(2017, 11, 27)}


def test_every_kind_of_period_adds_up_to_the_horizon():
    cut = periods(date(2017, 11, 27), 91, KINDS)
    daily = np.random.default_rng(1).integers(0, 9, (5, 91))
    sums = cut.sums(daily, axis=1)
    for kind in KINDS:
        mine = [n for n, name in enumerate(cut.kind) if name == kind]
        assert (sums[:, mine].sum(axis=1) == daily.sum(axis=1)).all(), kind
    assert len(cut) == 91 + 13 + 4 + 1


def test_sums_take_the_days_that_the_period_names():
    cut = periods(date(2017, 11, 29), 40, KINDS)
    sums = cut.sums(np.ones((40, 2)), axis=0)
    assert [int(n) for n in sums[:, 0]] == [
        (end - start).days + 1 for start, end in zip(cut.starts_on, cut.ends_on, strict=True)
    ]
