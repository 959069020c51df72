"""Windows: what LightGBM learns from. One window is the days night + first_lead … night + last_lead of one series.

A day ahead is a window of one day, a total one of many, so days and totals share features, sampling and training. What
belongs here: which windows there are, which are drawn, what was sold in them. What does not: features.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import HistoryError
from pipeline.models.base import Array
from pipeline.models.panel import Panel

Integers = NDArray[np.int64]

_FIRST_NIGHT = 27
"""Before it, all levels of an item are guesses; a forecast is hardly ever asked for so early."""


@dataclass(frozen=True)
class Windows:
    """W windows of a panel; days are columns of the panel.

    Attributes:
        series: (W,) row of the panel.
        night: (W,) column of the night.
        first_day: (W,) first column of the target.
        last_day: (W,) last column of the target.
    """

    series: Integers
    night: Integers
    first_day: Integers
    last_day: Integers

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.series)

    def take(self, index: NDArray[Any] | slice) -> "Windows":
        """Some of the windows."""
        return Windows(self.series[index], self.night[index], self.first_day[index], self.last_day[index])

    @classmethod
    def ahead(cls, panel: Panel, rows: Integers, leads: list[tuple[int, int]], night: int | None = None) -> "Windows":
        """Windows of some series on one night, all leads of a series side by side.

        Args:
            panel: the panel.
            rows: rows of the panel.
            leads: (first_lead, last_lead) of each window, from 1.
            night: column of the night; default: the panel's.
        """
        at = panel.history - 1 if night is None else night
        first, last = (np.array([pair[k] for pair in leads], dtype=np.int64) for k in (0, 1))
        size = len(rows) * len(leads)
        return cls(
            np.repeat(rows, len(leads)),
            np.full(size, at, dtype=np.int64),
            at + np.tile(first, len(rows)),
            at + np.tile(last, len(rows)),
        )


class Demand:
    """What was sold in windows of the past: outliers pulled in, closed days counting as zero."""

    def __init__(self, panel: Panel) -> None:
        """Running sums of a panel."""
        self.units = np.where(panel.closed[: panel.history], 0.0, panel.units_winsorised.astype(np.float64))
        self._sums = np.pad(np.cumsum(self.units, axis=1), ((0, 0), (1, 0)))

    def of(self, windows: Windows) -> Array:
        """(W,) units of each window."""
        total: Array = self._sums[windows.series, windows.last_day + 1] - self._sums[windows.series, windows.first_day]
        return np.maximum(total, 0.0)


@dataclass(frozen=True)
class Sampler:
    """Draws windows that end in the known days: series by the root of their level, nights evenly, near leads most.

    Attributes:
        rows: series that have a window.
        first: first night of each of them.
        chance: chance of each of them.
        weight: (S,) what undoes the chance, by series.
        known_days: days of the panel that targets may lie in.
        length: days of a window.
        horizon: longest last lead.
        closed: (T + H,) closed days; a window of nothing else is not drawn, its answer is known.
    """

    rows: Integers
    first: Integers
    chance: Array
    weight: Array
    known_days: int
    length: int
    horizon: int
    closed: NDArray[np.bool_]

    @classmethod
    def of(cls, panel: Panel, known_days: int, length: int = 1) -> "Sampler":
        """Sampler of windows whose days lie in the first `known_days` of a panel.

        Raises:
            HistoryError: no series has a night with such a window after it.
        """
        last = known_days - 1 - length
        first = np.maximum(panel.first_sold + 6, min(_FIRST_NIGHT, known_days // 2))
        rows = np.flatnonzero(first <= last)
        if not len(rows):
            raise HistoryError(
                f"lightgbm: no item was sold long enough before {panel.as_of} to learn from windows of {length} days: "
                f"{known_days} of {panel.history} days can be learned from; choose a later --as-of, or ingest older orders"
            )
        days = np.maximum(known_days - panel.first_sold, 1)
        level = panel.units_winsorised[:, :known_days].sum(axis=1, dtype=np.float64) / days + 0.1
        chance = np.sqrt(level[rows])
        return cls(
            rows,
            first[rows],
            chance / chance.sum(),
            1 / np.sqrt(level),
            known_days,
            length,
            max(panel.horizon, length),
            panel.closed,
        )

    @property
    def nights(self) -> int:
        """Nights of all series that a window can follow."""
        return int((self.known_days - self.length - self.first).sum())

    def draw(self, generator: np.random.Generator, count: int, series: int | None = None) -> Windows:
        """About `count` windows; those of closed days only are left out.

        Args:
            generator: draws them.
            count: how many.
            series: most series that they are of; default: any number.
        """
        if self.length == 1:
            count = round(count / max(float((~self.closed[: self.known_days]).mean()), 0.1))
        chosen = generator.choice(len(self.rows), count, p=self.chance)
        if series is not None and series < len(self.rows):
            # some draws again and again: each series is as likely as before
            chosen = generator.choice(chosen[:series], count)
        length = self.length
        nights = self.known_days - 1 - length - self.first[chosen] + 1
        night = self.first[chosen] + np.floor(generator.random(count) * nights).astype(np.int64)
        free = np.maximum(np.minimum(self.horizon, self.known_days - 1 - night) - length, 0)
        # the square of an even number: leads as often as one by their root, since the near days count most
        lead = 1 + np.floor(generator.random(count) ** 2 * (free + 1)).astype(np.int64)
        windows = Windows(self.rows[chosen], night, night + lead, night + lead + length - 1)
        open_days = np.concatenate([[0], np.cumsum(~self.closed)])
        return windows.take(open_days[windows.last_day + 1] > open_days[windows.first_day])
