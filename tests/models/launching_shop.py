"""A generated shop whose items have one of four themes, which their text vectors tell, and which decide level and season."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np

from pipeline.models.panel import Panel
from tests.models.demand_panels import panel_of

THEMES = 4
PER_DAY = np.array([0.15, 0.5, 1.5, 4.0])
"""Units a day of an item at a price of 1, by theme."""
DECEMBER = (1.0, 1.0, 1.0, 5.0)
"""How many times as much it sells in December, by theme."""
FIRST_DAY = date(2010, 1, 4)
DIMENSIONS = 16


def launching_shop(
    *, days: int = 720, there: int = 240, launches: int = 400, ahead: int = 91, seed: int = 0, last: int = 30
) -> tuple[Panel, np.ndarray, np.ndarray]:
    """A panel, the theme of each series, and (S, T + ahead) expected units of each day on sale.

    Args:
        days: days of history.
        there: items that are on sale from the first day.
        launches: items that come between day 90 and the night.
        ahead: days ahead.
        seed: of everything random.
        last: items that come on the day after the night.
    """
    random = np.random.default_rng(seed)
    series = there + launches + last
    theme = random.integers(THEMES, size=series)
    start = np.concatenate([np.zeros(there), np.sort(random.integers(90, days, launches)), np.full(last, days)]).astype(
        int
    )
    price = np.exp(random.normal(0.0, 0.4, series))
    month = np.array([(FIRST_DAY + timedelta(days=day)).month for day in range(days + ahead)])
    season = np.where(month == 12, np.array(DECEMBER)[theme][:, None], 1.0)
    own = np.exp(random.normal(-0.08, 0.4, series))
    rate = (PER_DAY[theme] * own * price**-0.7)[:, None] * season
    rate = np.where(np.arange(days + ahead) >= start[:, None], rate, 0.0)
    units = random.poisson(rate).astype(np.float32)
    units[np.arange(series), np.minimum(start, days + ahead - 1)] += start < days  # the launch is the first sale
    panel = panel_of(units[:, :days], ahead=ahead)
    centres = np.linalg.qr(np.random.default_rng(99).normal(size=(DIMENSIONS, THEMES)))[0].T
    text = centres[theme] + random.normal(0.0, 0.08, (series, DIMENSIONS))
    prices = np.repeat(price[:, None], days + ahead, axis=1).astype(np.float32)
    prices[np.arange(days + ahead)[None, :] < panel.first_sold[:, None]] = np.nan
    return (
        replace(
            panel,
            first_day=FIRST_DAY,
            price=prices,
            text=(text / np.linalg.norm(text, axis=1, keepdims=True)).astype(np.float32),
            item_text=np.array([f"theme {kind} number {row}" for row, kind in enumerate(theme)]),
        ),
        theme,
        rate,
    )
