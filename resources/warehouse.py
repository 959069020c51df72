"""The published file as a Dagster resource: where analysts look, and where publishing puts what is new."""

from pathlib import Path

import dagster as dg
from pipeline.publishing.publish import published_file


class WarehouseResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """`warehouse/almanac.duckdb` of a home; replaced whole, never written in place."""

    folder: str

    @property
    def file(self) -> Path:
        """The published file."""
        return published_file(Path(self.folder))
