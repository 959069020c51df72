"""What people open: one DuckDB file, brought up to date beside the old one and swapped in, and the season report."""

from datetime import date

import dagster as dg

from assets.common import FORCE_TAG, markdown_table, metadata
from pipeline.publishing.publish import publish
from pipeline.publishing.retention import apply_retention
from pipeline.publishing.season_report import write_season_report
from pipeline.tables import lake_tables
from resources.lake import HomeResource, as_of_of


def build(partitions: dg.PartitionsDefinition) -> dg.Definitions:
    """Assets of the stage."""

    @dg.asset(
        group_name="publishing",
        partitions_def=partitions,
        deps=[table.name for table in lake_tables()],
        kinds={"duckdb"},
        description="warehouse/almanac.duckdb: commented tables, views and macros for analysts.",
    )
    def almanac_duckdb(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
        with home.work(context) as work:
            removed = apply_retention(work.lake, work.settings)
            # an older night that is run again must not take the newest one away from analysts
            forecast = [date.fromisoformat(night["as_of"]) for night in work.lake.partitions("vintages")]
            report = publish(
                work.lake,
                work.settings,
                max([as_of_of(context), *forecast]),
                full=FORCE_TAG in context.run.tags,
                progress=work.progress,
            )
            tables = markdown_table([{"table": name, "rows": rows} for name, rows in report.rows.items()])
            return dg.MaterializeResult(
                metadata=metadata(
                    rows=sum(report.rows.values()),
                    seconds=work.seconds,
                    megabytes=report.bytes / 1e6,
                    night=str(report.as_of),
                    nights=report.nights,
                    nights_left_out=report.nights_left_out,
                    built=f"in full: {report.why_full}" if report.why_full else f"from {report.since} on",
                    nights_removed_by_retention=len(removed.nights),
                    tables=tables,
                )
            )

    @dg.asset(
        group_name="publishing",
        partitions_def=partitions,
        deps=[almanac_duckdb],
        kinds={"html"},
        description="report/index.html: the season ahead on one page.",
    )
    def season_report(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
        with home.work(context) as work:
            file = write_season_report(work.lake, work.settings).file
            return dg.MaterializeResult(
                metadata=metadata(rows=1, seconds=work.seconds, page=dg.MetadataValue.path(str(file)))
            )

    return dg.Definitions(assets=[almanac_duckdb, season_report])
