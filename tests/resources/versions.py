"""Versions for tests of the registry: a forecaster that is fitted in no time, registered for any night."""

from datetime import date
from typing import Any

import pyarrow as pa

from pipeline.models.base import Compute, Fitted, TrainingReport
from pipeline.models.panel import Panel
from pipeline.models.seasonal_naive import FittedSeasonalNaive
from pipeline.settings import Settings
from resources.tracking import ModelVersion, Tracking

NIGHT = date(2024, 4, 29)
REPORT = TrainingReport(
    parameters={"hidden": 8, "sizes": {"series": 3}},
    curves={"validation/wql": [0.9, 0.7, 0.8], "training/loss": [2.0, 1.0, 0.5]},
    steps=[10, 20, 30],
    seconds=1.5,
    stopped="early stopping",
)
FITTED = FittedSeasonalNaive(fitted_on=NIGHT.isoformat(), report=REPORT)


def scores() -> pa.Table:
    def row(model: str, origin: str, slice_: str, value: str, metric: str, score: float) -> dict[str, Any]:
        return {
            "as_of": NIGHT,
            "model": model,
            "origin": origin,
            "slice": slice_,
            "value_of_slice": value,
            "metric": metric,
            "score": score,
            "forecasts": 84,
        }

    return pa.Table.from_pylist(
        [
            row("lstm", "all", "all", "", "wql", 0.71),
            row("auto_ets", "all", "all", "", "wql", 0.93),
            row("lstm", "2024-02-01", "all", "", "wql", 0.5),
            row("lstm", "all", "volume", "A", "wql", 0.4),
        ]
    )


def train(
    tracking: Tracking,
    settings: Settings,
    panel: Panel,
    as_of: date,
    *,
    promote: bool = True,
    snapshot: str = "a" * 32,
    fitted: Fitted = FITTED,
    tags: dict[str, str] | None = None,
) -> ModelVersion:
    with tracking.training_run(
        as_of=as_of, kind="seasonal_naive", compute=Compute(), settings=settings, dagster_run_id="d-1"
    ) as run:
        run.log_fitted(fitted)
        run.log_data(snapshot, {"demand_daily": 360, "items": 3})
        run.log_decision({"promoted": promote})
        return tracking.register(run, fitted, panel, promote=promote, tags=tags)
