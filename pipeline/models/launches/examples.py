"""Launches as they looked at some age: what was known of each, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import Array
from pipeline.models.launches.facts import MONTHS, Facts
from pipeline.models.launches.similar import nearest
from pipeline.models.panel import Panel

AGES = (0, 3, 7, 14, 28)
"""Days since the first sale at which launches are learned from; those between are read as the one before."""
STRETCHES = ((0, 28), (28, 91))
"""Days ahead whose units are learned together."""
NEW_DAYS = 90
"""Days of a history whose items are no launches: they were there before."""
LEVEL_OF = (300, 6.0)
"""Neighbours that tell how well an item sells, and how sharply the nearest count: on real launches the wider the better, up to so many."""
SEASON_OF = (30, 12.0)
"""The same of when in the year it sells: few and near."""
SHOP_SHARE = 0.5
"""Share of the shop's own season of the year before that a launch has."""
LIFT_SHARE = 1.0
"""Share of the neighbours' season that a launch has; on real launches better than learning the share from few seasons."""
_LEAST_OF_KIND = 10


@dataclass(frozen=True)
class Kinds:
    """Categories, and first characters of item ids, that enough launches had.

    Attributes:
        categories: categories.
        prefixes: first characters of ids.
    """

    categories: tuple[str, ...]
    prefixes: tuple[str, ...]

    @classmethod
    def of(cls, panel: Panel, rows: NDArray[np.int64]) -> "Kinds":
        """Those that the launches in some rows of a panel had."""
        names, prefixes = kinds_of(panel)
        return cls(_common(names[rows]), _common(prefixes[rows]))

    def flags(self, panel: Panel, rows: NDArray[np.int64]) -> Array:
        """(R, K) flags of rows of a panel."""
        names, prefixes = kinds_of(panel)
        flags = [names[rows] == name for name in self.categories]
        flags += [prefixes[rows] == prefix for prefix in self.prefixes]
        return np.stack(flags, axis=1).astype(np.float64) if flags else np.zeros((len(rows), 0))

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"categories": list(self.categories), "prefixes": list(self.prefixes)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Kinds":
        """Undo `to_json`."""
        return cls(tuple(stored["categories"]), tuple(stored["prefixes"]))


@dataclass(frozen=True)
class Texts:
    """Vectors of the texts of N items.

    Attributes:
        level: (N, D) of the language model as it came: near are items of like words.
        season: (N, E) of the one tuned on seasons, the same where none was: near are items of like seasons.
    """

    level: NDArray[Any]
    season: NDArray[Any]

    def rows(self, rows: NDArray[np.int64]) -> "Texts":
        """Those of some items."""
        return Texts(self.level[rows], self.season[rows])


@dataclass(frozen=True)
class Words:
    """What the texts of items tell, through the established items whose texts are like theirs.

    Attributes:
        level: (R, 2) how much more than for their price such items sell, in logs; see `Facts.levels`.
        lifts: (R, 12) log of such items' sales in each month of the year against an even year; zero where unknown.
    """

    level: Array
    lifts: Array

    @classmethod
    def as_known(cls, facts: Facts, texts: Texts, rows: NDArray[np.int64]) -> "Words":
        """What was known of rows on the day of their first sale.

        Args:
            facts: the panel's facts.
            texts: vectors of its items.
            rows: launches.
        """
        panel = facts.panel
        level, lifts = np.zeros((len(rows), 2)), np.zeros((len(rows), MONTHS))
        for day in np.unique(panel.first_sold[rows]):
            mine = np.flatnonzero(panel.first_sold[rows] == day)
            one = cls.of(texts, facts.levels(int(day)), facts.lifts(int(day)), texts.rows(rows[mine]), rows[mine])
            level[mine], lifts[mine] = one.level, one.lifts + SHOP_SHARE * facts.shop_season(int(day))
        return cls(level, lifts)

    @classmethod
    def of(
        cls,
        library: Texts,
        levels: Array,
        lifts: Array,
        queries: Texts,
        barred: NDArray[np.int64] | None = None,
    ) -> "Words":
        """What a library of items tells of queries.

        Args:
            library: vectors of N items.
            levels: (N, 2) their levels, not a number where unknown.
            lifts: (N, 12) their lifts, not a number where unknown.
            queries: vectors of Q items.
            barred: (Q,) row of the library that is the query itself.
        """
        return cls(
            told(library.level, levels, queries.level, barred, LEVEL_OF),
            told(library.season, lifts, queries.season, barred, SEASON_OF),
        )

    def over(self, facts: Facts, first: NDArray[np.int64], end: NDArray[np.int64]) -> Array:
        """(R,) mean lift over the columns from `first` to before `end`."""
        days = facts.days_in_months(first, end)
        return np.asarray((days * self.lifts).sum(axis=1) / np.maximum(days.sum(axis=1), 1.0))


def told(
    library: NDArray[Any],
    values: Array,
    queries: NDArray[Any],
    barred: NDArray[np.int64] | None,
    circle: tuple[int, float],
) -> Array:
    """(Q, K) mean of the nearest items' (N, K) values; zeros where nothing is known.

    Args:
        library: (N, D) vectors of items.
        values: (N, K) what is known of them, not a number where unknown.
        queries: (Q, D) vectors.
        barred: (Q,) row of the library that is the query itself, −1 for none.
        circle: neighbours, and how sharply the nearest count.
    """
    known = np.flatnonzero(np.isfinite(values).any(axis=1))
    if not len(known) or not library.shape[1]:
        return np.zeros((len(queries), values.shape[1]))
    own = None
    if barred is not None:
        place = np.full(len(library) + 1, -1)
        place[known] = np.arange(len(known))
        own = place[barred]
    count, sharpness = circle
    return nearest(library[known], queries, count=count, sharpness=sharpness, barred=own).mean(values[known])


def launches_in(panel: Panel, known_days: int) -> NDArray[np.int64]:
    """Rows first sold so late that the history saw them come, and so early that what came of them is known, in order of time."""
    rows = np.flatnonzero((panel.first_sold >= NEW_DAYS) & (panel.first_sold + STRETCHES[0][1] <= known_days))
    return rows[np.argsort(panel.first_sold[rows], kind="stable")]


def features(
    facts: Facts,
    rows: NDArray[np.int64],
    kinds: Kinds,
    words: Words,
    *,
    age: NDArray[np.int64],
    read_as: int,
    stretch: int,
) -> Array:
    """(R, F) what is known of launches at an age.

    Args:
        facts: the panel's facts.
        rows: launches.
        kinds: categories and prefixes to tell apart.
        words: what their texts tell.
        age: (R,) days that each has been on sale.
        read_as: of `AGES`: the age whose regression reads them; sales of more days are counted as of so many.
        stretch: of `STRETCHES`: the one whose regression reads them.
    """
    panel = facts.panel
    price = np.nan_to_num(facts.log_price[rows])
    columns = [price, price**2, (~np.isfinite(facts.log_price[rows])).astype(np.float64), words.level[:, stretch]]
    if read_as:
        first = np.minimum(panel.first_sold[rows], panel.history)
        end = np.minimum(first + age, panel.history)
        share = read_as / np.maximum(end - first, 1)
        units = facts.units(rows, first, end)
        days = np.array(
            [(panel.units[row, begin:stop] > 0).sum() for row, begin, stop in zip(rows, first, end, strict=True)]
        )
        columns += [np.log1p(units * share), np.log1p(days * share)]
    return np.column_stack([*columns, kinds.flags(panel, rows)])


def kinds_of(panel: Panel) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """(S,) category and first character of the id of every series."""
    return np.array(panel.category_names, dtype=np.str_)[panel.category], panel.item_id.astype("<U1")


def _common(values: NDArray[np.str_]) -> tuple[str, ...]:
    names, counts = np.unique(values, return_counts=True)
    return tuple(names[counts >= _LEAST_OF_KIND].tolist())


def order_size(facts: Facts, rows: NDArray[np.int64]) -> tuple[float, float]:
    """Constant and slope of the log of units per sale day on the log of units per day, over the first stretch of launches."""
    days, panel = STRETCHES[0][1], facts.panel
    first = panel.first_sold[rows]
    units = facts.units(rows, first, first + days)
    sale_days = np.array(
        [(panel.units[row, begin : begin + days] > 0).sum() for row, begin in zip(rows, first, strict=True)]
    )
    sold = (units > 0) & (sale_days > 0)
    rate, size = np.log(units[sold] / days), np.log(units[sold] / sale_days[sold])
    design = np.column_stack([np.ones(len(rate)), rate])
    constant, slope = np.linalg.lstsq(design, size, rcond=None)[0]
    return float(constant), float(slope)
