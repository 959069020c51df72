"""Forecasts of single origins on disk: one Parquet file per origin and model, kept to be used again.

A file is named after everything that could change its content: the panel that the origin knew (its fingerprint), the
settings, the model, the device, the source code of forecasters and the versions of what they compute with. The same name
therefore holds the same forecasts, and weekly backtests with overlapping origins train each only once.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.models.base import Compute, Forecast
from pipeline.models.panel import Panel
from pipeline.settings import QUANTILE_COLUMNS, Settings

KEPT = 96
"""Files kept in a cache folder, the newest: a few backtests' worth."""
_CODE = ("models", "backtesting/origins.py")
_LIBRARIES = ("numpy", "statsforecast", "torch")
_META = b"almanac"


@dataclass(frozen=True)
class Made:
    """What making a forecast took.

    Attributes:
        fit_seconds: seconds of fitting.
        forecast_seconds: seconds of forecasting.
        fallbacks: series for which a simpler forecaster answered.
    """

    fit_seconds: float
    forecast_seconds: float
    fallbacks: int


@dataclass(frozen=True)
class Store:
    """Folder of forecasts already made."""

    folder: Path

    def path(self, panel: str, origin: date, model: str, settings: Settings, compute: Compute) -> Path:
        """File of one origin and model; its stem names the training folder too.

        Args:
            panel: fingerprint of what the origin knew.
            origin: the origin.
            model: forecaster.
            settings: all settings.
            compute: device and precision.
        """
        used = settings.model_dump(mode="json", exclude={"shop", "sources", "compute", "validation", "publishing"})
        for not_used_by_one_origin in ("origins", "every_days", "on", "baselines"):
            used["backtest"].pop(not_used_by_one_origin, None)
        text = json.dumps([model, panel, used, compute.device, compute.mixed_precision, _code_hash()], sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:24]
        return self.folder / f"{origin.isoformat()}-{model}-{key}.parquet"

    def write(self, path: Path, model: str, panel: Panel, forecast: Forecast, made: Made) -> None:
        """Write the forecast of a panel's series whole; a killed run leaves none."""
        series, horizon = forecast.mean.shape
        rows = series * horizon
        quantiles = forecast.quantiles.reshape(rows, -1)
        columns: dict[str, Any] = {
            "model": pa.array([model] * rows).dictionary_encode(),
            "origin": pa.array(np.full(rows, np.datetime64(panel.as_of, "D"))),
            "item_id": pa.array(np.repeat(panel.item_id, horizon).astype(object), pa.string()),
            "location": pa.array(np.repeat(panel.location, horizon).astype(object), pa.string()),
            "horizon_days": pa.array(np.tile(np.arange(1, horizon + 1, dtype=np.int32), series)),
            "mean": pa.array(forecast.mean.reshape(rows)),
            **{name: pa.array(quantiles[:, k]) for k, name in enumerate(QUANTILE_COLUMNS)},
        }
        note = json.dumps([made.fit_seconds, made.forecast_seconds, made.fallbacks]).encode()
        table = pa.table(columns).replace_schema_metadata({_META: note})
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        pq.write_table(table, unfinished, compression="zstd")
        unfinished.replace(path)

    def made(self, path: Path) -> Made | None:
        """What stands in the cache for this file, or None."""
        if not path.exists():
            return None
        try:
            note = (pq.read_schema(path).metadata or {})[_META]
        except (OSError, pa.ArrowException, KeyError):
            return None
        os.utime(path)
        return Made(*json.loads(note))

    def read(self, path: Path, series: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Mean (N,) and quantiles (N, Q), series by series."""
        table = pq.read_table(path, columns=["mean", *QUANTILE_COLUMNS])
        if table.num_rows % max(series, 1):
            raise ValueError(f"{path}: {table.num_rows} rows are no whole number of forecasts for {series} series")
        return table["mean"].to_numpy(), np.stack([table[name].to_numpy() for name in QUANTILE_COLUMNS], axis=1)

    def tidy(self, used: set[Path]) -> None:
        """Drop training folders that are done with and the files longest unused."""
        if not self.folder.exists():
            return
        for path in self.folder.iterdir():
            if path.is_dir() and path.with_suffix(".parquet").exists():
                shutil.rmtree(path, ignore_errors=True)
        files = sorted(self.folder.glob("*.parquet"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in files[KEPT:]:
            if path not in used:
                path.unlink(missing_ok=True)


@cache
def _code_hash() -> str:
    """Hash of the source that forecasts come from: a changed model must not be answered for by its past self."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    places = [root / place for place in _CODE]
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*"))]
    for path in sorted(file for file in files if file.suffix in {".py", ".sql"}):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    digest.update(repr([(name, version(name)) for name in _LIBRARIES]).encode())
    return digest.hexdigest()
