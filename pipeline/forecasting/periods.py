"""The horizon cut into periods: days, ISO weeks (from Monday), calendar months, and the whole season ahead.

Weeks and months are clipped to the horizon, so that the periods of one kind add up to it exactly.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS: tuple[str, ...] = ("day", "week", "month", "season")


@dataclass(frozen=True)
class Periods:
    """Periods of some kinds, one after the other.

    Attributes:
        kind: (N,) kind of each period.
        starts_on: (N,) first day within the horizon.
        ends_on: (N,) last day within the horizon, included.
        cuts: per kind, the horizon's column on which each of its periods starts.
    """

    kind: tuple[str, ...]
    starts_on: tuple[date, ...]
    ends_on: tuple[date, ...]
    cuts: tuple[NDArray[np.intp], ...]

    def __len__(self) -> int:
        return len(self.kind)

    def sums(self, daily: NDArray[Any], *, axis: int) -> NDArray[Any]:
        """Sums of daily values by period, in order; `axis` is the one of the horizon's days."""
        return np.concatenate([np.add.reduceat(daily, cut, axis=axis) for cut in self.cuts], axis=axis)


def periods(first_day: date, horizon: int, kinds: tuple[str, ...]) -> Periods:
    """Cut `horizon` days from `first_day` on into periods of the kinds asked for."""
    days = [first_day + timedelta(days=d) for d in range(horizon)]
    names: list[str] = []
    starts: list[date] = []
    ends: list[date] = []
    cuts: list[NDArray[np.intp]] = []
    for kind in kinds:
        cut = [d for d in range(horizon) if d == 0 or _begins(kind, days[d])]
        names += [kind] * len(cut)
        starts += [days[d] for d in cut]
        ends += [days[d - 1] for d in [*cut[1:], horizon]]
        cuts.append(np.array(cut, dtype=np.intp))
    return Periods(tuple(names), tuple(starts), tuple(ends), tuple(cuts))


def _begins(kind: str, day: date) -> bool:
    """Whether a new period of the kind begins on a day."""
    match kind:
        case "day":
            return True
        case "week":
            return day.isoweekday() == 1
        case "month":
            return day.day == 1
        case "season":
            return False
    raise ValueError(f"unknown kind of period {kind!r}; known: {', '.join(KINDS)}")
