"""The 24 solar terms, computed: the day on which the sun's apparent longitude passes a multiple of 15°.

Days are those of China standard time (UTC+8). Between 2000 and 2030 the closest call is the winter solstice of 2021,
46 seconds before midnight; `astronomy-engine` is good to about a second there, and the test holds all 744 days
against the tables of the Hong Kong Observatory.
"""

from datetime import date, timedelta
from functools import lru_cache

CHINA_STANDARD_TIME = timedelta(hours=8)

SOLAR_TERMS: tuple[str, ...] = (
    "minor_cold",
    "major_cold",
    "start_of_spring",
    "rain_water",
    "awakening_of_insects",
    "spring_equinox",
    "qingming",
    "grain_rain",
    "start_of_summer",
    "grain_buds",
    "grain_in_ear",
    "summer_solstice",
    "minor_heat",
    "major_heat",
    "start_of_autumn",
    "end_of_heat",
    "white_dew",
    "autumn_equinox",
    "cold_dew",
    "frosts_descent",
    "start_of_winter",
    "minor_snow",
    "major_snow",
    "winter_solstice",
)
"""Names in the order of the Gregorian year; two fall into each month."""

_FIRST_LONGITUDE = 285  # of minor cold, in degrees


@lru_cache(maxsize=512)
def solar_terms(year: int) -> tuple[tuple[str, date], ...]:
    """The solar terms of a Gregorian year, in order, each with the day on which it begins in China."""
    import astronomy

    days = []
    for index, name in enumerate(SOLAR_TERMS):
        longitude = (_FIRST_LONGITUDE + 15 * index) % 360
        start = astronomy.Time.Make(year, index // 2 + 1, 1, 0, 0, 0)
        passing = astronomy.SearchSunLongitude(longitude, start, 40.0)
        moment = passing.Utc() + CHINA_STANDARD_TIME
        days.append((name, date(moment.year, moment.month, moment.day)))
    return tuple(days)
