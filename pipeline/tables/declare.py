"""What a declared table is: stage, layer, grain, key, columns, types, meaning."""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

_ARROW: dict[str, pa.DataType] = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "SMALLINT": pa.int16(),
    "DOUBLE": pa.float64(),
    "FLOAT": pa.float32(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"),
    "DECIMAL(18,4)": pa.decimal128(18, 4),
    "DECIMAL(38,4)": pa.decimal128(38, 4),
    "FLOAT[]": pa.list_(pa.float32()),
    "VARCHAR[]": pa.list_(pa.string()),
}


@dataclass(frozen=True)
class Column:
    """A column: DuckDB type and meaning, for writing, checks and comments."""

    name: str
    type: str
    meaning: str


@dataclass(frozen=True)
class Table:
    """A table: where it is made, what one row is, and its columns; `published` are those that only analysts see."""

    name: str
    stage: str
    layer: Literal["lake", "state"]
    meaning: str
    key: tuple[str, ...]
    partition: tuple[str, ...]
    columns: tuple[Column, ...]
    published: tuple[Column, ...] = ()

    @property
    def published_columns(self) -> tuple[Column, ...]:
        """Columns of the table in the published file: those of the lake, then what publishing adds."""
        return self.columns + self.published

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of all columns, in order, partition columns included."""
        return tuple(column.name for column in self.columns)

    @property
    def arrow_schema(self) -> pa.Schema:
        """Schema of the table in Arrow."""
        return pa.schema([(column.name, _ARROW[column.type]) for column in self.columns])


def columns(text: str) -> tuple[Column, ...]:
    """Columns from lines `name | TYPE | meaning`."""
    return tuple(
        Column(*(part.strip() for part in line.split("|", 2))) for line in text.strip().splitlines() if line.strip()
    )
