"""Bad lines into quarantine, and the expectations that every table must meet."""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import dagster as dg

from assets.common import markdown_table, metadata, table_spec
from pipeline.tables import TABLES as DECLARED
from pipeline.validation.data_docs import build_data_docs, data_docs, results_folder
from pipeline.validation.lines import validate_lines
from pipeline.validation.suites import checked_tables, keep_results, run_suite
from resources.lake import HomeResource

TABLES = ("quarantined_order_lines", "data_quality")
CHECK = "expectations"


def build(partitions: dg.PartitionsDefinition) -> dg.Definitions:
    """Assets of the stage; facts have no night of their own."""
    return dg.Definitions.merge(dg.Definitions(assets=[validation]), _checks())


@dg.multi_asset(name="validation", specs=[table_spec(name, ["raw_order_lines", "raw_files"]) for name in TABLES])
def validation(context: dg.AssetExecutionContext, home: HomeResource) -> Iterator[dg.MaterializeResult]:
    """Put bad lines into quarantine, each with its reason."""
    with home.work(context) as work:
        report = validate_lines(work.lake, work.settings, progress=work.progress)
        work.tell(context, report.warnings)
        files = markdown_table([vars(file) for file in report.files])
        for name in TABLES:
            yield dg.MaterializeResult(
                name, metadata=metadata(rows=report.rows[name], seconds=work.seconds, files=files)
            )


def _checks() -> dg.Definitions:
    """One check per table that has a suite, stage by stage; an ERROR stops what is downstream."""
    stages: dict[str, list[str]] = {}
    for name in checked_tables():
        stages.setdefault(DECLARED[name].stage, []).append(name)
    steps = tuple(f"check_{stage}" for stage in stages)
    return dg.Definitions(
        asset_checks=[
            _stage_checks(stage, tables, steps, by_night=DECLARED[tables[0]].partition == ("as_of",))
            for stage, tables in stages.items()
        ]
    )


def _stage_checks(
    stage: str, tables: Sequence[str], steps: Sequence[str], *, by_night: bool
) -> dg.AssetChecksDefinition:
    """Checks of one stage; `steps` are the names of those of all stages."""
    specs = [
        dg.AssetCheckSpec(CHECK, asset=table, blocking=True, description=f"Great Expectations suite of {table}.")
        for table in tables
    ]

    @dg.multi_asset_check(name=f"check_{stage}", specs=specs)
    def check(context: dg.AssetCheckExecutionContext, home: HomeResource) -> Iterator[dg.AssetCheckResult]:
        with home.work(context) as work:
            # Dagster gives a check no partition of its own yet (a preview only): the run's night is in its tags
            tagged = context.run.tags.get("dagster/partition")
            night = date.fromisoformat(tagged) if by_night and tagged else None
            outcomes = [run_suite(work.lake, table, work.settings, night) for table in tables]
            keep_results(home.path, outcomes)
            # once a run: the site is built whole, which takes seconds
            if any(outcome.errors for outcome in outcomes) or _is_last(context, steps):
                _build_what_is_new(home.path)
        for outcome in outcomes:
            yield dg.AssetCheckResult(
                check_name=CHECK,
                asset_key=outcome.table,
                passed=outcome.success,
                severity=dg.AssetCheckSeverity.ERROR if outcome.errors else dg.AssetCheckSeverity.WARN,
                description="; ".join(f"{one.meaning}: {one.observed}" for one in (*outcome.errors, *outcome.warnings))
                or ("" if outcome.results else "nothing that was not checked before"),
                metadata={
                    "expectations": markdown_table([vars(one) for one in outcome.results]),
                    "data_docs": dg.MetadataValue.path(str(data_docs(home.path))),
                    "as_of": str(night or "all"),
                    "looked_at": outcome.looked_at,
                },
            )

    return check


def _is_last(context: dg.AssetCheckExecutionContext, steps: Sequence[str]) -> bool:
    """Whether every other check of this run is over."""
    in_run = {node.name for node in context.op_execution_context.job_def.nodes} & set(steps)
    found = context.instance.get_run_step_stats(context.run.run_id, sorted(in_run))
    over = {step.step_key for step in found if step.end_time is not None}
    return in_run - over <= {context.op_execution_context.op_def.name}


def _build_what_is_new(home: Path) -> None:
    """Build the Data Docs when a result was kept since they were built."""
    kept = [path.stat().st_mtime_ns for path in results_folder(home).glob("*.json")]
    docs = data_docs(home)
    if kept and (not docs.exists() or docs.stat().st_mtime_ns <= max(kept)):
        build_data_docs(home)
