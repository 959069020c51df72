"""Public holidays of a country from `holidays`, each with the day from which it was known.

Most holidays follow a rule and were always known. Three kinds were not, and a night before must not see them:

- days off moved by decree (China's substitute days and the weekend days worked in exchange): the decree for a year
  comes out in the last weeks of the year before, so 25 December before is taken;
- one-off days (a royal wedding, a state funeral), known from `_ANNOUNCED`, else only on the day itself;
- the first year of a new holiday: known only on the day, and by rule from the second year on.

What cannot be told from names and dates stays always known: a holiday moved once (Britain's spring bank holiday in
2012). Where the library keeps holidays by region only, `_REGION` names the one that stands for the country.
"""

from collections.abc import Iterator
from datetime import date

from pipeline.enrichment.events import DAY, Occurrence, slug
from pipeline.errors import SettingsError

_REGION = {"GB": "ENG"}
_LOOK_BACK = 5
_OBSERVED = " (observed)"
_SUBSTITUTED = "Day off (substituted"
_ANNOUNCED: dict[tuple[str, str], date] = {
    ("GB", "Wedding of William and Catherine"): date(2010, 11, 23),
    ("GB", "Diamond Jubilee of Elizabeth II"): date(2010, 1, 5),
    ("GB", "Platinum Jubilee of Elizabeth II"): date(2020, 11, 12),
    ("GB", "State Funeral of Queen Elizabeth II"): date(2022, 9, 10),
    ("GB", "Coronation of Charles III"): date(2022, 11, 6),
    ("CN", "Chinese New Year Extended Holiday"): date(2020, 1, 26),
}


def public_holidays(country: str, first_year: int, last_year: int) -> list[Occurrence]:
    """Public holidays of a country, substitute days included, consecutive days of one name being one occurrence.

    Args:
        country: ISO 3166-1 code.
        first_year: first Gregorian year.
        last_year: last Gregorian year, included.

    Returns:
        Occurrences of kind `holiday`, and of kind `workday` for weekend days worked in exchange.

    Raises:
        SettingsError: the library does not know the country.
    """
    import holidays

    region = _REGION.get(country)
    try:
        blank = holidays.country_holidays(country, subdiv=region)
    except NotImplementedError as error:
        raise SettingsError(
            f"calendar.countries: {country} has no public holidays in the package `holidays`; "
            "list a country that has (ISO 3166-1, for example US, GB, CN) in almanac.yaml"
        ) from error
    start = blank.start_year
    english = next((language for language in ("en_US", "en_GB") if language in blank.supported_languages), None)
    years = range(max(start, first_year - _LOOK_BACK), last_year + 1)
    known = holidays.country_holidays(country, subdiv=region, years=years, language=english)
    named = sorted((name, day) for day, names in known.items() for name in names.split("; "))
    years_by_name: dict[str, set[int]] = {}
    for name, day in named:
        years_by_name.setdefault(_base(name), set()).add(day.year)
    found = [
        Occurrence(
            _event(name),
            first,
            last,
            "holiday",
            "Substitute day off" if name.startswith(_SUBSTITUTED) else name,
            _announced(country, name, first, years_by_name[_base(name)], start),
        )
        for name, first, last in _runs(named)
    ]
    # the library leaves a few of other years among the days it was asked for
    found += [
        Occurrence("adjusted_workday", day, day, "workday", "Weekend day worked in exchange", _decreed(day))
        for day in sorted(getattr(known, "weekend_workdays", ()))
    ]
    return [one for one in found if first_year <= one.starts_on.year <= last_year]


def _base(name: str) -> str:
    return _SUBSTITUTED if name.startswith(_SUBSTITUTED) else name.replace(_OBSERVED, "")


def _event(name: str) -> str:
    return "substitute_day_off" if name.startswith(_SUBSTITUTED) else slug(name)


def _runs(named: list[tuple[str, date]]) -> Iterator[tuple[str, date, date]]:
    """Consecutive days of one name, as (name, first, last)."""
    run: tuple[str, date, date] | None = None
    for name, day in named:
        if run is not None and run[0] == name and day == run[2] + DAY:
            run = (name, run[1], day)
            continue
        if run is not None:
            yield run
        run = (name, day, day)
    if run is not None:
        yield run


def _announced(country: str, name: str, day: date, years: set[int], start: int) -> date | None:
    """The day from which a holiday was known; None when always."""
    if name.startswith(_SUBSTITUTED):
        return _decreed(day)
    if (country, _base(name)) in _ANNOUNCED:
        return _ANNOUNCED[country, _base(name)]
    by_rule = day.year <= start or any(year in years for year in range(day.year - _LOOK_BACK, day.year))
    return None if by_rule else day


def _decreed(day: date) -> date:
    """When the moved days of a year were known; those of the last days of December belong to the next year's decree."""
    christmas = date(day.year, 12, 25)
    return christmas if day >= christmas else date(day.year - 1, 12, 25)
