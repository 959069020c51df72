"""The jobs: the whole night, and the parts of it that are run alone."""

from typing import TYPE_CHECKING, TypeAlias

import dagster as dg

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

AssetJob: TypeAlias = "UnresolvedAssetJobDefinition"
"""What `define_asset_job` returns; Dagster exports no public name for it."""

FACT_GROUPS = ("ingestion", "validation", "cleaning", "enrichment")


def build_jobs() -> "dict[str, AssetJob]":
    """Jobs by name; those with what a night makes are partitioned by night."""
    groups = dg.AssetSelection.groups
    jobs = (
        _job(
            "night",
            dg.AssetSelection.all(),
            "The night, end to end: ingest, validate, clean, enrich, train, backtest, forecast, publish.",
        ),
        _job(
            "ingest",
            groups(*FACT_GROUPS),
            "Take in what was delivered: ingestion, validation, cleaning and enrichment.",
        ),
        _job("backtest", groups("backtesting"), "Score the forecasters at rolling origins before a night."),
        _job(
            "backfill",
            groups("training", "forecasting"),
            "A past night from facts that are in: train when it was due, forecast. Nights that stand are kept; run "
            "`publish` afterwards.",
        ),
        _job(
            "replay",
            groups("forecasting"),
            "Forecast a night again, by the version that the tag almanac/model_version names.",
        ),
        _job("publish", groups("publishing"), "Publish the newest night, with all vintages."),
    )
    return {job.name: job for job in jobs}


def _job(name: str, selection: dg.AssetSelection, description: str) -> "AssetJob":
    """A job that runs in one process: starting a step in a process of its own costs about ten seconds of imports."""
    return dg.define_asset_job(name, selection, description=description, executor_def=dg.in_process_executor)
