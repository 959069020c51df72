"""Outliers pulled in, for training and scaling only; the truth stays as it is.

The rule itself stands in `pipeline/outliers.sql`, where the flag of `demand_daily` comes from too.
"""

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.as_of import OUTLIER_RULE


def winsorise(units: NDArray[np.float32]) -> NDArray[np.float32]:
    """Demand with every outlier cut to its cap.

    Days without demand stay so, and no day is ever raised. Only single days that stand far above their own series,
    its neighbourhood and a busy shop are cut: see `pipeline/outliers.sql`.

    Args:
        units: (S, T) demand of S series on T consecutive days, not negative.

    Returns:
        (S, T) a new array.
    """
    series, day = np.nonzero(units > 0)
    winsorised = units.copy()
    if not len(series):
        return winsorised
    sold = units[series, day].astype(np.float64)
    table = pa.table({"series": pa.array(series), "day": pa.array(day.astype(np.int32)), "units": pa.array(sold)})
    with duckdb.connect(":memory:", config={"threads": 2}) as con:
        con.register("sale_days", table)
        con.execute(OUTLIER_RULE)
        cut = con.execute(
            "SELECT series, day, cap FROM outlier_caps('sale_days') INNER JOIN sale_days USING (series, day) WHERE units > cap"
        ).fetchnumpy()
    winsorised[np.asarray(cut["series"]), np.asarray(cut["day"])] = np.asarray(cut["cap"], dtype=units.dtype)
    return winsorised
