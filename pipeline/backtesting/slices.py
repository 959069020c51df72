"""Slices of a backtest: which group a forecast belongs to, as known at its origin.

Each function labels every forecast (or series) with exactly one value, so the values of a slice add up to the whole.
The classes of an item come from its history up to the origin, never from what came after: an item cannot become a
best seller by the very demand that is being forecast. Holiday weeks are calendar, known beforehand.
"""

from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.panel import Panel

Labels = NDArray[np.str_]

YEAR = 365
HORIZONS: tuple[tuple[int, int], ...] = ((1, 7), (8, 14), (15, 28), (29, 56), (57, 91))
A_SHARE, B_SHARE = 0.8, 0.95
"""A items make up the first 80 % of units, B items the next 15 %, C items the rest."""
ADI_CUT, CV2_CUT = 1.32, 0.49
"""Cut-offs of Syntetos, Boylan and Croston (2005)."""


def horizon_bucket(horizon_days: NDArray[np.integer[Any]]) -> Labels:
    """Bucket of each lead time, for example 8-14; beyond the last one, 92+."""
    labels = np.full(np.shape(horizon_days), f"{HORIZONS[-1][1] + 1}+", dtype="<U5")
    for first, last in HORIZONS:
        labels[(horizon_days >= first) & (horizon_days <= last)] = f"{first}-{last}"
    return labels


def volume_class(panel: Panel) -> Labels:
    """A, B or C of each series by its units in the year up to the origin, cumulated from the best seller down."""
    units = panel.units[:, -YEAR:].sum(axis=1, dtype=np.float64)
    order = np.argsort(-units, kind="stable")
    cumulated = np.cumsum(units[order])
    # the share before the item, so that a single giant is an A and not a C
    before = (cumulated - units[order]) / max(float(cumulated[-1]) if len(cumulated) else 0.0, 1.0)
    ranked = np.where(before < A_SHARE, "A", np.where(before < B_SHARE, "B", "C"))
    labels = np.empty(len(units), dtype="<U1")
    labels[order] = np.where(units[order] > 0, ranked, "C")
    return labels


def intermittency(panel: Panel) -> Labels:
    """Smooth, erratic, intermittent or lumpy, by the average demand interval and the squared variation of sizes.

    Over the year up to the origin, from the first sale on and without closed days (a shop closed on Saturdays does not
    make its items intermittent). An item without a sale in it is `lumpy`, the class of which least is known.
    """
    days = min(YEAR, panel.history)
    units = panel.units[:, -days:].astype(np.float64)
    column = np.arange(panel.history - days, panel.history)
    open_days = ~panel.closed[panel.history - days : panel.history]
    counted = (column[None, :] >= panel.first_sold[:, None]) & (open_days[None, :] | (units > 0))
    sold = counted & (units > 0)
    sales = sold.sum(axis=1)
    interval = counted.sum(axis=1) / np.maximum(sales, 1)
    mean = np.where(sold, units, 0.0).sum(axis=1) / np.maximum(sales, 1)
    variance = np.where(sold, (units - mean[:, None]) ** 2, 0.0).sum(axis=1) / np.maximum(sales, 1)
    variation = variance / np.maximum(mean, 1e-9) ** 2
    often = np.where(variation < CV2_CUT, "smooth", "erratic")
    rarely = np.where(variation < CV2_CUT, "intermittent", "lumpy")
    return np.where(sales == 0, "lumpy", np.where(interval < ADI_CUT, often, rarely))


def item_age(panel: Panel) -> Labels:
    """Days since the first sale at the origin, the day itself counted: 0 (never sold), 1-28, 29-90, 91+."""
    age = panel.history - panel.first_sold
    return np.where(age <= 0, "0", np.where(age <= 28, "1-28", np.where(age <= 90, "29-90", "91+")))


def holiday_week(origin: date, horizon: int, holidays: set[date]) -> Labels:
    """For each day ahead (H,): `holiday` when its week (Monday to Sunday) has a holiday or festival, else `other`."""
    weeks = {day - timedelta(days=day.weekday()) for day in holidays}
    days = [origin + timedelta(days=step) for step in range(1, horizon + 1)]
    return np.array(["holiday" if day - timedelta(days=day.weekday()) in weeks else "other" for day in days])
