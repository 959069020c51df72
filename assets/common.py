"""What all assets share: specs made from the declared tables, and metadata."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import pandas as pd

from pipeline.tables import TABLES, Table

FORCE_TAG = "almanac/force"
"""Tag of a run that makes anew what stands already."""
MODEL_TAG = "almanac/model_version"
"""Tag of a run whose forecasts are made by the model version that it names."""

LEADERBOARD_TAG = "almanac/leaderboard"
CONTROLS_TAG = "almanac/controls"
"""Tag of a backtest of every forecaster of the house."""


def table_spec(
    name: str,
    deps: Sequence[str] = (),
    *,
    partitions: dg.PartitionsDefinition | None = None,
) -> dg.AssetSpec:
    """The asset of a declared table: its meaning, columns and stage stand in `pipeline/tables`."""
    table = TABLES[name]
    return dg.AssetSpec(
        key=name,
        deps=list(deps),
        description=table.meaning,
        group_name=table.stage,
        kinds={"parquet"},
        metadata={"dagster/column_schema": _schema(table), "key": ", ".join(table.key)},
        partitions_def=partitions,
    )


def _schema(table: Table) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[dg.TableColumn(column.name, column.type, description=column.meaning) for column in table.columns]
    )


def metadata(*, rows: int, seconds: float, **more: Any) -> dict[str, Any]:
    """Metadata of every asset: rows and seconds first, then what is particular.

    `dagster/row_count` is what the run added to the table: counting all that stands would open every file of every night.
    """
    return {"dagster/row_count": rows, "seconds": seconds, **more}


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> dg.MarkdownMetadataValue:
    """A small table for the UI.

    Args:
        rows: records with the same keys; an empty sequence gives an empty table.
    """
    if not rows:
        return dg.MetadataValue.md("*none*")
    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in head) + " |" for row in rows]
    return dg.MetadataValue.md("\n".join(lines))


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a small frame for `markdown_table`."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _cell(value: Any) -> str:
    text = f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def inline_png(png: bytes) -> str:
    """A plot as Markdown that needs no file beside it."""
    return f"![plot](data:image/png;base64,{base64.b64encode(png).decode()})"


FACTS = (
    "demand_changes",
    "item_sightings",
    "announced_items",
    "calendar_daily",
    "calendar_occurrences",
    "promotions",
    "item_text_features",
    "reviews",
)
"""What an as-of view reads: upstream of everything that a night makes."""
