"""Closed days ahead: which days of the horizon the shop will not sell on, from what it did before.

Days behind are told in `shop_days.is_closed` (`pipeline/as_of.sql`); this looks ahead, with the same night's knowledge.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

WEEKS = 8
"""Weeks behind that tell on which weekdays the shop is closed."""
_YEAR = 366 + 31
"""How far back a holiday's last occurrence may lie: a lunar one moves by up to a month."""


def expected_closed(
    day: Sequence[date],
    is_closed: Sequence[bool] | NDArray[np.bool_],
    ahead: Sequence[date],
    *,
    closed_on: Iterable[str] = (),
    holidays: Mapping[str, Sequence[date]] | None = None,
) -> NDArray[np.bool_]:
    """Days ahead on which the shop is expected to be closed.

    A day is, when one of these holds:

    - its weekday was closed in every one of the last 8 weeks that the shop sold in (the weeks up to the last open day:
      at the end of a closure, or of the data, the weeks behind are all closed and tell nothing). A holiday that was
      open, or a single open weekday, ends the pattern;
    - settings say so (`closed_on`);
    - a holiday of the same name was closed the last time: then the same days around it as then, so that the week
      between Christmas and New Year, or that of a Spring Festival that moves, is closed as a whole.

    Args:
        day: days behind, consecutive and in order (`shop_days.day`).
        is_closed: whether each was closed.
        ahead: days to tell, after the last of `day`.
        closed_on: days of the year that are closed every year, as MM-DD (`settings.shop.closed_on`).
        holidays: first days of each holiday by its name, past and to come, as known on the night.

    Returns:
        (len(ahead),) true for a day expected to be closed.
    """
    closed_days = {when for when, closed in zip(day, is_closed, strict=True) if closed}
    weekly = _closed_weekdays(day, closed_days)
    yearly = set(closed_on)
    around = _closed_around(holidays or {}, set(day), closed_days, weekly)
    return np.array(
        [when.isoweekday() in weekly or f"{when:%m-%d}" in yearly or when in around for when in ahead], dtype=np.bool_
    )


def _closed_weekdays(day: Sequence[date], closed: set[date]) -> set[int]:
    """ISO weekdays on which the shop was always closed lately; at least half of the weeks must be there."""
    last_open = next((when for when in reversed(day) if when not in closed), None)
    if last_open is None:
        return set()
    recent = [when for when in day if last_open - timedelta(days=7 * WEEKS) < when <= last_open]
    by_weekday = {
        weekday: [when in closed for when in recent if when.isoweekday() == weekday] for weekday in range(1, 8)
    }
    return {weekday for weekday, was in by_weekday.items() if len(was) >= WEEKS // 2 and all(was)}


def _closed_around(
    holidays: Mapping[str, Sequence[date]], known: set[date], closed: set[date], weekly: set[int]
) -> set[date]:
    """Days around each coming holiday that were closed around its last occurrence."""
    found: set[date] = set()
    last = max(known, default=date.min)
    for occurrences in holidays.values():
        coming = [when for when in occurrences if when > last]
        past = [when for when in occurrences if when in known]
        if not coming or not past or (min(coming) - max(past)).days > _YEAR or max(past) not in closed:
            continue
        before, after = (_closed_run(max(past), step, closed, weekly) for step in (-1, 1))
        for first in coming:
            found.update(first + timedelta(days=shift) for shift in range(-before, after + 1))
    return found


def _closed_run(holiday: date, step: int, closed: set[date], weekly: set[int]) -> int:
    """Days beyond a holiday that were closed in one run; weekdays that are closed anyway do not lengthen it."""
    length, distance = 0, 1
    while (when := holiday + timedelta(days=step * distance)) in closed:
        if when.isoweekday() not in weekly:
            length = distance
        distance += 1
    return length
