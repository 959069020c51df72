"""One MLflow run of a training: what is logged of it, and under which names."""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from pipeline.models.base import Fitted, TrainingReport
from pipeline.tracking.plots import ItemPlot, draw
from resources.mlflow_store import MlflowStore

_BATCH = 100  # parameters per call that MLflow accepts; of metrics it accepts 1,000
_LONGEST_VALUE = 6000
RECIPE = "recipe.json"
"""Artefact with what shaped the model."""


class TrainingRun:
    """One MLflow run of a training, to be told what the training did."""

    def __init__(self, store: MlflowStore, run_id: str, tags: Mapping[str, str]) -> None:
        """Take the store, the run and its tags; made by `Tracking.training_run` and `Tracking.run`."""
        self.store = store
        self.run_id = run_id
        self.tags = dict(tags)

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log parameters; nested ones become `outer.inner`."""
        from mlflow.entities import Param

        flat = [Param(key, value[:_LONGEST_VALUE]) for key, value in _flat(parameters)]
        with self.store.errors():
            for start in range(0, len(flat), _BATCH):
                self.store.client.log_batch(self.run_id, params=flat[start : start + _BATCH])

    def log_fitted(self, fitted: Fitted) -> None:
        """Log what a fitted forecaster reports: parameters, curves with their steps, how it ended, its description.

        Those of an ensemble's members stand beside it under their names: `mlp/validation_wql`.
        """
        self._log_report(fitted.name, fitted.report)
        for name, part in fitted.report.parts.items():
            self._log_report(name, part, f"{name}/")
        self._log_json("description.json", fitted.describe())
        with self.store.errors():
            self.store.client.set_tag(self.run_id, "stopped", fitted.report.stopped)

    def _log_report(self, name: str, report: TrainingReport, prefix: str = "") -> None:
        self.log_parameters({name: dict(report.parameters)})
        points = {
            f"{prefix}{curve}": list(
                zip(report.steps if len(report.steps) == len(values) else range(len(values)), values, strict=True)
            )
            for curve, values in report.curves.items()
        }
        self._log_metrics({**points, f"{prefix}train_seconds": [(0, report.seconds)]})

    def log_data(self, snapshot: str, rows: Mapping[str, int]) -> None:
        """Log which data the training saw: hash of the as-of inputs, and rows per table."""
        from mlflow.entities import Dataset, DatasetInput

        as_of = self.tags["as_of"]
        dataset = Dataset(
            name=f"as of {as_of}",
            digest=snapshot[:36],
            source_type="almanac",
            source=json.dumps({"as_of": as_of, "data_snapshot": snapshot}),
            profile=json.dumps(dict(rows)),
        )
        with self.store.errors():
            self.store.client.log_inputs(self.run_id, [DatasetInput(dataset)])
            self.store.client.set_tag(self.run_id, "data_snapshot", snapshot)
        self.tags["data_snapshot"] = snapshot
        self._log_metrics({f"data/{table}_rows": [(0, float(count))] for table, count in rows.items()})

    def log_decision(self, decision: Mapping[str, Any]) -> None:
        """Log why the version was promoted or refused, with the scores behind it, as `champion_decision.json`."""
        self._log_json("champion_decision.json", decision)

    def log_recipe(self, recipe: Mapping[str, Any]) -> None:
        """Log what shaped the model beside its data, as `recipe.json`."""
        self._log_json(RECIPE, recipe)

    def score(self, metric: str) -> float | None:
        """A pooled score of this run's own model, where `log_scores` logged one."""
        with self.store.errors():
            metrics = self.store.client.get_run(self.run_id).data.metrics
        found = metrics.get(f"backtest/{self.tags.get('model_kind', '')}/{metric}")
        return None if found is None else float(found)

    def log_scores(self, scores: pa.Table) -> None:
        """Log backtest scores: pooled ones as metrics `backtest/<model>/<metric>`, all slices as CSV.

        Args:
            scores: rows of `backtest_scores`.
        """
        pooled = [row for row in scores.to_pylist() if row["origin"] == "all" and row["slice"] == "all"]
        self._log_metrics({f"backtest/{row['model']}/{row['metric']}": [(0, row["score"])] for row in pooled})
        with self._artifact("backtest_scores.csv", "backtest") as file:
            pyarrow.csv.write_csv(scores, file)

    def log_plots(self, plots: Sequence[ItemPlot]) -> None:
        """Log plots of a few items as PNG."""
        for number, plot in enumerate(plots, start=1):
            readable = re.sub(r"[^A-Za-z0-9]+", "-", plot.title).strip("-")[:40]
            with self._artifact(f"{number:02d}-{readable}.png", "plots") as file:
                draw(plot, file)

    def log_files(self, files: Sequence[Path], folder: str) -> None:
        """Log files as they are, into a folder of the run's artefacts."""
        for path in files:
            with self._artifact(path.name, folder) as file:
                file.write_bytes(path.read_bytes())

    def _log_metrics(self, curves: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        from mlflow.entities import Metric
        from mlflow.utils.time import get_current_time_millis

        now = get_current_time_millis()
        metrics = [
            Metric(re.sub(r"[^\w\-./ ]", "_", name), float(value), now, int(step))
            for name, points in curves.items()
            for step, value in points
        ]
        with self.store.errors():
            for start in range(0, len(metrics), _BATCH):
                self.store.client.log_batch(self.run_id, metrics=metrics[start : start + _BATCH])

    def _log_json(self, name: str, content: Mapping[str, Any]) -> None:
        with self._artifact(name) as file:
            file.write_text(json.dumps(content, ensure_ascii=False, indent=1, default=str), encoding="utf-8")

    @contextmanager
    def _artifact(self, name: str, folder: str | None = None) -> Iterator[Path]:
        """A file to write, which becomes an artefact of the run."""
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / name
            yield file
            with self.store.errors():
                self.store.client.log_artifact(self.run_id, str(file), folder)


def _flat(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested mappings as pairs of dotted name and text."""
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
