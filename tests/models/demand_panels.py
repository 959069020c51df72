"""Panels of demand alone, for forecasters that read nothing else."""

from datetime import date
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pipeline.models.panel import Panel

FIRST_DAY = date(2011, 1, 3)
"""A Monday."""


def panel_of(rows: ArrayLike, ahead: int = 28, closed: Any = None) -> Panel:
    """A panel of units (series × days) without price, promotion, calendar or text."""
    units = np.asarray(rows, dtype=np.float32)
    series, days = units.shape
    first = np.where(units.any(axis=1), np.argmax(units > 0, axis=1), days)
    return Panel(
        item_id=np.array([f"item-{k}" for k in range(series)], dtype=np.str_),
        location=np.full(series, "", dtype=np.str_),
        first_day=FIRST_DAY,
        units=units,
        units_winsorised=units,
        price=np.ones((series, days + ahead), np.float32),
        promotion=np.zeros((series, days + ahead, 0), np.float32),
        promotion_kinds=(),
        calendar=np.zeros((days + ahead, 0), np.float32),
        calendar_names=(),
        closed=np.zeros(days + ahead, bool) if closed is None else np.asarray(closed, dtype=bool),
        first_sold=first.astype(np.int64),
        text=np.zeros((series, 0), np.float32),
        category=np.zeros(series, np.int64),
        category_names=("",),
    )
