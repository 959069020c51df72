"""Forecasts as Arrow rows: what the tables of a night have in common."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.settings import QUANTILE_COLUMNS
from pipeline.tables import TABLES

STAMPS = ("as_of", "model_version")
"""Columns of a table of a night that say which night and version its rows are of."""


def unstamped(table: str) -> pa.Schema:
    """What a table holds beside `STAMPS`."""
    return pa.schema([field for field in TABLES[table].arrow_schema if field.name not in STAMPS])


def repeated(values: Sequence[str], times: int) -> "pa.Array[Any]":
    """Each text `times` times, one after the other, without a Python object per row."""
    return pa.array(values, pa.string()).take(np.repeat(np.arange(len(values), dtype=np.int32), times))


def tiled(values: Sequence[Any], kind: pa.DataType, times: int) -> "pa.Array[Any]":
    """All values, `times` times over."""
    return pa.array(values, kind).take(np.tile(np.arange(len(values), dtype=np.int32), times))


def distribution(mean: NDArray[np.float64], quantiles: NDArray[np.float64]) -> "dict[str, pa.Array[Any]]":
    """Columns of the mean (…,) and of the quantiles (…, Q)."""
    flat = quantiles.reshape(-1, len(QUANTILE_COLUMNS))
    values = [mean.ravel(), *(np.ascontiguousarray(flat[:, q]) for q in range(flat.shape[1]))]
    return {name: pa.array(column) for name, column in zip(("mean", *QUANTILE_COLUMNS), values, strict=True)}


def stamped(rows: pa.Table, stamp: dict[str, str]) -> pa.Table:
    """The rows with columns that hold the same text in all of them."""
    for name, value in stamp.items():
        constant: Any = pa.scalar(value, pa.string())
        rows = rows.append_column(name, pa.repeat(constant, len(rows)))
    return rows
