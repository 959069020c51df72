"""Public holidays, and the day from which each was known."""

from datetime import date

import pytest

from pipeline.enrichment.events import Occurrence
from pipeline.enrichment.public_holidays import public_holidays
from pipeline.errors import SettingsError


def by_start(country: str, year: int) -> dict[date, Occurrence]:
    return {one.starts_on: one for one in public_holidays(country, year, year)}


def test_rules_were_always_known_and_a_royal_wedding_was_not() -> None:
    days = by_start("GB", 2011)
    assert days[date(2011, 4, 22)].event == "good_friday"
    assert days[date(2011, 4, 22)].announced_on is None
    assert days[date(2011, 4, 29)].announced_on == date(2010, 11, 23)
    assert days[date(2011, 8, 29)].name == "Late Summer Bank Holiday"


def test_a_substitute_day_by_rule_is_noted_and_always_known() -> None:
    boxing = by_start("GB", 2010)[date(2010, 12, 28)]
    assert (boxing.name, boxing.announced_on) == ("Boxing Day (observed)", None)


def test_a_one_off_day_without_a_known_announcement_is_known_on_the_day() -> None:
    parade = by_start("CN", 2015)[date(2015, 9, 3)]
    assert parade.announced_on == date(2015, 9, 3)


def test_a_new_holiday_is_known_by_rule_from_its_second_year() -> None:
    assert by_start("US", 2021)[date(2021, 6, 19)].announced_on is not None
    assert by_start("US", 2022)[date(2022, 6, 19)].announced_on is None


def test_chinas_moved_days_are_known_from_the_decree() -> None:
    days = by_start("CN", 2024)
    assert days[date(2024, 2, 18)].event == "adjusted_workday"
    assert days[date(2024, 2, 18)].kind == "workday"
    assert days[date(2024, 2, 18)].announced_on == date(2023, 12, 25)
    off = days[date(2024, 10, 7)]
    assert (off.event, off.announced_on) == ("substitute_day_off", date(2023, 12, 25))


def test_consecutive_days_of_one_holiday_are_one_occurrence() -> None:
    national = by_start("CN", 2011)[date(2011, 10, 1)]
    assert (national.event, national.ends_on) == ("national_day", date(2011, 10, 3))


def test_names_are_english_where_the_library_has_them() -> None:
    assert "German Unity Day" in {one.name for one in public_holidays("DE", 2024, 2024)}


def test_an_unknown_country_says_what_to_change() -> None:
    with pytest.raises(SettingsError, match=r"calendar\.countries: XX .*almanac\.yaml"):
        public_holidays("XX", 2020, 2020)
