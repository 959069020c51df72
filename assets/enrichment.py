"""What explains demand besides demand: calendar, promotions, texts."""

from collections.abc import Iterator

import dagster as dg

from assets.common import markdown_table, metadata, table_spec
from pipeline.as_of import known_days
from pipeline.enrichment.calendar import build_calendar
from pipeline.enrichment.promotions import take_over_promotions
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


@dg.multi_asset(name="item_texts", specs=[table_spec("item_text_features", ["item_sightings", "demand_changes"])])
def texts(context: dg.AssetExecutionContext, home: HomeResource, compute: ComputeResource) -> dg.MaterializeResult:
    """Encode item texts that have no vector yet."""
    with home.work(context) as work:
        report = encode_items(
            work.lake, work.settings, compute=compute.pick(work.settings.compute), progress=work.progress
        )
        work.tell(context, report.warnings)
        scripts = report.reading.scripts
        return dg.MaterializeResult(
            metadata=metadata(
                rows=report.encoded,
                seconds=work.seconds,
                language_model=report.model_id,
                texts=report.texts,
                texts_cut=report.reading.cut,
                unknown_token_share=report.reading.unknown_share,
                scripts=markdown_table([{**vars(one), "unread_share": one.unread_share} for one in scripts]),
                notes="; ".join(report.warnings) or "none",
            )
        )
