"""Promotions and planned prices of series × days, as a night knew them.

Where several promotions reach an item on the same day the largest share counts; of several planned prices that which was
announced last. A planned price is read as a cut of the usual one, in the manner of one more kind of promotion: a price by
itself says nothing before it is set beside another, and one really paid on a day to come would tell that there was a sale.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from pipeline.enrichment.series import registered_series
from pipeline.models.panel import PRICE_CUT

Floats = NDArray[np.float32]

LONGEST_LEAD = 255
"""Days of announcement ahead that are told apart: more than any forecast looks ahead with promotions."""

_ROOM = Path(__file__).parent
_PERIODS, _PRICE_CUTS = (
    (_ROOM / name).read_text(encoding="utf-8") for name in ("promotion_periods.sql", "price_cuts.sql")
)
_ROWS_AT_ONCE = 250_000


def promotion_kinds(con: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    """Kinds of promotions known on the night, sorted; `PRICE_CUT` after them where any price was planned."""
    kinds = con.execute("SELECT DISTINCT kind FROM promotions ORDER BY kind").fetchall()
    planned = con.execute("SELECT 1 FROM planned_prices LIMIT 1").fetchall()
    return (*(kind for (kind,) in kinds), *([PRICE_CUT] if planned else []))


def promotion_array(
    con: duckdb.DuckDBPyConnection,
    item_ids: Sequence[str] | NDArray[np.str_],
    locations: Sequence[str] | NDArray[np.str_],
    first_day: date,
    days: int,
    *,
    kinds: Sequence[str] | None = None,
) -> tuple[tuple[str, ...], Floats, NDArray[np.uint8]]:
    """Promotions of series × days, past and announced, as known on the night of the view.

    Args:
        con: connection of an as-of view.
        item_ids: (S,) item of each series.
        locations: (S,) location of each series, '' when over all; a promotion without location counts for each.
        first_day: day of column 0.
        days: number of days.
        kinds: kinds wanted, in this order (those of a trained model); default: all known on the night.

    Returns:
        Names of the P kinds; (S, days, P) float32: share of the shop reached, zero without promotion, and for
        `PRICE_CUT` by how much the planned price is below the usual one, −1 to 1; and (S, days, P) uint8: how many days
        before each day its promotion was announced, at most `LONGEST_LEAD`.
    """
    wanted = tuple(kinds) if kinds is not None else promotion_kinds(con)
    values = np.zeros((len(item_ids), days, len(wanted)), dtype=np.float32)
    leads = np.zeros(values.shape, dtype=np.uint8)
    if not wanted or not len(item_ids):
        return wanted, values, leads
    flat, flat_leads = values.reshape(-1), leads.reshape(-1)
    with registered_series(con, item_ids, locations) as series:
        asked = {"first_day": first_day, "days": days}
        for cell, share, lead in _days(con, _PERIODS, series, asked | {"kinds": list(wanted)}, values.shape):
            np.maximum.at(flat, cell, share)
            np.maximum.at(flat_leads, cell, lead)
        if PRICE_CUT in wanted:
            asked |= {"kind": wanted.index(PRICE_CUT)}
            for cell, cut, lead in _days(con, _PRICE_CUTS, series, asked, values.shape):
                # they come in the order of their announcement, and of equal places the last value stands
                flat[cell], flat_leads[cell] = cut, lead
    return wanted, values, leads


def _days(
    con: duckdb.DuckDBPyConnection, query: str, series: str, asked: dict[str, object], shape: tuple[int, ...]
) -> Iterator[tuple[NDArray[np.int64], Floats, NDArray[np.uint8]]]:
    """Periods as days: place of each in an array of the shape, its value, and how long before it was announced."""
    _, days, kinds = shape
    con.execute(f'CREATE OR REPLACE TEMP VIEW _asked_series AS FROM "{series}"')
    for batch in con.sql(query, params=asked).to_arrow_reader(_ROWS_AT_ONCE):
        number, kind, first, last, value, known = (column.to_numpy(zero_copy_only=False) for column in batch.columns)
        length = last - first + 1
        # one entry per day of each period: its start repeated, plus 0, 1, 2, … within the period
        within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        cell = np.repeat((number * days + first) * kinds + kind, length) + within * kinds
        lead = np.clip(np.repeat(first + known, length) + within, 0, LONGEST_LEAD).astype(np.uint8)
        yield cell, np.repeat(value, length), lead
    con.execute("DROP VIEW _asked_series")
