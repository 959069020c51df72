"""What new items sell like: rows of `similar_items`."""

import numpy as np
import pyarrow as pa

from pipeline.models import handover
from pipeline.models.base import Fitted
from pipeline.models.ensemble import FittedEnsemble, launches_of
from pipeline.models.panel import Panel

_NEAREST = 5
_LEAST_SHARE = 0.05
"""Share of the launches' forecast below which an item is new no longer."""


def similar_items(panel: Panel, fitted: Fitted) -> list[pa.Table]:
    """The items that new items of a panel are like; no table where there are none.

    Args:
        panel: series of a night.
        fitted: what forecasts them.
    """
    launches = launches_of(fitted)
    if not isinstance(fitted, FittedEnsemble) or launches is None:
        return []
    rows = handover.young(panel)
    share = handover.shares(panel.rows(rows), fitted.handover_days)
    rows, share = rows[share >= _LEAST_SHARE], share[share >= _LEAST_SHARE]
    new = panel.rows(rows)
    near = launches.neighbours(new, _NEAREST) if len(rows) else None
    if near is None:
        return []
    at, place = np.nonzero(near.weight > 0)
    days = panel.history - new.first_sold[at]
    names = np.array(launches.items, dtype=np.str_)
    return [
        pa.table(
            {
                "item_id": pa.array(new.item_id[at].tolist(), pa.string()),
                "location": pa.array(new.location[at].tolist(), pa.string()),
                "rank": pa.array(place + 1, pa.int32()),
                "similar_item_id": pa.array(names[near.index[at, place]].tolist(), pa.string()),
                "similarity": pa.array(near.cosine[at, place]),
                "days_on_sale": pa.array(days, pa.int32(), mask=days <= 0),
                "launch_share": pa.array(share[at]),
            }
        )
    ]
