"""The night's model: the champion while it is young enough, else a new version, tracked in MLflow."""

import shutil
from datetime import UTC, datetime

import dagster as dg
import pyarrow as pa

from assets.common import FACTS, markdown_table, metadata, table_spec
from pipeline.as_of import as_of_view
from pipeline.training.cadence import settings_hash, training_due
from pipeline.training.train import build_training_panel, make_forecaster
from resources.compute import ComputeResource
from resources.lake import HomeResource, as_of_of
from resources.tracking import TrackingResource


def build(partitions: dg.PartitionsDefinition) -> dg.Definitions:
    """Assets of the stage."""

    @dg.multi_asset(name="training", specs=[table_spec("model_versions", FACTS, partitions=partitions)])
    def training(
        context: dg.AssetExecutionContext, home: HomeResource, compute: ComputeResource, tracking: TrackingResource
    ) -> dg.MaterializeResult:
        """Train when it is due, and make the new version champion."""
        as_of = as_of_of(context)
        with home.work(context) as work:
            store = tracking.of(work.settings)
            champion = store.champion(as_of)
            due = training_due(
                work.lake,
                work.settings,
                as_of,
                champion.model_version if champion else None,
                champion.as_of if champion else None,
            )
            if champion and not due:
                reused = {"model_version": champion.model_version, "reused": f"trained as of {champion.as_of}"}
                return dg.MaterializeResult(metadata=metadata(rows=0, seconds=work.seconds, **reused))
            picked = compute.pick(work.settings.compute)
            checkpoints = home.path / "training" / as_of.isoformat()
            forecaster = make_forecaster(work.settings)
            with as_of_view(work.lake, as_of, by_location=work.settings.shop.by_location) as view:
                # refused before MLflow hears of a run: too little history, nothing sold
                panel = build_training_panel(view, work.settings, home=home.path)
                snapshot = view.snapshot
            with store.training_run(
                as_of=as_of,
                kind=forecaster.name,
                compute=picked,
                settings=work.settings,
                dagster_run_id=context.run_id,
            ) as run:
                run.log_data(snapshot, {"series": panel.series, "days": panel.history})
                fitted = forecaster.fit(panel, folder=checkpoints, compute=picked, progress=work.progress)
                run.log_fitted(fitted)
                version = store.register(run, fitted, panel, promote=True)
                row = {
                    "model_version": version.model_version,
                    "data_snapshot": snapshot,
                    "run_id": version.run_id,
                    "trained_seconds": fitted.report.seconds,
                    "device": picked.device,
                    "settings_hash": settings_hash(work.lake, work.settings),
                    "made_at": datetime.now(UTC).replace(tzinfo=None),
                }
                with work.lake.connect() as con:
                    work.lake.write(
                        con,
                        "model_versions",
                        {"as_of": as_of},
                        pa.Table.from_pylist([row]),
                        part=version.model_version.replace("/", "-"),
                    )
            shutil.rmtree(checkpoints, ignore_errors=True)
            return dg.MaterializeResult(
                metadata=metadata(
                    rows=1,
                    seconds=work.seconds,
                    model_version=version.model_version,
                    why=due or "",
                    series=panel.series,
                    stopped=fitted.report.stopped,
                    curves=markdown_table(
                        [
                            {"step": step, **dict(zip(fitted.report.curves, values, strict=True))}
                            for step, *values in zip(fitted.report.steps, *fitted.report.curves.values(), strict=False)
                        ]
                    ),
                    mlflow_run=version.run_id,
                )
            )

    return dg.Definitions(assets=[training])
