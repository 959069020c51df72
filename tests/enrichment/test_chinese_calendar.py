"""Solar terms and lunar dates against the tables of the Hong Kong Observatory (the CSV files say where from)."""

import csv
from datetime import date, timedelta
from pathlib import Path

import pytest

from pipeline.enrichment.lunar import lunar_day, lunar_festivals
from pipeline.enrichment.solar_terms import SOLAR_TERMS, solar_terms


def published(name: str) -> list[dict[str, str]]:
    lines = (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


TERMS = published("solar_terms_2000_2030.csv")
MONTHS = published("lunar_months_2000_2030.csv")


@pytest.mark.parametrize("row", TERMS, ids=lambda row: row["year"])
def test_solar_terms_are_the_published_days(row: dict[str, str]) -> None:
    year = int(row["year"])
    expected = tuple((name, date.fromisoformat(f"{year}-{row[name]}")) for name in SOLAR_TERMS)
    assert solar_terms(year) == expected


def test_the_published_table_has_all_744_days() -> None:
    assert sum(len(row) - 1 for row in TERMS) == 744


def test_every_published_lunar_month_begins_and_ends_on_its_day() -> None:
    assert len(MONTHS) == 383
    for row in MONTHS:
        first = date.fromisoformat(row["first_day"])
        lunar = lunar_day(first)
        assert lunar is not None
        expected = (int(row["lunar_year"]), int(row["lunar_month"]), 1, row["is_leap"] == "1")
        assert (lunar.year, lunar.month, lunar.day, lunar.is_leap_month) == expected, first
        before = lunar_day(first - timedelta(days=1))
        assert before is not None
        assert before.day in (29, 30)


FESTIVALS = {
    "spring_festival": "2000-02-05 2005-02-09 2007-02-18 2010-02-14 2012-01-23 2017-01-28 2020-01-25 2023-01-22 2024-02-10 "
    "2025-01-29 2026-02-17 2030-02-03",
    "spring_festival_eve": "2012-01-22 2023-01-21 2024-02-09 2025-01-28",
    "lantern_festival": "2017-02-11 2023-02-05 2024-02-24 2025-02-12",
    "dragon_boat": "2017-05-30 2020-06-25 2023-06-22 2024-06-10 2025-05-31",
    "qixi": "2017-08-28 2020-08-25 2023-08-22 2024-08-10 2025-08-29",
    "ghost_festival": "2023-08-30 2024-08-18 2025-09-06",
    "mid_autumn": "2000-09-12 2005-09-18 2010-09-22 2011-09-12 2016-09-15 2017-10-04 2020-10-01 2023-09-29 2024-09-17 "
    "2025-10-06",
    "double_ninth": "2017-10-28 2023-10-23 2024-10-11 2025-10-29",
    "laba": "2022-12-30 2024-01-18 2025-01-07",
    "xiaonian": "2023-01-14 2024-02-02 2025-01-22",
}


@pytest.mark.parametrize("event", FESTIVALS)
def test_lunar_festivals_fall_on_the_published_days(event: str) -> None:
    found = {one.starts_on for year in range(1999, 2031) for one in lunar_festivals(year) if one.event == event}
    for day in FESTIVALS[event].split():
        assert date.fromisoformat(day) in found


def test_a_leap_month_repeats_no_festival() -> None:
    # 2006 had a second seventh month, 2014 a second ninth
    for year in (2006, 2014, 2020, 2023):
        events = [one.event for one in lunar_festivals(year)]
        assert len(events) == len(set(events)) == 10


def test_days_outside_the_lunar_tables_have_no_lunar_date() -> None:
    assert lunar_day(date(1850, 1, 1)) is None
    assert lunar_festivals(2150) == []
