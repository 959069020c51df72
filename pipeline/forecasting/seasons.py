"""When in the year items sell, and how sure that is: rows of `item_seasons`."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.as_of import AsOfView
from pipeline.forecasting.rows import repeated, tiled, unstamped
from pipeline.models.base import Array, Fitted
from pipeline.models.ensemble import launches_of
from pipeline.models.launches.facts import MONTHS, Facts
from pipeline.models.panel import Panel
from pipeline.models.seasons.belief import Belief
from pipeline.models.seasons.sums import EVENT, MONTH, MONTH_NAMES, QUARTERS, Season, SeasonSums

_SCHEMA = unstamped("item_seasons")
_EVIDENCE = ["none", "text", "history", "both"]
_SURE = 0.5
"""Probability from which an item with a history is said to sell for a season."""


class Seasons:
    """The seasons of a night's items, gathered slice by slice: the shop's own seasons are known when all have passed."""

    def __init__(self, fitted: Fitted) -> None:
        """Start without items.

        Args:
            fitted: what forecasts the night; without launches there is no library to read words by, and no rows.
        """
        self._launches = launches_of(fitted)
        self._sums: list[SeasonSums] = []
        self._told: list[Array] = []
        self._series: list[tuple[NDArray[np.str_], NDArray[np.str_]]] = []

    def add(self, panel: Panel) -> None:
        """Take in a slice of the series."""
        launches = self._launches
        if launches is None:
            return
        self._sums.append(SeasonSums.of(Facts(panel)))
        self._told.append(launches.seasons_told(panel))
        self._series.append((panel.item_id, panel.location))

    def rows(self, view: AsOfView) -> pa.Table:
        """The rows of all items; none without a library, or where the calendar changed since it was learned.

        Args:
            view: the night, whose calendar says when seasons are.
        """
        if self._launches is None or not self._sums:
            return _SCHEMA.empty_table()
        library, sums = self._launches.seasons, SeasonSums.joined(self._sums)
        if sums.seasons != library.seasons:
            return _SCHEMA.empty_table()
        told, usual, share = np.concatenate(self._told), sums.usual(), sums.shares()
        in_text, in_history = told != 1.0, sums.known() & (sums.total > 0)[:, None]
        belief = Belief.of(told, sums.came, usual)
        from_text, from_history = Belief.of(told).certainty, Belief.of(np.ones_like(told), sums.came, usual).certainty
        threshold = np.where(in_history, _SURE, library.thresholds)
        shares = belief.mean * np.nan_to_num(share)
        months = [number for number, season in enumerate(sums.seasons) if season.kind == MONTH]
        shares /= np.maximum(shares[:, months].sum(axis=1, keepdims=True), 1e-9)
        known = np.flatnonzero(np.isfinite(share))
        spans = [
            _span(season, begins) for season, begins in zip(sums.seasons, _begins(view, sums.seasons), strict=True)
        ]
        items, locations = (np.concatenate(each) for each in zip(*self._series, strict=True))

        def flat(values: NDArray[Any]) -> NDArray[Any]:
            return np.broadcast_to(values, told.shape)[:, known].reshape(-1)

        def each(values: Sequence[object], kind: pa.DataType) -> Any:
            return tiled([values[number] for number in known.tolist()], kind, len(items))

        return pa.table(
            {
                "item_id": repeated(items.tolist(), len(known)),
                "location": repeated(locations.tolist(), len(known)),
                "season": each([season.name for season in sums.seasons], pa.string()),
                "kind": each([season.kind for season in sums.seasons], pa.string()),
                "begins_on": each([begins for begins, _ in spans], pa.date32()),
                "ends_on": each([ends for _, ends in spans], pa.date32()),
                "probability": pa.array(flat(belief.certainty)),
                "probability_text": pa.array(flat(from_text), mask=~flat(in_text)),
                "probability_history": pa.array(flat(from_history), mask=~flat(in_history)),
                "sells_for": pa.array(flat(belief.certainty >= threshold)),
                "threshold": pa.array(flat(threshold)),
                "times_usual": pa.array(flat(belief.mean)),
                "share": pa.array(flat(np.minimum(shares, 1.0))),
                "shop_share": pa.array(flat(share)),
                "evidence": pa.array(_EVIDENCE).take(flat(in_text) + 2 * flat(in_history)),
            },
            schema=_SCHEMA,
        )


def _begins(view: AsOfView, seasons: Sequence[Season]) -> list[date | None]:
    """First day of the event of each season that comes next; None for what is no event, or not in the calendar any more."""
    found = dict(
        view.con.execute(
            "SELECT event, min(starts_on) FROM calendar_occurrences WHERE starts_on > $1 GROUP BY event", [view.as_of]
        ).fetchall()
    )
    tomorrow = view.as_of + timedelta(days=1)
    return [found.get(season.name) if season.kind == EVENT else _next(tomorrow, _months(season)) for season in seasons]


def _months(season: Season) -> tuple[int, ...]:
    """Months of the year of a month or a quarter, 0 for January, in order."""
    return QUARTERS[season.name] if season.name in QUARTERS else (MONTH_NAMES.index(season.name),)


def _next(day: date, months: tuple[int, ...]) -> date:
    """First day of the months that are on, or come next."""
    month = day.year * MONTHS + day.month - 1
    # months that are on began earlier
    back = months.index(month % MONTHS) if month % MONTHS in months else 0
    month -= back
    while month % MONTHS != months[0]:
        month += 1
    return date(month // MONTHS, month % MONTHS + 1, 1)


def _span(season: Season, begins: date | None) -> tuple[date | None, date | None]:
    """First and last day of a season: of an event, of its run-up."""
    if begins is None:
        return None, None
    if season.kind == EVENT:
        return begins - timedelta(days=season.days), begins
    after = begins.year * MONTHS + begins.month - 1 + len(_months(season))
    return begins, date(after // MONTHS, after % MONTHS + 1, 1) - timedelta(days=1)
