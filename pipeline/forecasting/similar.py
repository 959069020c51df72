"""What new items sell like: rows of `similar_items`."""

from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.forecasting.rows import unstamped
from pipeline.models import handover
from pipeline.models.base import Fitted
from pipeline.models.ensemble import FittedEnsemble, launches_of
from pipeline.models.panel import Panel

_NEAREST = 5
_LEAST_SHARE = 0.05
"""Share of the launches' forecast below which an item is new no longer."""
_SCHEMA = unstamped("similar_items")


def similar_items(panel: Panel, fitted: Fitted) -> pa.Table:
    """The items that new items of a panel are like; without a row where there are none.

    Args:
        panel: series of a night.
        fitted: what forecasts them.
    """
    launches = launches_of(fitted)
    if not isinstance(fitted, FittedEnsemble) or launches is None:
        return _SCHEMA.empty_table()
    rows = handover.young(panel)
    share = handover.shares(panel.rows(rows), fitted.handover_days)
    rows, share = rows[share >= _LEAST_SHARE], share[share >= _LEAST_SHARE]
    new = panel.rows(rows)
    near = launches.neighbours(new, _NEAREST) if len(rows) else None
    if near is None:
        return _SCHEMA.empty_table()
    at, place = np.nonzero(near.weight > 0)
    sold = new.first_sold[at] < panel.history
    begins = new.first_sold if new.on_sale is None else np.maximum(new.first_sold, new.on_sale)
    first_day = np.datetime64(panel.first_day, "D")
    names = np.array(launches.items, dtype=np.str_)
    columns: dict[str, Any] = {
        "item_id": new.item_id[at].tolist(),
        "location": new.location[at].tolist(),
        "rank": place + 1,
        "similar_item_id": names[near.index[at, place]].tolist(),
        "similarity": near.cosine[at, place],
        "on_sale_from": first_day + begins[at].astype("timedelta64[D]"),
        "days_on_sale": pa.array(panel.history - new.first_sold[at], pa.int32(), mask=~sold),
        "launch_share": share[at],
    }
    return pa.table(columns, schema=_SCHEMA)
