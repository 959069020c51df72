"""The jobs: the whole night, and the parts of it that are run alone."""

from typing import TYPE_CHECKING, TypeAlias

import dagster as dg

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

AssetJob: TypeAlias = "UnresolvedAssetJobDefinition"
"""What `define_asset_job` returns; Dagster exports no public name for it."""

FACT_GROUPS = ("ingestion", "validation", "cleaning", "enrichment")


def build_jobs() -> "dict[str, AssetJob]":
    """Jobs by name; those with what a night makes are partitioned by night.

    They run in one process: starting a step in a process of its own costs about ten seconds of imports.
    """
    facts = dg.AssetSelection.groups(*FACT_GROUPS)
    backtest = dg.AssetSelection.groups("backtesting")
    forecast = dg.AssetSelection.groups("forecasting")
    everything = dg.AssetSelection.all()
    jobs = (
        dg.define_asset_job(
            "night",
            everything,
            description="The night, end to end: ingest, validate, clean, enrich, train, backtest, forecast, publish.",
            executor_def=dg.in_process_executor,
        ),
        dg.define_asset_job(
            "ingest",
            facts,
            description="Take in what was delivered: ingestion, validation, cleaning and enrichment.",
            executor_def=dg.in_process_executor,
        ),
        dg.define_asset_job(
            "backtest",
            backtest,
            description="Score the forecasters at rolling origins before a night.",
            executor_def=dg.in_process_executor,
        ),
        dg.define_asset_job(
            "backfill",
            dg.AssetSelection.groups("training") | forecast,
            description="A past night from facts that are in: train when it was due, forecast. Nights that stand are kept; "
            "run `publish` afterwards.",
            executor_def=dg.in_process_executor,
        ),
        dg.define_asset_job(
            "replay",
            forecast,
            description="Forecast a night again, by the version that the tag almanac/model_version names.",
            executor_def=dg.in_process_executor,
        ),
        dg.define_asset_job(
            "publish",
            dg.AssetSelection.groups("publishing"),
            description="Publish the newest night, with all vintages.",
            executor_def=dg.in_process_executor,
        ),
    )
    return {job.name: job for job in jobs}
