"""Prices of series × days, as a night knew them: carried forward from the last sale, never back."""

from collections.abc import Sequence
from datetime import date

import duckdb
import numpy as np
from numpy.typing import NDArray

from pipeline.enrichment.series import registered_series

Floats = NDArray[np.float32]

_ROWS_AT_ONCE = 1_000_000
_SERIES_AT_ONCE = 8192


def price_array(  # noqa: PLR0917 (the panel's two lengths belong together)
    con: duckdb.DuckDBPyConnection,
    item_ids: Sequence[str] | NDArray[np.str_],
    locations: Sequence[str] | NDArray[np.str_],
    first_day: date,
    history_days: int,
    horizon: int,
) -> Floats:
    """Price of one unit: that of the last day with sales up to each day.

    A sale before `first_day` counts too. Before the first sale there is no price (NaN): a back-filled one would be a
    leak. Beyond the history the last price stands.

    Args:
        con: connection of an as-of view.
        item_ids: (S,) item of each series.
        locations: (S,) location of each series, '' when over all.
        first_day: day of column 0.
        history_days: days of history T.
        horizon: days beyond it H.

    Returns:
        (S, T + H) float32.
    """
    prices = np.full((len(item_ids), history_days + horizon), np.nan, dtype=np.float32)
    if not len(item_ids) or not history_days:
        return prices
    with registered_series(con, item_ids, locations) as series:
        paid = con.sql(
            # the last sale before the first day stands on the first day, unless that day has its own (the later row)
            "SELECT s.number AS number, 0::BIGINT AS day, arg_max(p.unit_price, p.day)::FLOAT AS price "
            f"FROM prices_daily AS p INNER JOIN {series} AS s USING (item_id, location) "
            "WHERE p.day < $1 GROUP BY s.number",
            params=[first_day],
        ).to_arrow_table()
        _place(prices, paid.columns)
        sold = con.sql(
            "SELECT s.number AS number, (p.day - $1)::BIGINT AS day, p.unit_price::FLOAT AS price "
            f"FROM prices_daily AS p INNER JOIN {series} AS s USING (item_id, location) "
            "WHERE p.day >= $1 AND p.day < $1 + $2::INTEGER",
            params=[first_day, history_days],
        )
        for batch in sold.to_arrow_reader(_ROWS_AT_ONCE):
            _place(prices, batch.columns)
    _carry_forward(prices)
    return prices


def _place(prices: Floats, columns: Sequence[object]) -> None:
    number, day, price = (np.asarray(column) for column in columns)
    prices[number, day] = price


def _carry_forward(prices: Floats) -> None:
    """Fill gaps in place with the last value to the left, some series at a time to bound the index array."""
    column = np.arange(prices.shape[1], dtype=np.int32)
    for start in range(0, len(prices), _SERIES_AT_ONCE):
        rows = prices[start : start + _SERIES_AT_ONCE]
        last = np.maximum.accumulate(np.where(np.isnan(rows), np.int32(0), column), axis=1)
        rows[:] = np.take_along_axis(rows, last, axis=1)
