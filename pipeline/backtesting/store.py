"""Forecasts of single origins on disk: one Parquet file per origin and model, kept to be used again.

A file is named after everything that could change its content: the panel that the origin knew (its fingerprint), the
settings, the model, the device, the source code of forecasters and the versions of what they compute with. The same name
therefore holds the same forecasts, and weekly backtests with overlapping origins train each only once.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.backtesting.sums import periods
from pipeline.models.base import Array, Compute, Forecast
from pipeline.models.panel import Panel
from pipeline.settings import QUANTILE_COLUMNS, Settings

KEPT = 96
"""Files kept in a cache folder, the newest: a few backtests' worth."""
_CODE = ("models", "backtesting/origins.py", "backtesting/sums.py")
_LIBRARIES = ("numpy", "statsforecast", "torch", "lightgbm", "duckdb", "transformers", "peft", "chronos-forecasting")
_META = b"almanac"
_NOT_USED = {"shop", "sources", "compute", "validation", "publishing", "drift", "retention", "seasons"}
"""Sections of the settings that no forecaster reads; what of the shop shapes a forecast is in the panel."""


@dataclass(frozen=True)
class Made:
    """What making a forecast took.

    Attributes:
        fit_seconds: seconds of fitting.
        forecast_seconds: seconds of forecasting.
        fallbacks: series for which a simpler forecaster answered.
        peak_mb: memory of the process at its highest, above what it held before (MB); not a number for a member that was
            fitted among others.
        failed: members of an ensemble that were left out, and why: such a forecast is made again where it is asked for.
    """

    fit_seconds: float
    forecast_seconds: float
    fallbacks: int
    peak_mb: float = 0.0
    failed: str = ""


@dataclass(frozen=True)
class Store:
    """Folder of forecasts already made."""

    folder: Path

    def path(
        self,
        panel: str,
        origin: date,
        model: str,
        *,
        settings: Settings,
        compute: Compute,
        pretrained: Sequence[str],
    ) -> Path:
        """File of one origin and model; its stem names the training folder too.

        Args:
            panel: fingerprint of what the origin knew.
            origin: the origin.
            model: forecaster.
            settings: all settings.
            compute: device and precision.
            pretrained: ids of the pretrained models that the forecaster reads.
        """
        used = settings.model_dump(mode="json", exclude=_NOT_USED)
        for not_used_by_one_origin in ("origins", "every_days", "on", "baselines"):
            used["backtest"].pop(not_used_by_one_origin, None)
        made_with = [compute.device, compute.mixed_precision, _code_hash(), *pretrained]
        text = json.dumps([model, panel, used, *made_with], sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:24]
        return self.folder / f"{origin.isoformat()}-{model}-{key}.parquet"

    def write(
        self, path: Path, model: str, panel: Panel, forecast: Forecast, *, sums: tuple[Array, Array], made: Made
    ) -> None:
        """Write the forecast of a panel's series whole; a killed run leaves none.

        Args:
            path: file of the origin and model.
            model: forecaster.
            panel: the series, cut at the origin.
            forecast: their days.
            sums: means and quantiles of their sums, see `sums.forecast_sums`.
            made: what making it took.
        """
        horizon = forecast.mean.shape[1]
        first, last = (np.array(leads, dtype=np.int32) for leads in zip(*periods(horizon), strict=True))
        days = np.arange(1, horizon + 1, dtype=np.int32)
        table = pa.concat_tables(
            [
                _rows(model, panel, (days, days), forecast.mean, forecast.quantiles),
                _rows(model, panel, (first, last), *sums),
            ]
        )
        note = json.dumps(asdict(made)).encode()
        table = table.replace_schema_metadata({_META: note})
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        pq.write_table(table, unfinished, compression="zstd")
        unfinished.replace(path)

    def note(self, path: Path, made: Made) -> None:
        """Set what making a file took, once that is known."""
        table = pq.read_table(path)
        unfinished = path.with_suffix(".unfinished")
        pq.write_table(
            table.replace_schema_metadata({_META: json.dumps(asdict(made)).encode()}), unfinished, compression="zstd"
        )
        unfinished.replace(path)

    def made(self, path: Path) -> Made | None:
        """What stands in the cache for this file, or None."""
        if not path.exists():
            return None
        try:
            made = Made(**json.loads((pq.read_schema(path).metadata or {})[_META]))
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
            return None
        os.utime(path)
        return made

    def read(self, path: Path, series: int) -> tuple[Array, Array]:
        """Mean (N,) and quantiles (N, Q) of days, series by series."""
        mean, quantiles = _read(path, series, pc.field("first_lead") == pc.field("horizon_days"))
        return mean, quantiles

    def read_sums(self, path: Path, series: int) -> tuple[Array, Array]:
        """Mean (S, P) and quantiles (S, P, Q) of sums, periods as of `sums.periods`."""
        mean, quantiles = _read(path, series, pc.field("first_lead") < pc.field("horizon_days"))
        return mean.reshape(series, -1), quantiles.reshape(series, -1, len(QUANTILE_COLUMNS))

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


def _rows(
    model: str, panel: Panel, leads: tuple[NDArray[np.int32], NDArray[np.int32]], mean: Array, quantiles: Array
) -> pa.Table:
    """Rows of some periods, of which `horizon_days` is the last day; a day is its own first and last."""
    series, count = mean.shape
    rows = series * count
    first, last = (np.tile(lead, series) for lead in leads)
    flat = quantiles.reshape(rows, -1)
    columns: dict[str, Any] = {
        "model": pa.array([model] * rows).dictionary_encode(),
        "origin": pa.array(np.full(rows, np.datetime64(panel.as_of, "D"))),
        "item_id": pa.array(np.repeat(panel.item_id, count).astype(object), pa.string()),
        "location": pa.array(np.repeat(panel.location, count).astype(object), pa.string()),
        "first_lead": pa.array(first),
        "horizon_days": pa.array(last),
        "mean": pa.array(mean.reshape(rows)),
        **{name: pa.array(flat[:, k]) for k, name in enumerate(QUANTILE_COLUMNS)},
    }
    return pa.table(columns)


def _read(path: Path, series: int, which: pc.Expression) -> tuple[Array, Array]:
    table = pq.read_table(path, columns=["mean", *QUANTILE_COLUMNS], filters=which)
    if table.num_rows % max(series, 1):
        raise ValueError(f"{path}: {table.num_rows} rows are no whole number of forecasts for {series} series")
    return table["mean"].to_numpy(), np.stack([table[name].to_numpy() for name in QUANTILE_COLUMNS], axis=1)


@cache
def _code_hash() -> str:
    """Hash of the source that forecasts come from: a changed model must not be answered for by its past self."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    places = [root / place for place in _CODE]
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*"))]
    for path in sorted(file for file in files if file.suffix in {".py", ".sql"}):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    digest.update(repr([(name, _installed(name)) for name in _LIBRARIES]).encode())
    return digest.hexdigest()


def _installed(package: str) -> str:
    """Its version; nothing where an extra is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
