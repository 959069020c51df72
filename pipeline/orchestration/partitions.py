"""The nights: one partition per local day of the shop, named by its `as_of` date.

Facts (raw lines, demand, items, calendar) are ledgers that carry the day on which each fact became known, so they have
no night of their own; what a night *makes* (model versions, backtests, forecasts, the published file) is partitioned.
"""

import dagster as dg

FIRST_NIGHT = "2005-01-01"


def nights(timezone: str) -> dg.DailyPartitionsDefinition:
    """Nights from 2005 up to yesterday: a night's `as_of` is the last day that is over."""
    return dg.DailyPartitionsDefinition(start_date=FIRST_NIGHT, timezone=timezone)
