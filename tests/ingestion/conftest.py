"""A home with one small source, and the lake read back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.ingestion import IngestionReport, ingest
from pipeline.lake import Lake
from pipeline.settings import ComputeSettings, Settings
from pipeline.validation import ValidationReport, validate_lines

HEADER = "order,item,text,qty,price,time,customer"
MAPPING: dict[str, Any] = {
    "name": "small",
    "timezone": "Europe/London",
    "currency": "GBP",
    "orders": {
        "files": "orders*",
        "columns": {
            "order_id": "order",
            "item_id": "item",
            "item_text": "text",
            "quantity": "qty",
            "unit_price": "price",
            "ordered_at": "time",
            "customer": "customer",
        },
        "kinds": [{"kind": "adjustment", "when": {"order_id": "A.*"}}],
    },
}


@dataclass
class Home:
    """A home in a temporary folder."""

    path: Path
    mapping: dict[str, Any] = field(default_factory=lambda: yaml.safe_load(yaml.safe_dump(MAPPING)))
    by_location: bool = False

    @property
    def lake(self) -> Lake:
        return Lake(self.path, ComputeSettings(memory_limit="300MB", threads=2))

    @property
    def settings(self) -> Settings:
        (self.path / "small.yaml").write_text(yaml.safe_dump(self.mapping), encoding="utf-8")
        shop = {"name": "S", "country": "GB", "timezone": "Europe/London", "currency": "GBP"}
        return Settings.model_validate(
            {
                "shop": {**shop, "by_location": self.by_location, "exchange_rates": {"EUR": 0.85}},
                "sources": [{"mapping": "small.yaml"}],
                "compute": {"memory_limit": "300MB", "threads": 2},
            }
        )

    def drop(self, name: str, content: str | bytes) -> Path:
        path = self.path / "orders" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def drop_lines(self, name: str, *lines: str) -> Path:
        return self.drop(name, "\n".join((HEADER, *lines)) + "\n")

    def ingest(self, delivered_at: datetime | None = None) -> IngestionReport:
        return ingest(self.lake, self.settings, delivered_at=delivered_at)

    def validate(self) -> ValidationReport:
        return validate_lines(self.lake, self.settings)

    def read(self, sql: str) -> list[tuple[Any, ...]]:
        with self.lake.connect() as con:
            self.lake.attach(con)
            return con.execute(sql).fetchall()

    def files(self) -> dict[str, bytes]:
        """Everything in the home but the drop folder, the mapping, and what is only kept to be quick."""
        return {
            str(path.relative_to(self.path)): path.read_bytes()
            for path in sorted(self.path.rglob("*"))
            if path.is_file()
            and path.parent.name != "orders"
            and path.name != "small.yaml"
            and ".cache" not in path.parts
        }


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def new_home(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Home]:
    return lambda: Home(tmp_path_factory.mktemp("home"))
