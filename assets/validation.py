"""Bad lines into quarantine, and the expectations that every table must meet."""

from collections.abc import Iterator, Sequence
from datetime import date

import dagster as dg

from assets.common import markdown_table, metadata, table_spec
from pipeline.tables import TABLES as DECLARED
from pipeline.validation.lines import validate_lines
from pipeline.validation.suites import build_data_docs, checked_tables, run_suite
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
        report = validate_lines(work.lake, work.settings)
        files = markdown_table([vars(file) for file in report.files])
        for name in TABLES:
            yield dg.MaterializeResult(
                name, metadata=metadata(rows=work.lake.count(name), seconds=work.seconds, files=files)
            )


def _checks() -> dg.Definitions:
    """One check per table that has a suite, stage by stage; an ERROR stops what is downstream."""
    stages: dict[str, list[str]] = {}
    for name in checked_tables():
        stages.setdefault(DECLARED[name].stage, []).append(name)
    return dg.Definitions(
        asset_checks=[
            _stage_checks(stage, tables, by_night=DECLARED[tables[0]].partition == ("as_of",))
            for stage, tables in stages.items()
        ]
    )


def _stage_checks(stage: str, tables: Sequence[str], *, by_night: bool) -> dg.AssetChecksDefinition:
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
            docs = build_data_docs(home.path, outcomes)
        for outcome in outcomes:
            yield dg.AssetCheckResult(
                check_name=CHECK,
                asset_key=outcome.table,
                passed=outcome.success,
                severity=dg.AssetCheckSeverity.ERROR if outcome.errors else dg.AssetCheckSeverity.WARN,
                description="; ".join(f"{one.meaning}: {one.observed}" for one in (*outcome.errors, *outcome.warnings)),
                metadata={
                    "expectations": markdown_table([vars(one) for one in outcome.results]),
                    "data_docs": dg.MetadataValue.path(str(docs)),
                    "as_of": str(night or "all"),
                },
            )

    return check
