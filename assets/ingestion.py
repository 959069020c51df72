"""Delivered files in: every line as delivered, once."""

from collections.abc import Iterator

import dagster as dg

from assets.common import markdown_table, metadata, table_spec
from pipeline.ingestion.deliveries import ingest
from resources.lake import HomeResource

TABLES = ("raw_files", "raw_order_lines", "raw_items", "raw_promotions", "raw_reviews")


def build(partitions: dg.PartitionsDefinition) -> dg.Definitions:
    """Assets of the stage; facts have no night of their own."""
    return dg.Definitions(assets=[ingestion])


@dg.multi_asset(name="ingestion", specs=[table_spec(name) for name in TABLES])
def ingestion(context: dg.AssetExecutionContext, home: HomeResource) -> Iterator[dg.MaterializeResult]:
    """Take in what is new in the drop folders."""
    with home.work(context) as work:
        report = ingest(work.lake, work.settings, progress=work.progress)
        work.tell(context, report.warnings)
        files = markdown_table([vars(file) for file in report.files])
        for name in TABLES:
            yield dg.MaterializeResult(
                name,
                metadata=metadata(
                    rows=report.rows[name], seconds=work.seconds, new_files=len(report.files), files=files
                ),
            )
