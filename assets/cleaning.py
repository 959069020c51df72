"""Accepted lines to the ledgers of demand and items: cancellations netted, kinds told apart, texts normalised."""

from collections.abc import Iterator

import dagster as dg

from assets.common import markdown_table, metadata, table_spec
from pipeline.cleaning.clean import clean
from resources.lake import HomeResource

TABLES = (
    *("order_lines", "netted_lines", "demand_changes", "item_sightings", "cleaning_report"),
    *("demand_changes_until", "item_sightings_until"),
)
_UPSTREAM = ("raw_files", "raw_order_lines", "raw_items", "quarantined_order_lines", "data_quality")


def build(partitions: dg.PartitionsDefinition) -> dg.Definitions:
    """Assets of the stage; facts have no night of their own."""
    return dg.Definitions(assets=[cleaning])


@dg.multi_asset(name="cleaning", specs=[table_spec(name, _UPSTREAM) for name in TABLES])
def cleaning(context: dg.AssetExecutionContext, home: HomeResource) -> Iterator[dg.MaterializeResult]:
    """Clean every delivery that validation let through and that is not cleaned yet."""
    with home.work(context) as work:
        report = clean(work.lake, work.settings, progress=work.progress)
        work.tell(context, report.warnings)
        counts = markdown_table(
            [{"measure": name, "lines": lines, "units": units} for name, (lines, units) in report.measures.items()]
        )
        for name in TABLES:
            yield dg.MaterializeResult(
                name,
                metadata=metadata(
                    rows=report.rows.get(name, 0), seconds=work.seconds, deliveries=report.deliveries, counts=counts
                ),
            )
