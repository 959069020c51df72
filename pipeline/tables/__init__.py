"""Every table, declared once: stage, grain, key, columns, types, meaning.

Used to write the lake, to check what is written, and for the comments that analysts read. Nothing writes an
undeclared table. Two layers:

- `lake` tables hold facts and results as Parquet, one folder per partition. Facts of the shop are ledgers: each row
  carries the local day on which it became known (`known_on`), and a later fact adds rows, it never changes old ones.
  What was known on a night is therefore a sum or a newest-row over `known_on <= as_of`, and nothing else.
- `state` tables are those sums: what was known at the end of one night. `pipeline/as_of.py` makes them as views, for
  training, backtests and forecasts alike, and publishing copies them into `almanac.duckdb` for analysts.
"""

from collections.abc import Iterator

from pipeline.tables import facts, results, reviews, states
from pipeline.tables.declare import Column, Table

__all__ = ["TABLES", "Column", "Table", "lake_tables"]

_ALL = (*facts.TABLES, *reviews.TABLES, *results.TABLES, *states.TABLES)

TABLES: dict[str, Table] = {table.name: table for table in _ALL}
"""All tables by name, in the order of the data flow within each layer."""


def lake_tables() -> Iterator[Table]:
    """Tables of the lake."""
    return (table for table in _ALL if table.layer == "lake")
