"""A registered model version, and the name that a shop's versions have in the registry."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from hashlib import sha256
from pathlib import Path


@dataclass(frozen=True)
class ModelVersion:
    """A registered model version.

    Attributes:
        name: registered model.
        number: its version.
        run_id: MLflow run that made it.
        as_of: night whose knowledge it was trained on.
        data_snapshot: hash of that knowledge.
        folder: local folder of the forecaster (safetensors and JSON), as `pipeline.models.registry.load` reads it.
        made_at: when it was registered, UTC.
        kind: full (a new network) or update.
        parent: version that an update started from; empty for a new network.
        tags: all that was noted when it was registered.
    """

    name: str
    number: int
    run_id: str
    as_of: date
    data_snapshot: str
    folder: Path
    made_at: datetime
    kind: str = "full"
    parent: str = ""
    tags: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def model_version(self) -> str:
        """Name and number, as the tables hold it."""
        return f"{self.name}/{self.number}"


def model_name(shop: str) -> str:
    """Name of a shop's registered model: `almanac-<shop>`, in letters that every MLflow address takes."""
    plain = unicodedata.normalize("NFKD", shop).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    # a name in Chinese has no ASCII letters left
    return f"almanac-{slug or sha256(shop.encode()).hexdigest()[:8]}"
