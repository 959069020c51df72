"""Reviews of series × days, as each day knew them: for forecasters, whose training looks at many nights of the past.

A night counts the reviews that were known by then, whenever they were written, in the version of then.
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from pipeline.enrichment.reviews import score_reviews
from pipeline.enrichment.series import registered_series
from pipeline.models.panel import REVIEW_FEATURES
from pipeline.settings import Settings

_ROOM = Path(__file__).parent
_CHANGES, _SHOP = ((_ROOM / name).read_text(encoding="utf-8") for name in ("review_changes.sql", "shop_sentiment.sql"))
_USUAL = 5.0
"""Reviews of the shop's mean sentiment that an item's own are set beside: one bad review says little of an item."""
_SERIES_AT_ONCE = 2048


def review_array(
    con: duckdb.DuckDBPyConnection,
    item_ids: Sequence[str] | NDArray[np.str_],
    first_day: date,
    days: int,
    settings: Settings,
    *,
    home: Path | None = None,
) -> NDArray[np.float32] | None:
    """What each day knew of the reviews of each series.

    Args:
        con: connection of an as-of view.
        item_ids: (S,) item of each series; a review counts in every location.
        first_day: day of column 0.
        days: number of days.
        settings: the home's settings.
        home: folder that a relative language model is relative to.

    Returns:
        (S, days, F) float32, see `REVIEW_FEATURES`; None where the night knew no review of any item.
    """
    if not score_reviews(con, settings, home=home):
        return None
    usual = _usual(con, first_day, days)
    features = np.zeros((len(item_ids), days, len(REVIEW_FEATURES)), dtype=np.float32)
    with registered_series(con, item_ids, [""] * len(item_ids)) as series:
        con.execute(f'CREATE OR REPLACE TEMP VIEW _asked_series AS FROM "{series}"')
        found = con.execute(_CHANGES, {"first_day": first_day, "days": days}).fetchnumpy()
        con.execute("DROP VIEW _asked_series")
    number = np.asarray(found["number"])
    for start in range(0, len(item_ids), _SERIES_AT_ONCE):
        rows = features[start : start + _SERIES_AT_ONCE]
        block = slice(*np.searchsorted(number, [start, start + _SERIES_AT_ONCE]))
        changes = {name: np.asarray(column)[block] for name, column in found.items()}
        changes["number"] = changes["number"] - start
        reviews_28, reviews_91, told, sentiment = (
            _counted(changes, name, len(rows), days) for name in ("reviews_28", "reviews_91", "told_91", "sentiment_91")
        )
        rows[:, :, 0], rows[:, :, 1] = np.log1p(reviews_28), np.log1p(reviews_91)
        # the sum less what as many usual reviews would sum up to, by their number and that of those set beside them
        rows[:, :, 2] = (sentiment / 100 - told * usual) / (told + _USUAL)
    return features


def _counted(changes: dict[str, NDArray[np.int64]], name: str, series: int, days: int) -> NDArray[np.int64]:
    """(series, days) what changes sum up to."""
    summed = np.zeros((series, days), dtype=np.int64)
    summed[changes["number"], changes["day"]] = changes[name]
    return summed.cumsum(axis=1)


def _usual(con: duckdb.DuckDBPyConnection, first_day: date, days: int) -> NDArray[np.float64]:
    """(days,) mean sentiment of all reviews of the shop that each day knew; 0 before the first."""
    found = con.execute(_SHOP, {"first_day": first_day, "days": days}).fetchnumpy()
    told, sentiment = (np.zeros(days, dtype=np.int64) for _ in range(2))
    told[np.asarray(found["day"])], sentiment[np.asarray(found["day"])] = found["told"], found["sentiment"]
    usual: NDArray[np.float64] = sentiment.cumsum() / 100 / np.maximum(told.cumsum(), 1)
    return usual
