"""What a pretrained model reads of a panel: units up to a night and, where it can, how the days around it differ.

Chronos-2 attends to covariates as to further series of a group: each costs as much time as the item itself, and one
that means the same for all items has to be read with every item. So there are three, and the calendar with all its
features is one of them: what they have meant for the shop's sales, learned from the panel that was fitted on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.panel import PRICE_CUT, Panel

Floats = NDArray[np.float32]
Index = NDArray[np.int64]

COVARIATES = ("calendar", "promotion", "price")
_CLOSED = "(closed)"
_PENALTY = 10.0
"""Ridge of the calendar's weights, in days: an event seen once is believed by a tenth."""
_LEAST_OF_USUAL = 0.05
_AROUND = 14
"""Days on each side of a day that say how much the shop sells at that time."""


@dataclass(frozen=True)
class CalendarEffect:
    """What the calendar has meant for the sales of the shop.

    Attributes:
        weights: change of log units by closed days and by each feature of the calendar.
    """

    weights: Mapping[str, float]

    @classmethod
    def learn(cls, panel: Panel, known_days: int) -> "CalendarEffect":
        """Ridge regression of the shop's log units, against those around them, on calendar, closed days and weekday.

        Args:
            panel: the panel.
            known_days: days of history to learn from.
        """
        log_units = np.log1p(panel.units_winsorised[:, :known_days].sum(axis=0, dtype=np.float64))
        running = np.concatenate([[0.0], np.cumsum(log_units)])
        day = np.arange(known_days)
        start, end = np.maximum(day - _AROUND, 0), np.minimum(day + _AROUND + 1, known_days)
        change = log_units - (running[end] - running[start]) / (end - start)
        names = (_CLOSED, *panel.calendar_names)
        weekday = (day[:, None] % 7 == np.arange(7)[None, :]).astype(np.float64)
        features = np.column_stack([_calendar(panel, names)[:known_days], weekday])
        normal = features.T @ features + _PENALTY * np.eye(features.shape[1])
        weights = np.linalg.solve(normal, features.T @ change)
        return cls(dict(zip(names, weights.tolist(), strict=False)))

    def days(self, panel: Panel) -> Floats:
        """The effect of each day of a panel, (T + H,); a feature that the panel lacks counts nothing."""
        names = tuple(sorted(self.weights))  # JSON keeps no order, and the order of summing decides on the last digit
        effect: Floats = (_calendar(panel, names) @ np.array([self.weights[name] for name in names])).astype(np.float32)
        return effect


class Windows:
    """Windows of a panel, cut at nights.

    Args:
        panel: the panel.
        effect: what the calendar means, for a model that reads covariates; else None.
        days: days of context at most.
    """

    def __init__(self, panel: Panel, effect: CalendarEffect | None, days: int) -> None:
        self.history = panel.history
        self.days = min(days, panel.history)
        self.first_sold = panel.first_sold
        before = np.arange(panel.history)[None, :] < panel.first_sold[:, None]
        self.units: Floats = np.where(before, np.float32(np.nan), panel.units_winsorised)
        self.closed = panel.closed
        self._panel = panel
        self._effect = None if effect is None else effect.days(panel)

    @property
    def rows(self) -> int:
        """Rows of a group: the item itself, and the covariates."""
        return 1 if self._effect is None else 1 + len(COVARIATES)

    def past(self, series: Index, nights: Index) -> Floats:
        """(B, R, C) what is known of the days up to each night; NaN before the first sale and before the panel."""
        days = nights[:, None] + np.arange(1 - self.days, 1)[None, :]
        at = np.maximum(days, 0)
        rows = [self.units[series[:, None], at]]
        if self._effect is not None:
            promotion = self._strongest(self._announced(series, at))
            rows += [self._effect[at], promotion, self._panel.price[series[:, None], at]]
        stacked = np.stack(rows, axis=1)
        stacked[np.repeat((days < 0)[:, None, :], len(rows), axis=1)] = np.nan
        return stacked

    def ahead(self, series: Index, nights: Index, horizon: int) -> Floats:
        """(B, R, H) what each night knew of the days after it; NaN in the row of the item itself."""
        days = nights[:, None] + np.arange(1, horizon + 1)[None, :]
        rows: list[NDArray[Any]] = [np.full(days.shape, np.nan, np.float32)]
        if self._effect is not None:
            distance = (days - nights[:, None])[:, :, None]
            announced = self._announced(series, days, distance)
            # a price paid after the night would tell that there was a sale
            price = self._panel.price[series, nights][:, None] * self._price_change(series, nights, announced)
            rows += [self._effect[days], self._strongest(announced), price]
        return np.stack(rows, axis=1)

    def targets(self, series: Index, nights: Index, horizon: int, known_days: int) -> Floats:
        """(B, H) units after each night; NaN on closed days and on days from `known_days` on, which are not learned."""
        days = nights[:, None] + np.arange(1, horizon + 1)[None, :]
        at = np.minimum(days, self.history - 1)
        return np.where((days >= known_days) | self.closed[at], np.float32(np.nan), self.units[series[:, None], at])

    def _announced(self, series: Index, days: Index, distance: Index | None = None) -> Floats:
        """(B, D, P) promotions of days; with a distance, of those announced by then."""
        promotion, lead = self._panel.promotion, self._panel.promotion_lead
        found: Floats = promotion[series[:, None], days]
        if distance is not None and lead is not None:
            found = found * (lead[series[:, None], days] >= distance)
        return found

    def _strongest(self, announced: Floats) -> Floats:
        """(B, D) share of the shop that the strongest promotion of a day reaches."""
        kinds = [place for place, kind in enumerate(self._panel.promotion_kinds) if kind != PRICE_CUT]
        strongest: Floats = announced[..., kinds].max(axis=2, initial=0)
        return strongest

    def _price_change(self, series: Index, nights: Index, announced: Floats) -> Floats:
        """(B, H) planned price of each day ÷ the price of the night, which may itself be cut."""
        if PRICE_CUT not in self._panel.promotion_kinds:
            return np.ones(announced.shape[:2], np.float32)
        place = self._panel.promotion_kinds.index(PRICE_CUT)
        tonight = self._announced(series, nights[:, None])[..., place]
        # a price of nothing is planned for gifts: their usual price cannot be told from it
        change = (1 - announced[..., place]) / np.maximum(1 - tonight, _LEAST_OF_USUAL)
        return change.astype(np.float32)


def _calendar(panel: Panel, names: tuple[str, ...]) -> NDArray[np.float64]:
    """(T + H, N) closed days and features of the calendar by name; zeros for what the panel lacks."""
    place = {name: index for index, name in enumerate(panel.calendar_names)}
    out = np.zeros((panel.calendar.shape[0], len(names)))
    for column, name in enumerate(names):
        if name == _CLOSED:
            out[:, column] = panel.closed
        elif name in place:
            out[:, column] = panel.calendar[:, place[name]]
    return out
