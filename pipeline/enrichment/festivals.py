"""Days that move shops without being public holidays: shopping festivals, and the feasts people buy for.

Each has one rule for all years; where countries differ (Mother's Day, Father's Day, Thanksgiving) the rule is the
country's. Festivals younger than the year asked for (Double 11 was born in 2009) are given all the same: a feature
that finds nothing there does no harm.
"""

from datetime import date, timedelta

from pipeline.enrichment.events import Occurrence, on_day

_FIXED: dict[str, tuple[str, int, int]] = {
    "valentine": ("Valentine's Day", 2, 14),
    "shopping_618": ("618 shopping festival", 6, 18),
    "halloween": ("Halloween", 10, 31),
    "double_11": ("Double 11 (Singles' Day)", 11, 11),
    "double_12": ("Double 12", 12, 12),
    "christmas": ("Christmas", 12, 25),
}

_MOTHERS_SUNDAY = {"FR": (5, -1), "SE": (5, -1), "ES": (5, 1), "PT": (5, 1), "HU": (5, 1), "LT": (5, 1), "NO": (2, 2)}
"""Month, and which Sunday of it; elsewhere the second of May."""
_MOTHERS_DAY_FIXED = {"PL": (5, 26), "RU": (3, 8), "BG": (3, 8)}
_SUNDAY = 6


def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (the anonymous algorithm, valid for every year)."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = b // 4, b % 4
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = c // 4, c % 4
    m = (32 + 2 * e + 2 * i - h - k) % 7
    n = (a + 11 * h + 22 * m) // 451
    month, day = divmod(h + m - 7 * n + 114, 31)
    return date(year, month, day + 1)


def nth_weekday(year: int, month: int, weekday: int, n: int) -> date:
    """The n-th weekday (0 Monday) of a month; n = −1 is the last."""
    if n < 0:
        following = date(year + month // 12, month % 12 + 1, 1)
        return following - timedelta(days=(following.weekday() - weekday - 1) % 7 + 1)
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (n - 1))


def black_friday(year: int) -> date:
    """The day after the fourth Thursday of November."""
    return nth_weekday(year, 11, 3, 4) + timedelta(days=1)


def mothers_day(country: str, year: int) -> date:
    """Mother's Day of a country."""
    if country in ("GB", "IE"):
        return easter(year) - timedelta(days=21)
    if country in _MOTHERS_DAY_FIXED:
        return date(year, *_MOTHERS_DAY_FIXED[country])
    month, n = _MOTHERS_SUNDAY.get(country, (5, 2))
    sunday = nth_weekday(year, month, _SUNDAY, n)
    # France gives way to Pentecost
    return sunday + timedelta(days=7) if country == "FR" and sunday == easter(year) + timedelta(days=49) else sunday


def fathers_day(country: str, year: int) -> date:
    """Father's Day of a country."""
    if country == "DE":
        return easter(year) + timedelta(days=39)
    if country in ("IT", "ES", "PT", "BE"):
        return date(year, 3, 19)
    if country in ("AU", "NZ"):
        return nth_weekday(year, 9, _SUNDAY, 1)
    if country in ("SE", "NO", "FI", "IS", "EE"):
        return nth_weekday(year, 11, _SUNDAY, 2)
    if country in ("TW",):
        return date(year, 8, 8)
    return nth_weekday(year, 6, _SUNDAY, 3)


def festivals(country: str, year: int) -> list[Occurrence]:
    """Shopping festivals and feasts of a country in a Gregorian year."""
    friday = black_friday(year)
    found = [on_day(event, date(year, month, day), "festival", name) for event, (name, month, day) in _FIXED.items()]
    found += [
        on_day("easter", easter(year), "festival", "Easter Sunday"),
        on_day("mothers_day", mothers_day(country, year), "festival", "Mother's Day"),
        on_day("fathers_day", fathers_day(country, year), "festival", "Father's Day"),
        on_day("black_friday", friday, "festival", "Black Friday"),
        on_day("cyber_monday", friday + timedelta(days=3), "festival", "Cyber Monday"),
    ]
    if country == "US":
        found.append(on_day("thanksgiving", nth_weekday(year, 11, 3, 4), "festival", "Thanksgiving"))
    if country == "CA":
        found.append(on_day("thanksgiving", nth_weekday(year, 10, 0, 2), "festival", "Thanksgiving"))
    return found
