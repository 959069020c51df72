"""Feasts and shopping festivals against published dates."""

from datetime import date

import pytest

from pipeline.enrichment.events import slug
from pipeline.enrichment.festivals import black_friday, easter, fathers_day, festivals, mothers_day, nth_weekday


def dates(text: str) -> list[str]:
    """ISO dates of a line; as literals they would fill a page."""
    return text.split()


EASTER = dates(
    "2000-04-23 2001-04-15 2002-03-31 2003-04-20 2004-04-11 2005-03-27 2006-04-16 2007-04-08 2008-03-23 2009-04-12 "
    "2010-04-04 2011-04-24 2012-04-08 2013-03-31 2014-04-20 2015-04-05 2016-03-27 2017-04-16 2018-04-01 2019-04-21 "
    "2020-04-12 2021-04-04 2022-04-17 2023-04-09 2024-03-31 2025-04-20 2026-04-05 2027-03-28 2028-04-16 2029-04-01 "
    "2030-04-21 1943-04-25 1954-04-18 2038-04-25 2049-04-18"
)
BLACK_FRIDAY = dates(
    "2008-11-28 2009-11-27 2010-11-26 2011-11-25 2012-11-23 2013-11-29 2014-11-28 2015-11-27 2016-11-25 2017-11-24 "
    "2018-11-23 2019-11-29 2020-11-27 2021-11-26 2022-11-25 2023-11-24 2024-11-29 2025-11-28"
)


@pytest.mark.parametrize("published", EASTER)
def test_easter(published: str) -> None:
    assert easter(int(published[:4])) == date.fromisoformat(published)


@pytest.mark.parametrize("published", BLACK_FRIDAY)
def test_black_friday_follows_thanksgiving(published: str) -> None:
    day = date.fromisoformat(published)
    assert black_friday(day.year) == day
    by_event = {one.event: one.starts_on for one in festivals("US", day.year)}
    assert (day - by_event["thanksgiving"]).days == 1
    assert (by_event["cyber_monday"] - day).days == 3


@pytest.mark.parametrize(
    ("country", "published"),
    [
        *(("GB", day) for day in dates("2010-03-14 2011-04-03 2012-03-18 2017-03-26 2020-03-22 2024-03-10 2025-03-30")),
        *(("US", day) for day in dates("2010-05-09 2011-05-08 2017-05-14 2024-05-12")),
        *(("CN", day) for day in dates("2023-05-14 2024-05-12")),
        *(("FR", day) for day in dates("2022-05-29 2023-06-04 2024-05-26")),
        ("ES", "2024-05-05"),
        ("PL", "2024-05-26"),
    ],
)
def test_mothers_day_is_the_countrys(country: str, published: str) -> None:
    assert mothers_day(country, int(published[:4])) == date.fromisoformat(published)


@pytest.mark.parametrize(
    ("country", "published"),
    [("US", "2017-06-18"), ("GB", "2011-06-19"), ("DE", "2024-05-09"), ("IT", "2024-03-19"), ("AU", "2024-09-01")],
)
def test_fathers_day_is_the_countrys(country: str, published: str) -> None:
    assert fathers_day(country, int(published[:4])) == date.fromisoformat(published)


def test_thanksgiving_is_american() -> None:
    assert "thanksgiving" not in {one.event for one in festivals("GB", 2017)}
    canadian = {one.event: one.starts_on for one in festivals("CA", 2017)}
    assert canadian["thanksgiving"] == date(2017, 10, 9)


def test_fixed_festivals_stand_on_their_days() -> None:
    days = {one.event: one.starts_on.strftime("%m-%d") for one in festivals("CN", 2020)}
    assert days["shopping_618"] == "06-18"
    assert days["double_11"] == "11-11"
    assert days["double_12"] == "12-12"
    assert days["christmas"] == "12-25"
    assert days["valentine"] == "02-14"
    assert days["halloween"] == "10-31"


def test_nth_weekday_counts_from_both_ends() -> None:
    assert nth_weekday(2024, 2, 3, -1) == date(2024, 2, 29)
    assert nth_weekday(2023, 12, 6, -1) == date(2023, 12, 31)
    assert nth_weekday(2024, 9, 0, 1) == date(2024, 9, 2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("New Year's Day", "new_years_day"),
        ("Fête nationale", "fete_nationale"),
        ("周年庆", "周年庆"),
        ("5 & 10!", "5_10"),
    ],
)
def test_slugs_are_snake_case(name: str, expected: str) -> None:
    assert slug(name) == expected
