"""The jobs: the whole night, and the parts of it that are run alone."""

import dagster as dg

FACT_GROUPS = ("ingestion", "validation", "cleaning", "enrichment")


def build_jobs(partitions: dg.DailyPartitionsDefinition) -> dict[str, dg.UnresolvedAssetJobDefinition]:
    """Jobs by name.

    They run in one process: starting a step in a process of its own costs about ten seconds of imports.
    """
    facts = dg.AssetSelection.groups(*FACT_GROUPS)
    backtest = dg.AssetSelection.groups("backtesting")
    everything = dg.AssetSelection.all()
    jobs = (
        dg.define_asset_job(
            "night",
            everything,
            description="The night, end to end: ingest, validate, clean, enrich, train, backtest, forecast, publish.",
            partitions_def=partitions,
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
            partitions_def=partitions,
            executor_def=dg.in_process_executor,
        ),
    )
    return {job.name: job for job in jobs}
