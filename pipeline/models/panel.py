"""The panel: what a forecaster reads, as arrays of series × days, and nothing of the database.

A panel is cut from an as-of view (see `pipeline/training/panel.py`), so it holds only what was known on its night:
demand up to the night, and known-future covariates (calendar, announced promotions, the last prices paid) beyond it.
"""

import hashlib
import json
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

PRICE_CUT = "price-cut"
"""Kind of promotion that says by how much a planned price is below the usual one; no mapping can name a kind so."""

REVIEW_FEATURES = ("reviews_28", "reviews_91", "review_sentiment")
"""Of the reviews that a day knew: log(1 + n) of those of the last 28 and 91 days, and the mean sentiment of the last 91 days
less that of the whole shop, pulled to it where they are few."""


@dataclass(frozen=True)
class Panel:
    """Series × days. S series, T days of history, H days ahead; day t is `first_day + t`, and the night is day T − 1.

    Attributes:
        item_id: (S,) item of each series.
        location: (S,) location of each series; '' when over all.
        first_day: day of column 0.
        units: (S, T) demand in units, zero on days without; before the first sale too.
        units_winsorised: (S, T) the same with outliers pulled in, for training and scaling only, never for scoring.
        price: (S, T + H) price of one unit, carried forward from the last sale; NaN before the first (a back-filled
            price would be a leak); beyond the night the last one stands.
        promotion: (S, T + H, P) share of the shop reached by each kind of promotion, zero without; of `PRICE_CUT` the
            share by which the planned price is below the usual one, −1 to 1.
        promotion_kinds: names of the P kinds; `PRICE_CUT` is the last of them where prices were planned.
        promotion_lead: (S, T + H, P) how many days before the day its promotion was announced, so that a window of
            the past sees what its own night could know; None: all were known for ever.
        calendar: (T + H, C) features of the day, the same for all series (see `calendar_names`).
        calendar_names: names of the C features.
        closed: (T + H,) the shop is closed that day: observed up to the night, expected beyond it.
        first_sold: (S,) column of the first sale; T where nothing was sold yet.
        text: (S, D) vector of the item's text; D = 0 when no language model was asked.
        category: (S,) index into `category_names`.
        category_names: names of the categories.
        item_text: (S,) text of each item as known on the night, '' where there is none.
        on_sale: (S,) column, T or later, from which an announced item that has not sold is on sale; 0 for those that sold;
            None: all did.
        reviews: (S, T, F) what each day knew of the item's reviews, see `REVIEW_FEATURES`; None in a shop without.
    """

    item_id: NDArray[np.str_]
    location: NDArray[np.str_]
    first_day: date
    units: Floats
    units_winsorised: Floats
    price: Floats
    promotion: Floats
    promotion_kinds: tuple[str, ...]
    calendar: Floats
    calendar_names: tuple[str, ...]
    closed: NDArray[np.bool_]
    first_sold: NDArray[np.int64]
    text: Floats
    category: NDArray[np.int64]
    category_names: tuple[str, ...]
    promotion_lead: NDArray[np.uint8] | None = None
    item_text: NDArray[np.str_] | None = None
    on_sale: NDArray[np.int64] | None = None
    reviews: Floats | None = None

    @property
    def series(self) -> int:
        """Number of series S."""
        return int(self.units.shape[0])

    @property
    def history(self) -> int:
        """Days of history T."""
        return int(self.units.shape[1])

    @property
    def horizon(self) -> int:
        """Days ahead H that covariates are known for."""
        return int(self.calendar.shape[0]) - self.history

    @property
    def as_of(self) -> date:
        """The night: the last day of history."""
        return self.first_day + timedelta(days=self.history - 1)

    def fingerprint(self) -> str:
        """Hash of all that a forecaster could read here (32 hex digits)."""
        digest = hashlib.sha256()
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray) and value.dtype.kind != "U":
                digest.update(json.dumps([field.name, value.dtype.str, value.shape]).encode())
                digest.update(np.ascontiguousarray(value).view(np.uint8).data)
            else:
                plain = value.tolist() if isinstance(value, np.ndarray) else value
                digest.update(json.dumps([field.name, plain], default=str).encode())
        return digest.hexdigest()[:32]

    def until(self, days: int) -> "Panel":
        """The panel cut to its first days of history: what came after becomes the days ahead, its demand unknown.

        Items, texts, closed days and prices of the past are those that the panel's own night knew, so this sets models
        side by side on the same days; what a night could know, only the as-of view of that night says.

        Args:
            days: days of history to keep, at least 1.
        """
        price = self.price.copy()
        price[:, days:] = price[:, days - 1 : days]
        return replace(
            self,
            units=self.units[:, :days],
            units_winsorised=self.units_winsorised[:, :days],
            price=price,
            first_sold=np.minimum(self.first_sold, days),
            reviews=None if self.reviews is None else self.reviews[:, :days],
        )

    def rows(self, index: slice | NDArray[np.int64] | NDArray[np.bool_]) -> "Panel":
        """The panel of some of the series."""
        return replace(
            self,
            item_id=self.item_id[index],
            location=self.location[index],
            units=self.units[index],
            units_winsorised=self.units_winsorised[index],
            price=self.price[index],
            promotion=self.promotion[index],
            promotion_lead=None if self.promotion_lead is None else self.promotion_lead[index],
            first_sold=self.first_sold[index],
            text=self.text[index],
            category=self.category[index],
            item_text=None if self.item_text is None else self.item_text[index],
            on_sale=None if self.on_sale is None else self.on_sale[index],
            reviews=None if self.reviews is None else self.reviews[index],
        )
