"""The served model's contract: a long frame of history in, a long frame of forecast quantiles out.

The model is stateless about demand: what the caller sends is all that it knows, so it is point-in-time correct by
construction. With the weights travels a *context*, cut from the panel that it was trained on: what a caller cannot be
asked for, namely the calendar (features of each day until the end of the trained panel's horizon) and the static
features of each item (text vector, category).

Input, one row per item, location and day: `item_id`, `day`, `units`; optional `location`, `price`, and
`promotion_<kind>` for each kind known in training (`promotion_price-cut` where prices were planned: by how much the planned price
is below the usual one). Days without a row had no demand, so send whole histories. The
night is the last day with `units`; rows after it, with `units` empty, carry the known future (prices, promotions).
An item unknown in training is forecast from its history alone: a zero text vector and the category ''.

Output, one row per item, location and day ahead: `item_id, location, target_date, horizon_days, mean, q05 … q95`.
"""

import json
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.errors import HistoryError, ModelError
from pipeline.models.base import Forecast
from pipeline.models.panel import Floats, Panel
from pipeline.settings import QUANTILE_COLUMNS

DEFAULT_HORIZON = 28
PROMOTION = "promotion_"
_ARRAYS = "context.safetensors"
_NAMES = "context.json"


@dataclass(frozen=True)
class ServingContext:
    """What the served model knows beside its weights.

    Attributes:
        first_day: first day of the calendar.
        calendar: (D, C) features per day.
        calendar_names: names of the C features.
        closed: (D,) days on which the shop was, or is expected to be, closed.
        promotion_kinds: kinds of promotions known in training.
        items: (I,) items known in training, sorted.
        text: (I, V) their text vectors.
        item_text: (I,) their texts, for members that read them; empty where none was known.
        category: (I,) their categories, as index into `category_names`.
        category_names: names of the categories.
    """

    first_day: date
    calendar: Floats
    calendar_names: tuple[str, ...]
    closed: NDArray[np.bool_]
    promotion_kinds: tuple[str, ...]
    items: NDArray[np.str_]
    text: Floats
    item_text: NDArray[np.str_]
    category: NDArray[np.int64]
    category_names: tuple[str, ...]

    @property
    def last_day(self) -> date:
        """Last day of the calendar: no forecast reaches beyond it."""
        return self.first_day + timedelta(days=len(self.calendar) - 1)

    @staticmethod
    def of(panel: Panel) -> "ServingContext":
        """The context in a panel."""
        items, row = np.unique(panel.item_id, return_index=True)
        return ServingContext(
            first_day=panel.first_day,
            calendar=panel.calendar,
            calendar_names=panel.calendar_names,
            closed=panel.closed,
            promotion_kinds=panel.promotion_kinds,
            items=items,
            text=panel.text[row],
            item_text=np.full(len(items), "") if panel.item_text is None else panel.item_text[row],
            category=panel.category[row],
            category_names=panel.category_names,
        )

    def save(self, folder: Path) -> None:
        """Write it as safetensors and JSON into a new or empty folder."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        arrays = {"calendar": self.calendar, "closed": self.closed, "text": self.text, "category": self.category}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / _ARRAYS)
        names = {
            "first_day": self.first_day.isoformat(),
            "calendar_names": self.calendar_names,
            "promotion_kinds": self.promotion_kinds,
            "items": self.items.tolist(),
            "item_text": self.item_text.tolist(),
            "category_names": self.category_names,
        }
        (folder / _NAMES).write_text(json.dumps(names, ensure_ascii=False), encoding="utf-8")

    @staticmethod
    def load(folder: Path) -> "ServingContext":
        """Read it back."""
        from safetensors.numpy import load_file

        names = json.loads((folder / _NAMES).read_text(encoding="utf-8"))
        arrays = load_file(folder / _ARRAYS)
        return ServingContext(
            first_day=date.fromisoformat(names["first_day"]),
            calendar=arrays["calendar"],
            calendar_names=tuple(names["calendar_names"]),
            closed=arrays["closed"],
            promotion_kinds=tuple(names["promotion_kinds"]),
            items=np.array(names["items"], dtype=np.str_),
            text=arrays["text"],
            item_text=np.array(names["item_text"], dtype=np.str_),
            category=arrays["category"],
            category_names=tuple(names["category_names"]),
        )

    def panel(self, frame: pd.DataFrame, horizon: int) -> Panel:
        """Turn a long frame of history (see the module) into the panel of its night.

        Args:
            frame: `item_id, day, units`, and optionally `location`, `price`, `promotion_<kind>`.
            horizon: days ahead.

        Raises:
            HistoryError: no row with units.
            ModelError: the frame lacks a column, or the night and horizon leave the model's calendar.
        """
        rows = self._rows(frame)
        known = rows[rows["units"].notna()]
        if known.empty:
            raise HistoryError("served model: no row has `units`; send each item's daily history up to the night")
        night: date = known["day"].max().date()
        first: date = max(known["day"].min().date(), self.first_day)
        end = night + timedelta(days=horizon)
        if first > night or end > self.last_day:
            raise ModelError(
                f"served model: it knows the calendar from {self.first_day} to {self.last_day}, but a forecast of "
                f"{horizon} days from the night of {night} ends on {end}; ask for fewer days or train a newer version"
            )
        series = known[["item_id", "location"]].drop_duplicates().sort_values(["item_id", "location"])
        shape = (len(series), (night - first).days + 1)
        row = pd.MultiIndex.from_frame(series).get_indexer(pd.MultiIndex.from_frame(rows[["item_id", "location"]]))
        column = (rows["day"] - pd.Timestamp(first)).dt.days.to_numpy()
        inside = (row >= 0) & (column >= 0) & (column < shape[1] + horizon)
        rows, row, column = rows[inside], row[inside], column[inside]

        units = _spread(rows["units"], row, column, shape, empty=0.0)
        sold = units > 0
        kinds = [
            _spread(rows[PROMOTION + kind], row, column, (shape[0], shape[1] + horizon), empty=0.0)
            for kind in self.promotion_kinds
        ]
        prices = _spread(rows["price"], row, column, (shape[0], shape[1] + horizon), empty=np.nan)
        start = (first - self.first_day).days
        days = slice(start, start + shape[1] + horizon)
        text, item_text, category = self._statics(series["item_id"].to_numpy(dtype=np.str_))
        return Panel(
            item_id=series["item_id"].to_numpy(dtype=np.str_),
            location=series["location"].to_numpy(dtype=np.str_),
            first_day=first,
            units=units,
            units_winsorised=units,
            price=_carried_forward(prices),
            promotion=np.stack(kinds, axis=2) if kinds else np.zeros((*prices.shape, 0), dtype=np.float32),
            promotion_kinds=self.promotion_kinds,
            calendar=self.calendar[days],
            calendar_names=self.calendar_names,
            closed=self.closed[days],
            first_sold=np.where(sold.any(axis=1), sold.argmax(axis=1), shape[1]).astype(np.int64),
            text=text,
            item_text=item_text,
            category=category,
            category_names=self.category_names,
        )

    def _rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        missing = [name for name in ("item_id", "day", "units") if name not in frame]
        if missing:
            raise ModelError(f"served model: the frame lacks {', '.join(missing)}; it needs item_id, day and units")
        rows = pd.DataFrame(
            {
                "item_id": frame["item_id"].astype(str),
                "location": frame["location"].fillna("").astype(str) if "location" in frame else "",
                "day": pd.to_datetime(frame["day"]).dt.normalize(),
            }
        )
        for name in ("units", "price", *(PROMOTION + kind for kind in self.promotion_kinds)):
            rows[name] = frame[name].astype(float) if name in frame else np.nan
        return rows

    def _statics(self, items: NDArray[np.str_]) -> tuple[Floats, NDArray[np.str_], NDArray[np.int64]]:
        """Text vectors, texts and categories of items; an unknown item has none of them."""
        unknown = self.category_names.index("") if "" in self.category_names else 0
        text = np.zeros((len(items), self.text.shape[1]), dtype=np.float32)
        category = np.full(len(items), unknown, dtype=np.int64)
        at = np.searchsorted(self.items, items).clip(max=max(len(self.items) - 1, 0))
        found = self.items[at] == items
        text[found], category[found] = self.text[at[found]], self.category[at[found]]
        return text, np.where(found, self.item_text[at], ""), category


def forecast_frame(panel: Panel, forecast: Forecast) -> pd.DataFrame:
    """A forecast as a long frame: item, location, day, horizon, mean and quantiles."""
    horizon = forecast.mean.shape[1]
    ahead = np.arange(1, horizon + 1)
    nights = np.datetime64(panel.as_of, "ns") + ahead * np.timedelta64(1, "D")
    frame: dict[str, Any] = {
        "item_id": np.repeat(panel.item_id, horizon),
        "location": np.repeat(panel.location, horizon),
        "target_date": np.tile(nights, panel.series),
        "horizon_days": np.tile(ahead, panel.series),
        "mean": forecast.mean.reshape(-1),
    }
    for position, name in enumerate(QUANTILE_COLUMNS):
        frame[name] = forecast.quantiles[:, :, position].reshape(-1)
    return pd.DataFrame(frame)


def _spread(
    values: "pd.Series[float]",
    row: NDArray[np.integer[Any]],
    column: NDArray[np.integer[Any]],
    shape: tuple[int, int],
    *,
    empty: float,
) -> Floats:
    """Values of a long frame as an array of series × days."""
    given = values.notna().to_numpy() & (column < shape[1])
    array = np.full(shape, empty, dtype=np.float32)
    array[row[given], column[given]] = values.to_numpy(dtype=np.float32)[given]
    return array


def _carried_forward(prices: Floats) -> Floats:
    """Prices carried forward from the last known; never backwards, which would be a leak."""
    last = np.where(np.isnan(prices), 0, np.arange(prices.shape[1]))
    np.maximum.accumulate(last, axis=1, out=last)
    carried: Floats = np.take_along_axis(prices, last, axis=1)
    return carried
