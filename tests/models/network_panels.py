"""Panels with a known truth for the LSTM: weekly pattern, promotion, closed days, text and categories."""

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np

from pipeline.model_settings import TrainingSettings
from pipeline.models.panel import Panel

FIRST_DAY = date(2022, 1, 3)
"""A Monday."""
WEEK = np.array([1.0, 0.6, 0.6, 0.8, 1.6, 2.6, 0.0])
"""How a week goes; Sundays are closed."""


def shop_panel(series: int = 40, days: int = 168, ahead: int = 14, *, seed: int = 3, text: int = 4) -> Panel:
    """A shop with a strong week, a promotion that doubles sales, and items of very different levels."""
    random = np.random.default_rng(seed)
    level = np.exp(random.normal(1.0, 1.0, series))
    promotion = (random.random((series, days + ahead, 1)) < 0.08).astype(np.float32)
    expected = level[:, None] * WEEK[np.arange(days + ahead) % 7] * (1 + promotion[:, :, 0])
    units = random.poisson(expected).astype(np.float32)
    first = random.integers(0, days // 2, series)
    first[: series // 2] = 0
    units[np.arange(days + ahead)[None, :] < first[:, None]] = 0
    sold = units[:, :days] > 0
    first_sold = np.where(sold.any(1), sold.argmax(1), days)
    price = np.full((series, days + ahead), 2.5, np.float32)
    price[np.arange(days + ahead)[None, :] < first_sold[:, None]] = np.nan
    return Panel(
        item_id=np.array([f"item-{k:03d}" for k in range(series)], dtype=np.str_),
        location=np.full(series, "", dtype=np.str_),
        first_day=FIRST_DAY,
        units=units[:, :days],
        units_winsorised=units[:, :days],
        price=price,
        promotion=promotion,
        promotion_kinds=("discount",),
        calendar=random.random((days + ahead, 2)).astype(np.float32),
        calendar_names=("weather", "mood"),
        closed=(np.arange(days + ahead) % 7) == 6,
        first_sold=first_sold.astype(np.int64),
        text=random.normal(size=(series, text)).astype(np.float32),
        category=random.integers(0, 3, series),
        category_names=("", "a", "b"),
    )


def changed_after(panel: Panel, day: int, **values: float) -> Panel:
    """The panel with other values from a column on, in each array named."""
    arrays: dict[str, Any] = {}
    for name, value in values.items():
        array = getattr(panel, name).copy()
        array[(slice(None), slice(day, None)) if array.ndim > 1 else slice(day, None)] = value
        arrays[name] = array
    return replace(panel, **arrays)


def small(**more: Any) -> TrainingSettings:
    """A training of a moment."""
    return TrainingSettings(
        **{
            "hidden": 8, "max_steps": 12, "pretrain_steps": 3, "batch_size": 32, "history_days": 28,
            "validation_days": 14, "max_seconds": 600.0, **more,
        }
    )  # fmt: skip
