"""Calendar features: known before the day, bounded, and the same columns every night."""

from datetime import date

import numpy as np
import pytest

from pipeline.as_of import as_of_view
from pipeline.enrichment.calendar import build_calendar
from pipeline.enrichment.calendar_features import event_features, untrained
from pipeline.errors import HistoryError
from pipeline.settings import CalendarSettings, OwnEvent

FIRST, NIGHT, DAYS = date(2010, 1, 1), date(2010, 11, 28), 365 + 60
FAIR = OwnEvent(name="Fair", starts_on=date(2011, 1, 10), ends_on=date(2011, 1, 12), announced_on=date(2010, 12, 1))


@pytest.fixture(scope="module")
def home(shared_shop):
    shared_shop.sell([("a", FIRST, 1, 2.0)])
    calendar = CalendarSettings(countries=("GB", "CN", "US"), own_events=(FAIR,))
    build_calendar(shared_shop.lake, shared_shop.settings(calendar=calendar), FIRST, NIGHT)
    return shared_shop


def features(shop, countries, night=NIGHT, first=FIRST, days=DAYS):
    with as_of_view(shop.lake, night) as view:
        names, array = event_features(view.con, countries, first, days)
    return {name: array[:, column] for column, name in enumerate(names)}


def at(day: date) -> int:
    return (day - FIRST).days


def test_columns_are_finite_bounded_and_few(home) -> None:
    for countries, most in ((["GB"], 40), (["CN"], 45), (["GB", "CN", "US"], 60)):
        columns = features(home, countries)
        array = np.stack(list(columns.values()), axis=1)
        assert array.dtype == np.float32
        assert array.shape == (DAYS, len(columns))
        assert len(columns) <= most
        assert np.isfinite(array).all()
        assert np.abs(array).max() <= 1


def test_weekdays_are_one_hot(home) -> None:
    columns = features(home, ["GB"])
    week = np.stack(
        [columns[d] for d in ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")]
    )
    assert (week.sum(axis=0) == 1).all()
    assert columns["friday"][0] == 1  # 2010-01-01


def test_holidays_flag_the_day_and_its_neighbours(home) -> None:
    columns = features(home, ["GB"])
    friday = at(date(2010, 4, 2))  # Good Friday; Easter Monday is three days later
    assert [columns["holiday"][friday + d] for d in (-1, 0, 1, 2, 3)] == [0, 1, 0, 0, 1]
    assert [columns["day_before_holiday"][friday + d] for d in (-1, 0, 1, 2)] == [1, 0, 0, 1]
    assert [columns["day_after_holiday"][friday + d] for d in (-1, 0, 1)] == [0, 0, 1]


@pytest.mark.parametrize("countries", [["GB"], ["CN"], ["US", "CN"]])
def test_names_tell_the_scale_by_which_a_column_falls(home, countries) -> None:
    columns = features(home, countries, night=date(2010, 12, 1))
    (name,) = (name for name in columns if name.startswith("christmas_after_"))
    christmas = columns[name]
    day = christmas.argmax()
    assert christmas[day + 2] == pytest.approx(np.exp(-2 / int(name.rpartition("_")[2])), rel=1e-5)


def test_ramps_rise_to_the_event_and_fall_after_it(home) -> None:
    columns = features(home, ["GB"])
    day = at(date(2010, 12, 25))
    before = columns["christmas_before_14"]
    assert before[day] == 1
    assert before[day - 14] == pytest.approx(np.exp(-1), rel=1e-5)
    assert before[day - 43] == 0
    assert before[day + 1] == 0
    assert (np.diff(before[day - 42 : day + 1]) > 0).all()
    after = columns["christmas_after_4"]
    assert after[day] == 0
    assert after[day + 1] == 1
    assert after[day + 5] == pytest.approx(np.exp(-1), rel=1e-5)


def test_an_event_just_beyond_the_last_day_already_ramps_up(home) -> None:
    columns = features(home, ["GB"], days=at(date(2010, 12, 20)))
    assert columns["christmas_before_3"][-1] == pytest.approx(np.exp(-6 / 3), rel=1e-5)


def test_only_announced_own_events_ramp(home) -> None:
    before = features(home, ["GB"], night=date(2010, 11, 30))
    assert not any(before[name].any() for name in before if name.startswith("own_event"))
    after = features(home, ["GB"], night=date(2010, 12, 1))
    assert after["own_event_on"].nonzero()[0].tolist() == [at(date(2011, 1, d)) for d in (10, 11, 12)]
    assert after["own_event_before_3"][at(date(2011, 1, 9))] == pytest.approx(np.exp(-1 / 3), rel=1e-5)
    assert list(before) == list(after)


def test_chinese_calendars_have_their_own_columns(home) -> None:
    columns = features(home, ["CN"])
    assert columns["spring_festival_before_3"][at(date(2010, 2, 14))] == 1
    assert columns["adjusted_workday"][at(date(2010, 2, 20))] == 1
    assert columns["lunar_month_cos"][at(date(2010, 2, 14))] == 1
    assert not any(name.startswith("easter") for name in columns)
    assert not any(name.startswith("spring_festival") for name in features(home, ["GB"]))


def test_a_first_christmas_is_untrained(home) -> None:
    with as_of_view(home.lake, NIGHT) as view:
        names, array = event_features(view.con, ["GB"], FIRST, DAYS)
    history = at(date(2010, 11, 28)) + 1
    blank = {name for name, is_blank in zip(names, untrained(array, history), strict=True) if is_blank}
    # it has only begun to rise by then; Valentine's Day was there, at the start
    assert {"christmas_before_3", "christmas_before_14", "christmas_after_4", "own_event_on"} <= blank
    assert not {"valentine_before_7", "holiday", "monday", "year_sin_1", "black_friday_after_4"} & blank
    assert untrained(array, 0).all()


def test_days_beyond_the_calendar_are_refused(home) -> None:
    with pytest.raises(HistoryError, match=r"calendar_daily: .* run the enrichment"):
        features(home, ["GB"], days=5000)
    with pytest.raises(HistoryError, match="DE"):
        features(home, ["DE"])
