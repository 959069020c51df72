"""A series and a week ahead in words, for a language model to read.

One text per series, night and week ahead: what the item is, what it sold, and the environment of the week, of which only
what the night could know: the calendar, announced promotions and price cuts, expected closed days, the price of the night. After the
prompts of PromptCast (Xue and Salim 2023), with sales as tenths of the series' scale, so that a slow and a fast item with
the same pattern read alike.
"""

import re
from datetime import timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.models.panel import PRICE_CUT, Panel

DAYS = 14
"""Days of sales that are told one by one."""
WEEKS = 8
"""Weeks of sales that are told by their mean day."""
MAX_TOKENS = 192
"""Tokens of a prompt that are read: sales, weeks and environment take about 90, the item's text the rest."""

_YEAR = 364
_MOST = 999
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_FLAGS = {"holiday": "holiday", "own_event_on": "event", "adjusted_workday": "workday"}


class Prompts:
    """The prompts of a panel."""

    def __init__(self, panel: Panel) -> None:
        """Prepare what all items share.

        Args:
            panel: the panel; a prompt reads its units up to the prompt's night only.
        """
        self.panel = panel
        self._sums = np.concatenate(
            [np.zeros((panel.series, 1)), np.cumsum(panel.units_winsorised.astype(np.float64), axis=1)], axis=1
        )
        self._weeks: dict[int, str] = {}
        self._befores = _ramps(panel.calendar_names, "before")
        self._afters = {event: scales[0] for event, scales in _ramps(panel.calendar_names, "after").items()}
        self._flags = [
            (panel.calendar_names.index(name), said) for name, said in _FLAGS.items() if name in panel.calendar_names
        ]

    def of(self, row: int, night: int, week: int, scale: float, *, text: str | None = None) -> str:
        """The prompt of a series.

        Args:
            row: series.
            night: column of the last day known.
            week: weeks ahead; 0 is the week that begins the day after the night.
            scale: scale of the series as of the night.
            text: the item's text in other words; None: the panel's.
        """
        panel = self.panel
        text = self.text(row) if text is None else text
        start = night + 1 + 7 * week
        parts = [
            f"item: {text}." if text else "",
            f"level: {scale:.1f}.",
            f"sales: {_numbers(panel.units_winsorised[row, max(0, night + 1 - DAYS) : night + 1], scale)}.",
            f"weekly: {self._weekly(row, night, scale)}.",
            self._year_ago(row, night, start, scale),
            f"weeks ahead: {week + 1} from {self._names(np.array([start]))}.",
            f"environment: {self._environment(row, night, start)}",
        ]
        return " ".join(part for part in parts if part)

    def text(self, row: int) -> str:
        """The text of a series' item, '' where there is none."""
        return "" if self.panel.item_text is None else str(self.panel.item_text[row]).strip()

    def _weekly(self, row: int, night: int, scale: float) -> str:
        ends = night + 1 - 7 * np.arange(WEEKS - 1, -1, -1)
        # weeks before the first sale say nothing about demand, and those that began after the night would be a leak
        ends = ends[ends - 7 >= min(int(self.panel.first_sold[row]), night)]
        means = (self._sums[row, ends] - self._sums[row, ends - 7]) / 7
        return _numbers(means, scale) if len(ends) else "new"

    def _year_ago(self, row: int, night: int, start: int, scale: float) -> str:
        first = start - _YEAR
        if first < int(self.panel.first_sold[row]) or first + 7 > night + 1:
            return ""
        return f"last year: {_numbers(np.diff(self._sums[row, first : first + 8]), scale)}."

    def _environment(self, row: int, night: int, start: int) -> str:
        """The week's own words, then the item's: announced promotions and the price of the night."""
        if start not in self._weeks:
            self._weeks[start] = self._week(start)
        words = [self._weeks[start]]
        panel = self.panel
        days = np.arange(start, min(start + 7, panel.history + panel.horizon))
        for kind, name in enumerate(panel.promotion_kinds):
            on = panel.promotion[row, days, kind] != 0
            if panel.promotion_lead is not None:
                on &= panel.promotion_lead[row, days, kind] >= days - night
            if on.any():
                cut = f" {panel.promotion[row, days[on], kind].mean():.0%}" if name == PRICE_CUT else ""
                words.append(f"{_said(name)}{cut} {self._names(days[on])}")
        price = float(panel.price[row, night])
        if np.isfinite(price):
            words.append(f"price {price:.2f}")
        return ", ".join(words)

    def _week(self, start: int) -> str:
        panel = self.panel
        days = np.arange(start, min(start + 7, panel.history + panel.horizon))
        words = [f"week {(panel.first_day + timedelta(days=int(start))).isocalendar().week}"]
        if not len(days):
            return words[0]
        first = panel.calendar[days[0]]
        for event, columns in self._befores.items():
            # the shorter ramp is the more exact one, the longer one reaches further
            told = next((-scale * np.log(first[c]) for scale, c in sorted(columns) if first[c] > 0), None)
            if told is not None:
                distance = round(float(told))
                words.append(f"{_said(event)} in {distance} days" if distance else f"{_said(event)} today")
        for event, (scale, column) in self._afters.items():
            value = float(first[column])
            if value > 0:
                words.append(f"{_said(event)} {round(-scale * float(np.log(value))) + 1} days ago")
        for column, said in self._flags:
            on = panel.calendar[days, column] > 0.5
            if on.any():
                words.append(f"{said} {self._names(days[on])}")
        if panel.closed[days].any():
            words.append(f"closed {self._names(days[panel.closed[days]])}")
        return ", ".join(words)

    def _names(self, days: NDArray[np.int64]) -> str:
        return " ".join(_WEEKDAYS[(self.panel.first_day.weekday() + int(day)) % 7] for day in days)


def _ramps(names: tuple[str, ...], side: Literal["before", "after"]) -> dict[str, list[tuple[int, int]]]:
    """Event → (scale, column) of the calendar columns on one side of it; their names tell the scale."""
    found: dict[str, list[tuple[int, int]]] = {}
    for column, name in enumerate(names):
        if matched := re.fullmatch(rf"(.+)_{side}_(\d+)", name):
            found.setdefault(matched[1], []).append((int(matched[2]), column))
    return found


def _numbers(units: NDArray[np.floating], scale: float) -> str:
    """Units as tenths of the scale."""
    tenths = np.minimum(np.floor(10 * units.astype(np.float64) / scale + 0.5), _MOST)
    return " ".join(str(int(value)) for value in tenths)


def _said(name: str) -> str:
    return name.replace("_", " ")
