"""What the sales of a panel say of its items' seasons: what a language model learns to read from their words.

An item's sales are log1p of the units of each day (one large order makes no season), set beside what it would have sold had it
the shop's own seasons. Months and events in which it was not on sale are not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import Array
from pipeline.models.launches.facts import MONTHS, Facts
from pipeline.models.panel import Panel

LEAST_SALES = 15.0
"""Sales from which an item's season is learned from."""
_PRIOR = 6.0
"""Sales that every item is believed to have had in the shop's own seasons, beside its own."""
_EVENT_PRIOR = 2.0
_EVENT_LIFT = 1.5
"""An item sells for an event when the days up to it bring this many times what the shop's seasons say."""
_NEAR = float(np.exp(-2.0))
"""Value of an event's feature from which a day belongs to its run-up: four weeks of a large event, two of a small one."""
_LEAST_DAYS = 0.5
"""Share of an event's days that an item must have been on sale on."""


@dataclass(frozen=True)
class SeasonSums:
    """What the seasons of a shop's items follow from, small enough to be kept of all of them at once.

    Attributes:
        month_of_year: (T,) month of each day of the history, 0 for January.
        months: (T,) numbers the months of the history from 0.
        opened: (T,) the shop was open.
        events: names of the E events.
        windows: (T, E) flags of the days that run up to each event.
        shop: (T,) sales of all items.
        first_sold: (S,) column of each item's first sale.
        in_month: (S, 12) its sales in each month of the year.
        in_event: (S, E) its sales in the run-up to each event.
    """

    month_of_year: NDArray[np.int64]
    months: NDArray[np.int64]
    opened: NDArray[np.bool_]
    events: tuple[str, ...]
    windows: Array
    shop: Array
    first_sold: NDArray[np.int64]
    in_month: Array
    in_event: Array

    @classmethod
    def of(cls, facts: Facts) -> "SeasonSums":
        """The sums of a panel."""
        panel = facts.panel
        days = slice(0, panel.history)
        sales = np.log1p(panel.units_winsorised.astype(np.float64))
        events, windows = _event_windows(panel)
        return cls(
            month_of_year=facts.month_of_year[days],
            months=facts.month[days],
            opened=~panel.closed[days],
            events=events,
            windows=windows,
            shop=sales.sum(axis=0),
            first_sold=np.minimum(panel.first_sold, panel.history),
            in_month=sales @ np.eye(MONTHS)[facts.month_of_year[days]],
            in_event=sales @ windows,
        )

    @classmethod
    def joined(cls, slices: Sequence["SeasonSums"]) -> "SeasonSums":
        """The sums of a shop from those of slices of its items."""
        return replace(
            slices[0],
            shop=np.sum([one.shop for one in slices], axis=0),
            first_sold=np.concatenate([one.first_sold for one in slices]),
            in_month=np.concatenate([one.in_month for one in slices]),
            in_event=np.concatenate([one.in_event for one in slices]),
        )

    def seasons(self, least_sales: float = LEAST_SALES) -> "SeasonTargets":
        """The seasons of all items that sold enough."""
        even = self._rate() * self.opened
        from_day = [
            _from_day(even[:, None] * flags)[self.first_sold]
            for flags in (np.eye(MONTHS)[self.month_of_year], self.windows)
        ]
        total = self.in_month.sum(axis=1)
        rows = np.flatnonzero(total >= least_sales)
        base, usual = (of[rows] for of in from_day)
        whole = np.maximum(base.sum(axis=1, keepdims=True), 1e-9)
        count = total[rows][:, None]
        base, usual = base / whole, usual / whole * count
        shares = np.where(base > 0, self.in_month[rows] + _PRIOR * base, 0.0)
        days = _from_day(self.windows * self.opened[:, None])
        there = (days[self.first_sold[rows]] >= _LEAST_DAYS * days[0]) & (days[0] > 0)
        lift = (self.in_event[rows] + _EVENT_PRIOR) / (usual + _EVENT_PRIOR)
        return SeasonTargets(
            rows=rows,
            sales=total[rows],
            shares=shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-9),
            base=base,
            events=self.events,
            for_event=np.where(there, (lift >= _EVENT_LIFT).astype(np.float64), np.nan),
        )

    def _rate(self) -> Array:
        """(T,) sales a day of an item on sale in the month of each day: the shop's own seasons."""
        began = np.bincount(self.first_sold, minlength=len(self.months) + 1)[: len(self.months)]
        on_sale = np.cumsum(began) * self.opened
        sold = np.bincount(self.months, weights=self.shop)
        return np.asarray((sold / np.maximum(np.bincount(self.months, weights=on_sale), 1.0))[self.months])


@dataclass(frozen=True)
class SeasonTargets:
    """Seasons of N items, as known on a night.

    Attributes:
        rows: (N,) which items.
        sales: (N,) sales that they are known from.
        shares: (N, 12) share of the year's sales in each month, smoothed; zero where unknown.
        base: (N, 12) what the shop's own seasons say of the same days on sale; zero where the month is unknown.
        events: names of the E events.
        for_event: (N, E) 1 where the item sells for the event, 0 where it does not, not a number where unknown.
    """

    rows: NDArray[np.int64]
    sales: Array
    shares: Array
    base: Array
    events: tuple[str, ...]
    for_event: Array

    def only(self, index: NDArray[np.int64]) -> "SeasonTargets":
        """Those of some of the items."""
        return SeasonTargets(
            self.rows[index],
            self.sales[index],
            self.shares[index],
            self.base[index],
            self.events,
            self.for_event[index],
        )


def _event_windows(panel: Panel) -> tuple[tuple[str, ...], Array]:
    """Events of the panel's calendar, and (T, E) flags of the days that run up to each."""
    longest: dict[str, tuple[int, int]] = {}
    for column, name in enumerate(panel.calendar_names):
        event, before, days = name.rpartition("_before_")
        if before and days.isdigit() and int(days) > longest.get(event, (0, 0))[0]:
            longest[event] = (int(days), column)
    flags = [panel.calendar[: panel.history, column] >= _NEAR for _, column in longest.values()]
    return tuple(longest), np.stack(flags, axis=1).astype(np.float64) if flags else np.zeros((panel.history, 0))


def _from_day(values: Array) -> Array:
    """(T + 1, …) sums of (T, …) values from each day to the last."""
    return np.concatenate([np.cumsum(values[::-1], axis=0)[::-1], np.zeros((1, *values.shape[1:]))])
