"""Series on a connection: how the arrays of this room find their rows in DuckDB."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@contextmanager
def registered_series(
    con: duckdb.DuckDBPyConnection,
    item_ids: Sequence[str] | NDArray[np.str_],
    locations: Sequence[str] | NDArray[np.str_],
) -> Iterator[str]:
    """A temporary relation (number, item_id, location) of the series asked for, in their order from 0.

    Yields:
        Its name.
    """
    if len(item_ids) != len(locations):
        raise ValueError(f"{len(item_ids)} items, but {len(locations)} locations")
    name = f"_series_{uuid.uuid4().hex}"
    table = pa.table(
        {
            "number": pa.array(np.arange(len(item_ids)), pa.int64()),
            "item_id": pa.array([str(item) for item in item_ids], pa.string()),
            "location": pa.array([str(location) for location in locations], pa.string()),
        }
    )
    con.register(name, table)
    try:
        yield name
    finally:
        con.unregister(name)
