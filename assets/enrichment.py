"""What explains demand besides demand: calendar, promotions, texts."""

from collections.abc import Iterator

import dagster as dg

from assets.common import markdown_table, metadata, table_spec
from pipeline.as_of import known_days
from pipeline.enrichment.calendar import build_calendar
from pipeline.enrichment.promotions import take_over_promotions
from pipeline.enrichment.reading import Reading
from pipeline.enrichment.reviews import encode_reviews
from pipeline.enrichment.texts import encode_items
from resources.compute import ComputeResource
from resources.lake import HomeResource

CALENDAR_TABLES = ("calendar_daily", "calendar_occurrences")
PROMOTION_TABLES = ("promotions", "promotion_report")


def build(partitions: dg.PartitionsDefinition) -> dg.Definitions:
    """Assets of the stage; facts have no night of their own."""
    return dg.Definitions(assets=[calendar, promotions, texts])


@dg.multi_asset(name="calendar", specs=[table_spec(name, ["demand_changes"]) for name in CALENDAR_TABLES])
def calendar(context: dg.AssetExecutionContext, home: HomeResource) -> Iterator[dg.MaterializeResult]:
    """Bring the calendar of every country up to date."""
    with home.work(context) as work:
        report = build_calendar(work.lake, work.settings, *known_days(work.lake))
        rows = {"calendar_daily": report.rows, "calendar_occurrences": report.occurrences}
        for name in CALENDAR_TABLES:
            yield dg.MaterializeResult(
                name,
                metadata=metadata(
                    rows=sum(rows[name][country] for country in report.written),
                    seconds=work.seconds,
                    first_day=str(report.first_day),
                    last_day=str(report.last_day),
                    computed_anew=", ".join(report.written) or "none",
                    countries=markdown_table([{"country": name, "rows": count} for name, count in rows[name].items()]),
                ),
            )


@dg.multi_asset(name="promotions", specs=[table_spec(name, ["raw_promotions"]) for name in PROMOTION_TABLES])
def promotions(context: dg.AssetExecutionContext, home: HomeResource) -> Iterator[dg.MaterializeResult]:
    """Take over delivered promotions."""
    with home.work(context) as work:
        report = take_over_promotions(work.lake, work.settings.shop, progress=work.progress)
        work.tell(context, report.warnings)
        for name in PROMOTION_TABLES:
            yield dg.MaterializeResult(
                name,
                metadata=metadata(
                    rows=report.rows[name],
                    seconds=work.seconds,
                    deliveries=report.deliveries,
                    counts=markdown_table([vars(report)]),
                ),
            )


@dg.multi_asset(
    name="item_texts", specs=[table_spec("item_text_features", ["item_sightings", "demand_changes", "reviews"])]
)
def texts(context: dg.AssetExecutionContext, home: HomeResource, compute: ComputeResource) -> dg.MaterializeResult:
    """Encode item texts, and sentences of reviews, that have no vector yet."""
    with home.work(context) as work:
        picked = compute.pick(work.settings.compute)
        done = [
            encode_items(work.lake, work.settings, compute=picked, progress=work.progress),
            encode_reviews(work.lake, work.settings, compute=picked, progress=work.progress),
        ]
        reports = [report for report in done if report]
        warnings = [warning for report in reports for warning in report.warnings]
        work.tell(context, warnings)
        reading = sum((report.reading for report in reports), Reading())
        return dg.MaterializeResult(
            metadata=metadata(
                rows=sum(report.encoded for report in reports),
                seconds=work.seconds,
                language_model=reports[0].model_id,
                texts=sum(report.texts for report in reports),
                texts_cut=reading.cut,
                unknown_token_share=reading.unknown_share,
                scripts=markdown_table([{**vars(one), "unread_share": one.unread_share} for one in reading.scripts]),
                notes="; ".join(warnings) or "none",
            )
        )
