"""What a panel knew on any of its days: how well items sell for their price, and when in the year they sell.

Nothing here reads a day after the one that it is asked about.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import Array
from pipeline.models.panel import Panel

MONTHS = 12
LEVEL_DAYS = 91
"""Days whose sales are an item's level."""
ESTABLISHED_DAYS = 28
"""Days since its first sale from which an item tells something of others."""
LEAST_SALES = 15.0
"""Sales without which a month's share is luck."""
SALES_PRIOR = 2.0
"""Sales that every month is believed to have beside those seen: what a month seen once is worth."""
_LEAST_PRICE = 0.01


@dataclass(frozen=True)
class Facts:
    """Running sums of a panel, and what follows from them for a day: the first `day` columns are known.

    Attributes:
        panel: the panel.
    """

    panel: Panel

    @cached_property
    def month(self) -> NDArray[np.int64]:
        """(T + H,) calendar month of each day of history and horizon, counted from that of the first day."""
        days = [self.panel.first_day + timedelta(days=day) for day in range(self.panel.history + self.panel.horizon)]
        first = days[0].year * MONTHS + days[0].month
        return np.array([day.year * MONTHS + day.month - first for day in days])

    @cached_property
    def month_of_year(self) -> NDArray[np.int64]:
        """(T + H,) month of the year of each day, 0 for January."""
        return (self.month + self.panel.first_day.month - 1) % MONTHS

    @cached_property
    def weekday(self) -> NDArray[np.int64]:
        """(T + H,) day of the week of each day, 0 for Monday."""
        return (self.panel.first_day.weekday() + np.arange(self.panel.history + self.panel.horizon)) % 7

    @cached_property
    def week(self) -> Array:
        """(7,) units of the shop on an open day of each day of the week, over the last half year; zero where it never is open."""
        panel = self.panel
        recent = slice(max(0, panel.history - 182), panel.history)
        opened, weekday = ~panel.closed[recent], self.weekday[recent]
        total = panel.units_winsorised[:, recent].sum(axis=0, dtype=np.float64)
        units = np.bincount(weekday[opened], weights=total[opened], minlength=7)
        return units / np.maximum(np.bincount(weekday[opened], minlength=7), 1)

    @cached_property
    def log_price(self) -> Array:
        """(S,) log of the price at the first sale; of the last known one where nothing was sold; not a number without."""
        panel = self.panel
        at = np.minimum(panel.first_sold, panel.price.shape[1] - 1)
        price = panel.price[np.arange(panel.series), at].astype(np.float64)
        return np.asarray(np.log(np.where(np.isfinite(price), np.maximum(price, _LEAST_PRICE), np.nan)))

    @cached_property
    def _sums(self) -> Array:
        sums = np.zeros((self.panel.series, self.panel.history + 1))
        np.cumsum(self.panel.units_winsorised, axis=1, dtype=np.float64, out=sums[:, 1:])
        return sums

    @cached_property
    def sales(self) -> Array:
        """(S, T) sales of each day: log2(1 + units ÷ units of the item's sale days up to then).

        A usual day is one sale, a day of three times as many units two: one large order does not make a season, and a busy day is
        more than a sale, of an item sold in dozens as of one sold singly.
        """
        units = self.panel.units_winsorised.astype(np.float64)
        usual = np.cumsum(units, axis=1) / np.maximum(np.cumsum(units > 0, axis=1), 1)
        return np.asarray(np.log2(1 + units / np.where(usual > 0, usual, 1.0)))

    @cached_property
    def _monthly(self) -> tuple[Array, Array]:
        """(S, M) sales, and open days on sale, of every month of the history."""
        panel, history = self.panel, self.panel.history
        month = self.month[:history]
        edges = np.flatnonzero(np.diff(month, prepend=-1))
        sold = np.add.reduceat(self.sales, edges, axis=1)
        opened = (~panel.closed[:history]).astype(np.float64)
        running = np.concatenate([[0.0], np.cumsum(opened)])
        ends = np.append(edges[1:], history)
        begins = np.maximum(edges[None, :], np.minimum(panel.first_sold, history)[:, None])
        on_sale = np.maximum(running[ends][None, :] - running[np.minimum(begins, ends[None, :])], 0.0)
        return sold, on_sale

    def units(self, rows: NDArray[np.int64], first: NDArray[np.int64], end: NDArray[np.int64]) -> Array:
        """Units of rows from the columns `first` to before `end`, single large orders cut."""
        return np.asarray(self._sums[rows, end] - self._sums[rows, first])

    def came(self, rows: NDArray[np.int64], first: NDArray[np.int64], end: NDArray[np.int64]) -> Array:
        """The same with the large orders whole."""
        units = self.panel.units
        return np.array(
            [units[row, begin:stop].sum(dtype=np.float64) for row, begin, stop in zip(rows, first, end, strict=True)]
        )

    def days_in_months(self, first: NDArray[np.int64], end: NDArray[np.int64]) -> Array:
        """(R, 12) days of each month of the year from the columns `first` to before `end`."""
        running, last = self._running_months, len(self.month_of_year)
        return np.asarray(running[np.minimum(end, last)] - running[np.minimum(first, last)])

    @cached_property
    def _running_months(self) -> Array:
        running = np.zeros((len(self.month_of_year) + 1, MONTHS))
        np.cumsum(np.eye(MONTHS)[self.month_of_year], axis=0, out=running[1:])
        return running

    def levels(self, day: int) -> Array:
        """(S, 2) how much more an item sold in the last `LEVEL_DAYS` than its price says, in logs; not a number where unknown.

        As it sold, which speaks for the weeks to come, and apart from the season that it had then, which speaks for later ones.

        Args:
            day: columns known.
        """
        panel = self.panel
        rows = np.flatnonzero((panel.first_sold + ESTABLISHED_DAYS < day) & np.isfinite(self.log_price))
        start = np.maximum(panel.first_sold[rows], day - LEVEL_DAYS).clip(min=0)
        units = self.units(rows, start, np.full(len(rows), day))
        rows, start, units = rows[units > 0], start[units > 0], units[units > 0]
        out = np.full((panel.series, 2), np.nan)
        if len(rows) < LEVEL_DAYS:
            return out  # too few to know what a price says
        level = np.log1p(units / (day - start) * ESTABLISHED_DAYS)
        price = self.log_price[rows]
        design = np.column_stack([np.ones(len(rows)), price, price**2])
        residual = level - design @ np.linalg.lstsq(design, level, rcond=None)[0]
        days = self.days_in_months(start, np.full(len(rows), day))
        season = (days * np.nan_to_num(self.lifts(day)[rows])).sum(axis=1) / days.sum(axis=1)
        apart = residual - season
        out[rows] = np.column_stack([residual, apart - apart.mean()])
        return out

    def shop_season(self, day: int) -> Array:
        """(12,) log of what an item on sale sells in each month of the year against an even year, as the last twelve months had it.

        Zeros where fewer whole months are known.

        Args:
            day: columns known.
        """
        last = self._last_month(day)
        if last < MONTHS - 1 + (self.panel.first_day.day > 1):
            return np.zeros(MONTHS)
        recent = slice(last + 1 - MONTHS, last + 1)
        sold, on_sale = (each[:, recent].sum(axis=0) for each in self._monthly)
        rate = (sold + SALES_PRIOR) / np.maximum(on_sale, 1.0)
        of_year = (np.arange(recent.start, recent.stop) + self.panel.first_day.month - 1) % MONTHS
        found = np.empty(MONTHS)
        found[of_year] = np.log(rate / rate.mean())
        return found

    def _last_month(self, day: int) -> int:
        """The last month that is over when so many columns are known; −1 for none."""
        over = day < len(self.month) and self.month[day] > self.month[day - 1]
        return int(self.month[day - 1]) - (0 if over else 1)

    def lifts(self, day: int) -> Array:
        """(S, 12) log of an item's sales in each month of the year against an even year; not a number where unknown.

        Only whole months count. Expected are its sales had it the shop's own seasons.

        Args:
            day: columns known.
        """
        last = self._last_month(day)
        sold, on_sale = (each[:, : last + 1] for each in self._monthly)
        known = (sold.sum(axis=1) >= LEAST_SALES) & (self.panel.first_sold + ESTABLISHED_DAYS < day)
        out = np.full((self.panel.series, MONTHS), np.nan)
        if last < 0 or not known.any():
            return out
        rate = sold[known].sum(axis=0) / np.maximum(on_sale[known].sum(axis=0), 1.0)
        expected = on_sale * rate
        scale = sold.sum(axis=1) / np.maximum(expected.sum(axis=1), 1e-9)
        expected *= scale[:, None]
        of_year = (np.arange(last + 1) + self.panel.first_day.month - 1) % MONTHS
        for month in np.unique(of_year):
            mine = of_year == month
            there = known & (on_sale[:, mine].sum(axis=1) > 0)
            seen, even = sold[there][:, mine].sum(axis=1), expected[there][:, mine].sum(axis=1)
            out[there, month] = np.log((seen + SALES_PRIOR) / (even + SALES_PRIOR))
        return out
