"""What LightGBM reads: one SQL query from a panel to features, for training windows and for forecasts alike.

DuckDB computes them from the panel's arrays, a slice of series at a time, so memory does not grow with the shop.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import Array, Compute
from pipeline.models.gradient_boosting.windows import Windows
from pipeline.models.networks.spec import YEAR, FeatureSpec
from pipeline.models.panel import REVIEW_FEATURES, Floats, Panel

_ROOM = Path(__file__).parent
_FEATURES, _PROMOTIONS = (
    (_ROOM / name).read_text(encoding="utf-8") for name in ("features.sql", "announced_promotions.sql")
)
_MEMORY_LIMIT = "1GB"
_SERIES_AT_ONCE = 256
_REACH_DAYS = 430
"""Days before a night that its features read: 56 days up to a year before; `features.sql` counts on it."""
CATEGORY = "category"
_SCALE = ("level", "open_days")


@dataclass(frozen=True)
class Table:
    """Features of W windows.

    Attributes:
        values: (W, F) features, NaN where unknown.
        names: names of the F features.
        level: (W,) units per open day of the series as of the night, above zero.
        open_days: (W,) open days of the window.
    """

    values: Floats
    names: tuple[str, ...]
    level: Array
    open_days: Array

    @property
    def scale(self) -> Array:
        """(W,) units that the window would sell at the series' level: targets are learned as shares of it."""
        return self.level * np.maximum(self.open_days, 1.0)

    def take(self, index: NDArray[Any]) -> "Table":
        """The features of some of the windows."""
        return Table(self.values[index], self.names, self.level[index], self.open_days[index])


@dataclass(frozen=True)
class Features:
    """What was there to learn from; stored with the boosters, so that later nights are read the same way.

    Attributes:
        calendar_names: calendar features, by name; one that a panel lacks is zero.
        promotion_kinds: kinds of promotion, by name.
        category_names: categories, by name; any other is unknown.
        year_ago: read the year-ago windows; off when training could not learn what they mean.
        reviews: read what the night knew of reviews; off where none was known in training.
    """

    calendar_names: tuple[str, ...]
    promotion_kinds: tuple[str, ...]
    category_names: tuple[str, ...]
    year_ago: bool
    reviews: bool = False

    @classmethod
    def learn(cls, panel: Panel, known_days: int) -> "Features":
        """What the first `known_days` of a panel can teach, by the rule for networks, and one more.

        The phase of the year is left out below two years: trees would learn the dates of the one year by heart (leaving it
        out won .2 % of quantile loss on real orders of 1.7 years).
        """
        spec = FeatureSpec.learn(panel, known_days, history_days=1)
        twice = known_days >= 2 * YEAR
        calendar = tuple(name for name in spec.calendar_names if twice or not name.startswith("year_"))
        reviews = panel.reviews is not None and bool(panel.reviews[:, :known_days].any())
        return cls(calendar, spec.promotion_kinds, spec.category_names, spec.year_ago, reviews)

    def table(self, panel: Panel, windows: Windows, compute: Compute) -> Table:
        """Features of windows of a panel, in their order."""
        return next(self.tables(panel, windows, compute, series_at_once=panel.series))

    def tables(self, panel: Panel, windows: Windows, compute: Compute, *, series_at_once: int) -> Iterator[Table]:
        """Features of windows that are sorted by series, one table for each so many series of the panel."""
        import duckdb

        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": _MEMORY_LIMIT,
            "threads": max(1, compute.threads),
            "autoinstall_known_extensions": "false",
        }
        with duckdb.connect(":memory:", config=config) as con:
            con.register("shop", self._shop(panel))
            asked = np.unique(windows.series)
            for start in range(0, panel.series, series_at_once):
                # what a series costs, it costs for one window too: only those with a window are read
                rows = asked[(asked >= start) & (asked < start + series_at_once)]
                rows = rows if len(rows) else np.array([start])
                parts = [
                    self._part(con, panel, windows, rows[at : at + _SERIES_AT_ONCE])
                    for at in range(0, len(rows), _SERIES_AT_ONCE)
                ]
                places = np.concatenate([place for place, _ in parts])
                order = np.argsort(places, kind="stable")
                yield Table(
                    np.concatenate([part.values for _, part in parts])[order],
                    parts[0][1].names,
                    np.concatenate([part.level for _, part in parts])[order],
                    np.concatenate([part.open_days for _, part in parts])[order],
                )

    def _part(
        self, con: Any, panel: Panel, windows: Windows, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], Table]:
        """Places of the windows of some series among all, and their features."""
        places = np.flatnonzero((windows.series >= rows[0]) & (windows.series <= rows[-1]))
        mine = windows.take(places)
        first = max(0, int(mine.night.min(initial=panel.history)) - _REACH_DAYS)
        con.register("daily", _daily(panel, rows, first))
        con.register("items", self._items(panel, rows))
        con.register("promotions", self._promotions(panel, rows))
        con.register(
            "windows",
            _arrow(
                {
                    "window_id": np.arange(len(mine)),
                    "series": mine.series,
                    "night": mine.night,
                    "first_day": mine.first_day,
                    "last_day": mine.last_day,
                }
            ),
        )
        columns = _numbers(con.execute(_FEATURES, {"year_ago": self.year_ago}).fetchnumpy())
        level, open_days = (columns.pop(name) for name in _SCALE)
        announced = con.execute(_PROMOTIONS).fetchnumpy()
        promotions = np.zeros((len(mine), len(self.promotion_kinds)))
        promotions[announced["window_id"], announced["kind"]] = announced["share"]
        names = (*columns, *(f"promotion_{kind}" for kind in self.promotion_kinds))
        parts = [np.stack(list(columns.values()), axis=1), promotions]
        if self.reviews:
            names = (*names, *REVIEW_FEATURES)
            none = np.zeros((len(mine), len(REVIEW_FEATURES)))
            parts.append(none if panel.reviews is None else panel.reviews[mine.series, mine.night].astype(np.float64))
        values = np.concatenate(parts, axis=1)
        return places, Table(values.astype(np.float32), names, level, open_days)

    def _shop(self, panel: Panel) -> Any:
        days = np.arange(panel.history + panel.horizon)
        place = {name: index for index, name in enumerate(panel.calendar_names)}
        nothing = np.zeros(len(days))
        return _arrow(
            {
                "day": days,
                "closed": panel.closed,
                "weekday": (panel.first_day.weekday() + days) % 7,
                **{
                    f"calendar_{name}": panel.calendar[:, place[name]] if name in place else nothing
                    for name in self.calendar_names
                },
            }
        )

    def _items(self, panel: Panel, rows: NDArray[np.int64]) -> Any:
        import pyarrow as pa

        known = {name: index for index, name in enumerate(self.category_names)}
        category = [known.get(panel.category_names[index]) for index in panel.category[rows]]
        return _arrow(
            {
                "series": rows,
                "first_sold": panel.first_sold[rows],
                CATEGORY: pa.array(category, type=pa.int64()),
            }
        )

    def _promotions(self, panel: Panel, rows: NDArray[np.int64]) -> Any:
        place = {name: index for index, name in enumerate(panel.promotion_kinds)}
        mine = [index for index, name in enumerate(self.promotion_kinds) if name in place]
        shares = panel.promotion[rows][:, :, [place[self.promotion_kinds[index]] for index in mine]]
        series, day, kind = np.nonzero(shares)
        lead = np.full(len(day), np.iinfo(np.int64).max)
        if panel.promotion_lead is not None:
            theirs = np.array([place[self.promotion_kinds[index]] for index in mine], dtype=np.int64)
            lead = panel.promotion_lead[rows[series], day, theirs[kind]].astype(np.int64)
        return _arrow(
            {
                "series": rows[series],
                "day": day,
                "kind": np.array(mine, dtype=np.int64)[kind],
                "share": shares[series, day, kind].astype(np.float64),
                "lead": lead,
            }
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        names = ("calendar_names", "promotion_kinds", "category_names")
        told = {name: list(getattr(self, name)) for name in names} | {"year_ago": self.year_ago}
        # only where there are any, so that the others are stored as they were
        return told | ({"reviews": True} if self.reviews else {})

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Features":
        """Undo `to_json`."""
        names = {n: tuple(stored[n]) for n in ("calendar_names", "promotion_kinds", "category_names")}
        return cls(year_ago=bool(stored["year_ago"]), reviews=bool(stored.get("reviews")), **names)


def _daily(panel: Panel, rows: NDArray[np.int64], first: int) -> Any:
    """History of some series from a column on, one row per series and day."""
    import pyarrow as pa

    days = np.arange(first, panel.history)
    price = panel.price[rows, first : panel.history].astype(np.float64)
    known = np.isfinite(price)
    return _arrow(
        {
            "series": np.repeat(rows, len(days)),
            "day": np.tile(days, len(rows)),
            "units": panel.units_winsorised[rows, first:].astype(np.float64).ravel(),
            "log_price": pa.array(np.log(np.where(known, np.maximum(price, 1e-4), 1.0)).ravel(), mask=~known.ravel()),
        }
    )


def _arrow(columns: dict[str, Any]) -> Any:
    import pyarrow as pa

    return pa.table(columns)


def _numbers(columns: Mapping[str, Any]) -> dict[str, Array]:
    """DuckDB's columns as doubles, NULL as NaN."""
    return {name: np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan) for name, values in columns.items()}
