"""Dates and festivals of the Chinese lunar calendar, from the tables of `lunardate` (1900 to 2099)."""

from dataclasses import dataclass
from datetime import date

from pipeline.enrichment.events import DAY, Occurrence, on_day
from pipeline.enrichment.solar_terms import solar_terms

FIRST_YEAR, LAST_YEAR = 1901, 2098
"""Gregorian years for which every day has a lunar date."""

_FESTIVALS: dict[str, tuple[str, int, int]] = {
    "spring_festival": ("Spring Festival", 1, 1),
    "lantern_festival": ("Lantern Festival", 1, 15),
    "dragon_boat": ("Dragon Boat Festival", 5, 5),
    "qixi": ("Qixi Festival", 7, 7),
    "ghost_festival": ("Ghost Festival", 7, 15),
    "mid_autumn": ("Mid-Autumn Festival", 8, 15),
    "double_ninth": ("Double Ninth Festival", 9, 9),
    "laba": ("Laba Festival", 12, 8),
    "xiaonian": ("Xiaonian (Little New Year, north)", 12, 23),
}
"""Name in words, lunar month and lunar day."""


@dataclass(frozen=True)
class LunarDay:
    """A day of the lunar calendar."""

    year: int
    month: int
    day: int
    is_leap_month: bool


def lunar_day(day: date) -> LunarDay | None:
    """The lunar date of a day; None outside the tables."""
    from lunardate import LunarDate

    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        return None
    lunar = LunarDate.from_solar_date(day.year, day.month, day.day)
    return LunarDay(lunar.year, lunar.month, lunar.day, bool(lunar.isLeapMonth))


def lunar_festivals(year: int) -> list[Occurrence]:
    """The festivals of a lunar year (which begins in January or February of the Gregorian year of that number).

    New Year's eve is the one that leads into the year. A leap month repeats no festival.
    """
    from lunardate import LunarDate

    if not FIRST_YEAR <= year <= LAST_YEAR:
        return []
    found = [
        on_day(event, LunarDate(year, month, day).to_solar_date(), "lunar", name)
        for event, (name, month, day) in _FESTIVALS.items()
    ]
    new_year = found[0].starts_on
    return [on_day("spring_festival_eve", new_year - DAY, "lunar", "Spring Festival eve"), *found]


def solar_term_events(year: int) -> list[Occurrence]:
    """The 24 solar terms of a Gregorian year as events; a term is on for its first day."""
    return [on_day(name, day, "solar_term") for name, day in solar_terms(year)]
