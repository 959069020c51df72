"""Accepted lines to the ledgers of demand and items: cancellations netted, kinds told apart, texts normalised; and reviews."""

from collections.abc import Iterator

import dagster as dg

from assets.common import markdown_table, metadata, table_spec
from pipeline.cleaning.clean import clean
from pipeline.cleaning.reviews import take_over_reviews
from resources.lake import HomeResource

TABLES = (
    *("order_lines", "netted_lines", "demand_changes", "item_sightings", "announced_items", "cleaning_report"),
    *("demand_changes_until", "item_sightings_until"),
)
REVIEW_TABLES = ("reviews", "quarantined_reviews", "review_report")
_UPSTREAM = ("raw_files", "raw_order_lines", "raw_items", "quarantined_order_lines", "data_quality")


def build(partitions: dg.PartitionsDefinition) -> dg.Definitions:
    """Assets of the stage; facts have no night of their own."""
    return dg.Definitions(assets=[cleaning, reviews])


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


@dg.multi_asset(name="reviews", specs=[table_spec(name, ["raw_reviews", "raw_files"]) for name in REVIEW_TABLES])
def reviews(context: dg.AssetExecutionContext, home: HomeResource) -> Iterator[dg.MaterializeResult]:
    """Take over delivered reviews."""
    with home.work(context) as work:
        report = take_over_reviews(work.lake, work.settings.shop, progress=work.progress)
        work.tell(context, report.warnings)
        for name in REVIEW_TABLES:
            yield dg.MaterializeResult(
                name,
                metadata=metadata(
                    rows=report.rows[name],
                    seconds=work.seconds,
                    deliveries=report.deliveries,
                    counts=markdown_table([vars(report)]),
                ),
            )
