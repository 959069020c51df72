"""Vintages: which nights were forecast, by which version, and whether they stand as they were written.

A vintage is the forecasts of one night by one model version. Its row in `vintages` is written last and holds the hashes of
its files: a night is done when the row is there and the files are what it says.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import pyarrow as pa

from pipeline.ingestion.standing import attach_marks, standing
from pipeline.lake import Lake
from pipeline.settings import Settings
from pipeline.tables import TABLES

FORECAST_TABLES = ("forecasts", "forecast_totals")
BESIDE_TABLES = ("similar_items", "item_seasons")
"""What a vintage says beside its forecasts; not sealed by a hash."""
_LIBRARIES = ("almanac", "duckdb", "lightgbm", "numpy", "pyarrow", "statsforecast", "torch", "transformers")

State = Literal["stands", "removed", "missing", "altered"]
"""Of a vintage's files: as written; removed by retention; gone; not what was written."""


@dataclass(frozen=True)
class Vintage:
    """One row of `vintages`; the fields are its columns."""

    as_of: date
    model_version: str
    trained_as_of: date
    is_named: bool
    data_snapshot: str
    series: int
    forecast_rows: int
    total_rows: int
    forecasts_hash: str
    totals_hash: str
    settings_hash: str
    device: str
    threads: int
    libraries: str
    made_at: datetime
    removed_on: date | None = None
    degraded: str = ""

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of its files, by table."""
        return dict(zip(FORECAST_TABLES, (self.forecasts_hash, self.totals_hash), strict=True))

    def files(self, lake: Lake) -> dict[str, Path]:
        """Its files, by table."""
        partition = {"as_of": self.as_of.isoformat()}
        return {table: lake.part_path(table, partition, part_of(self.model_version)) for table in FORECAST_TABLES}

    def beside(self, lake: Lake) -> list[Path]:
        """Its files of `BESIDE_TABLES`, which need not be there."""
        partition = {"as_of": self.as_of.isoformat()}
        return [lake.part_path(table, partition, part_of(self.model_version)) for table in BESIDE_TABLES]

    def state(self, lake: Lake) -> State:
        """Whether its files are what was written; reads them whole."""
        if self.removed_on is not None:
            return "removed"
        files = self.files(lake)
        if not all(path.exists() for path in files.values()):
            return "missing"
        return "stands" if all(file_hash(files[table]) == one for table, one in self.hashes.items()) else "altered"


def part_of(model_version: str) -> str:
    """Name of a version's part in the partitions of the forecast tables."""
    return quote(model_version, safe="")


def vintages(lake: Lake, as_of: date | None = None) -> list[Vintage]:
    """All vintages, or those of one night: nights in order, the newest made last."""
    names = ", ".join(field.name for field in fields(Vintage))
    with lake.connect() as con:
        rows = con.execute(
            f"SELECT {names} FROM ({lake.select('vintages')}) WHERE $1::DATE IS NULL OR as_of = $1::DATE "
            "ORDER BY as_of, made_at, model_version",
            [as_of],
        ).fetchall()
    return [Vintage(*row) for row in rows]


def own(found: list[Vintage]) -> Vintage | None:
    """Of one night's vintages the night's own: made last by a version that the night chose, not a person."""
    return next((vintage for vintage in reversed(found) if not vintage.is_named), None)


def dated_back(lake: Lake, found: Sequence[Vintage]) -> dict[str, list[date]]:
    """Files delivered after vintages were made, with the nights that count some of their lines as known; opens no ledger.

    Args:
        lake: the home's lake.
        found: the vintages.
    """
    with lake.connect() as con:
        attach_marks(lake, con, "raw_files")
        rows = con.execute(
            "SELECT file_hash, file_name, delivered_at FROM raw_files WHERE delivered_at > $1 ORDER BY file_name",
            [min((one.made_at for one in found), default=None)],
        ).fetchall()
    # by the ledgers, not by `first_known_on`: a file delivered whole again repeats old lines, which no ledger takes
    known: dict[str, str] = {}
    for table in ("demand_changes", "item_sightings", "promotions") if rows else ():
        for file in standing(lake, table):
            known[file.part] = min(file.values[0], known.get(file.part, file.values[0]))
    nights: dict[str, list[date]] = {}
    for part, name, delivered_at in rows:
        for one in found:
            if delivered_at > one.made_at and part in known and known[part] <= one.as_of.isoformat():
                nights.setdefault(name, []).append(one.as_of)
    return nights


def write_vintage(lake: Lake, vintage: Vintage) -> None:
    """Write, or replace, a vintage's row."""
    partition = {"as_of": vintage.as_of.isoformat()}
    row = {name: value for name, value in asdict(vintage).items() if name != "as_of"}
    schema = pa.schema([field for field in TABLES["vintages"].arrow_schema if field.name in row])
    with lake.connect() as con:
        lake.write(
            con, "vintages", partition, pa.Table.from_pylist([row], schema=schema), part_of(vintage.model_version)
        )


def forget_vintage(lake: Lake, vintage: Vintage) -> None:
    """Remove a vintage's row before its files are made anew: a killed run must not leave it beside other files."""
    path = lake.part_path("vintages", {"as_of": vintage.as_of.isoformat()}, part_of(vintage.model_version))
    path.unlink(missing_ok=True)


def forecast_settings_hash(settings: Settings) -> str:
    """Hash of the settings that shape a forecast beside its model and its facts (16 hex digits)."""
    shaping = {
        "forecast": settings.forecast.model_dump(mode="json"),
        "shop": settings.shop.model_dump(mode="json", include={"by_location", "closed_on", "timezone"}),
        "countries": settings.holiday_countries,
        "language_model": settings.language_model.model_dump(mode="json", include={"model", "max_tokens"}),
    }
    return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:16]


def libraries() -> str:
    """Versions of what computes forecasts, as JSON."""
    return json.dumps({name: version(name) for name in _LIBRARIES})


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def now() -> datetime:
    """The time, UTC, as tables hold it."""
    return datetime.now(UTC).replace(tzinfo=None)
