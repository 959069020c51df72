"""What the sales of items say of their seasons: the months, the quarters, and the run-ups to the events of the calendar.

An item's sales (`Facts.sales`: one large order makes no season) are set beside what it would have sold had it the shop's own
seasons. A season in which it was not on sale is not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import Array
from pipeline.models.launches.facts import LEAST_SALES, SALES_PRIOR, Facts
from pipeline.models.panel import Panel

MONTH, QUARTER, EVENT = "month", "quarter", "event"
MONTH_NAMES = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
QUARTERS = {
    "december_to_february": (11, 0, 1),
    "march_to_may": (2, 3, 4),
    "june_to_august": (5, 6, 7),
    "september_to_november": (8, 9, 10),
}
"""Seasons of the weather, by their months: a shop in the south has its summer from December on."""
_SCALES = 2
"""Scales of an event's feature that are its run-up: four weeks of a large event, two of a small one."""
_LEAST_DAYS = 0.5
"""Share of a season's days that an item must have been on sale on."""


@dataclass(frozen=True)
class Season:
    """A part of the year.

    Attributes:
        name: of a month, a quarter or an event.
        kind: which of these.
        days: of an event, days of its run-up.
    """

    name: str
    kind: str
    days: int = 0


@dataclass(frozen=True)
class SeasonSums:
    """What the seasons of S items follow from, small enough to be kept of all items of a shop at once.

    Attributes:
        seasons: the K seasons.
        windows: (T, K) flags of each season's days.
        months: (T,) numbers the months of the history from 0.
        opened: (T,) the shop was open.
        shop: (T,) sales of all items.
        first_sold: (S,) column of each item's first sale.
        total: (S,) its sales.
        came: (S, K) its sales in each season.
    """

    seasons: tuple[Season, ...]
    windows: Array
    months: NDArray[np.int64]
    opened: NDArray[np.bool_]
    shop: Array
    first_sold: NDArray[np.int64]
    total: Array
    came: Array

    @classmethod
    def of(cls, facts: Facts) -> "SeasonSums":
        """The sums of a panel."""
        panel, days = facts.panel, slice(0, facts.panel.history)
        sales = facts.sales
        seasons, windows = _windows(panel, facts.month_of_year[days])
        return cls(
            seasons=seasons,
            windows=windows,
            months=facts.month[days],
            opened=~panel.closed[days],
            shop=sales.sum(axis=0),
            first_sold=np.minimum(panel.first_sold, panel.history),
            total=sales.sum(axis=1),
            # column by column: a matrix product may sum otherwise for another number of rows
            came=np.stack([sales[:, flags > 0].sum(axis=1) for flags in windows.T], axis=1),
        )

    @classmethod
    def joined(cls, slices: Sequence["SeasonSums"]) -> "SeasonSums":
        """The sums of a shop from those of slices of its items."""
        return replace(
            slices[0],
            shop=np.sum([one.shop for one in slices], axis=0),
            first_sold=np.concatenate([one.first_sold for one in slices]),
            total=np.concatenate([one.total for one in slices]),
            came=np.concatenate([one.came for one in slices]),
        )

    def usual(self) -> Array:
        """(S, K) sales that each item would have had in each season, had it the shop's own seasons."""
        whole = _from_day(self._even)[self.first_sold]
        within = _from_day(self._even[:, None] * self.windows)[self.first_sold]
        return np.asarray(within / np.maximum(whole, 1e-9)[:, None] * self.total[:, None])

    def known(self) -> NDArray[np.bool_]:
        """(S, K) whether an item was on sale for enough of a season's days."""
        days = _from_day(self.windows * self.opened[:, None])
        return np.asarray((days[self.first_sold] >= _LEAST_DAYS * days[0]) & (days[0] > 0))

    def lifts(self) -> Array:
        """(S, K) log of how many times as much each item sold as the shop's seasons say; not a number where unknown."""
        found = np.log((self.came + SALES_PRIOR) / (self.usual() + SALES_PRIOR))
        return np.where(self.known() & (self.total >= LEAST_SALES)[:, None], found, np.nan)

    def shares(self) -> Array:
        """(K,) share of a year's sales that falls into each season by the shop's own; not a number where none was seen.

        A year is the months that the history holds: all of them once it is a year long.
        """
        month = self.windows[:, [season.kind == MONTH for season in self.seasons]]
        days = month.sum(axis=0)
        daily = self._even @ month / np.maximum(days, 1.0)
        times = np.array([len(np.unique(self.months[flags > 0])) for flags in month.T])
        # days of each season in each month of one year
        within = self.windows.T @ month / np.maximum(times, 1)
        sold = within @ daily
        year = float(daily @ (days / np.maximum(times, 1)))
        return np.where(self.windows.any(axis=0), sold / max(year, 1e-9), np.nan)

    @property
    def _even(self) -> Array:
        """(T,) sales of an item on sale on each day: the shop's own seasons."""
        began = np.bincount(self.first_sold, minlength=len(self.months) + 1)[: len(self.months)]
        on_sale = np.cumsum(began) * self.opened
        sold = np.bincount(self.months, weights=self.shop)
        rate = sold / np.maximum(np.bincount(self.months, weights=on_sale), 1.0)
        return np.asarray(rate[self.months] * self.opened)


def _windows(panel: Panel, month_of_year: NDArray[np.int64]) -> tuple[tuple[Season, ...], Array]:
    """The seasons of a panel, and (T, K) flags of their days."""
    found = [(Season(name, MONTH), month_of_year == month) for month, name in enumerate(MONTH_NAMES)]
    found += [(Season(name, QUARTER), np.isin(month_of_year, months)) for name, months in QUARTERS.items()]
    longest: dict[str, tuple[int, int]] = {}
    for column, name in enumerate(panel.calendar_names):
        event, before, days = name.rpartition("_before_")
        if before and days.isdigit() and int(days) > longest.get(event, (0, 0))[0]:
            longest[event] = (int(days), column)
    found += [
        (Season(event, EVENT, _SCALES * days), panel.calendar[: panel.history, column] >= np.exp(-_SCALES))
        for event, (days, column) in longest.items()
    ]
    return tuple(season for season, _ in found), np.stack([flags for _, flags in found], axis=1).astype(np.float64)


def _from_day(values: Array) -> Array:
    """(T + 1, …) sums of (T, …) values from each day to the last."""
    return np.concatenate([np.cumsum(values[::-1], axis=0)[::-1], np.zeros((1, *values.shape[1:]))])
