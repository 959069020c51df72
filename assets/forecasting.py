"""The night's forecasts: every active item, a season ahead, days and sums."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from assets.common import FACTS, markdown_table, metadata, table_spec
from pipeline.as_of import as_of_view
from pipeline.errors import ModelError
from pipeline.forecasting.nightly import make_forecasts, weekly_totals
from resources.compute import ComputeResource
from resources.lake import HomeResource, as_of_of
from resources.tracking import TrackingResource

TABLES = ("forecasts", "forecast_totals")


def build(partitions: dg.PartitionsDefinition) -> dg.Definitions:
    """Assets of the stage."""
    specs = [table_spec(name, (*FACTS, "model_versions"), partitions=partitions) for name in TABLES]

    @dg.multi_asset(name="forecasting", specs=specs)
    def forecasting(
        context: dg.AssetExecutionContext, home: HomeResource, compute: ComputeResource, tracking: TrackingResource
    ) -> Iterator[dg.MaterializeResult]:
        """Forecast with the champion that this night could know."""
        as_of = as_of_of(context)
        with home.work(context) as work:
            compute.pick(work.settings.compute)
            store = tracking.of(work.settings)
            champion = store.champion(as_of)
            if champion is None:
                raise ModelError(
                    f"no model version was trained as of {as_of} or before; materialise model_versions first"
                )
            with as_of_view(work.lake, as_of, by_location=work.settings.shop.by_location) as view:
                report = make_forecasts(
                    view,
                    work.lake,
                    work.settings,
                    store.load(champion),
                    champion.model_version,
                    made_at=datetime.now(UTC),
                    progress=work.progress,
                )
            weeks = markdown_table(weekly_totals(work.lake, as_of, champion.model_version))
            for name, rows in zip(TABLES, (report.rows, report.total_rows), strict=True):
                yield dg.MaterializeResult(
                    name,
                    metadata=metadata(
                        rows=rows,
                        seconds=work.seconds,
                        series=report.series,
                        expected_units=report.expected_units,
                        model_version=report.model_version,
                        data_snapshot=report.data_snapshot,
                        days=f"{report.first_day} to {report.last_day}",
                        weeks=weeks,
                    ),
                )

    return dg.Definitions(assets=[forecasting])
