"""The night's forecasts: every active item, a season ahead, days and sums; each night a vintage that stays."""

from collections.abc import Iterator
from datetime import date

import dagster as dg

from assets.common import FACTS, FORCE_TAG, MODEL_TAG, markdown_table, metadata, table_spec
from pipeline.errors import ModelError
from pipeline.forecasting.nightly import weekly_totals
from pipeline.forecasting.replay import forecast_night, pinned
from resources.compute import ComputeResource
from resources.lake import HomeResource, as_of_of
from resources.tracking import ModelVersion, Tracking, TrackingResource

TABLES = ("forecasts", "forecast_totals", "similar_items", "item_seasons", "vintages")


def build(partitions: dg.PartitionsDefinition) -> dg.Definitions:
    """Assets of the stage."""
    specs = [table_spec(name, (*FACTS, "model_versions"), partitions=partitions) for name in TABLES]

    @dg.multi_asset(name="forecasting", specs=specs)
    def forecasting(
        context: dg.AssetExecutionContext, home: HomeResource, compute: ComputeResource, tracking: TrackingResource
    ) -> Iterator[dg.MaterializeResult]:
        """Forecast with the champion that this night could know; a night that stands is kept as it is."""
        as_of = as_of_of(context)
        named = context.run.tags.get(MODEL_TAG)
        with home.work(context) as work:
            used = pinned(compute.pick(work.settings.compute))
            store = tracking.of(work.settings)
            version = store.version(named) if named else _champion(store, as_of)
            night = forecast_night(
                work.lake,
                work.settings,
                as_of,
                store.load(version, used),
                version.model_version,
                trained_as_of=version.as_of,
                text_model=(store.recipe(version.run_id) or {}).get("text"),
                is_named=bool(named),
                compute=used,
                force=FORCE_TAG in context.run.tags,
                progress=work.progress,
            )
            work.tell(context, night.told)
            vintage = night.vintage
            if vintage.degraded:
                work.tell(
                    context, [f"DEGRADED: {as_of} forecast without some members of the model. {vintage.degraded}"]
                )
            similar, seasons = (night.report.similar_rows, night.report.season_rows) if night.report else (0, 0)
            rows = (vintage.forecast_rows, vintage.total_rows, similar, seasons, 1)
            shown = {
                "series": vintage.series,
                "model_version": vintage.model_version,
                "data_snapshot": vintage.data_snapshot,
                "degraded": vintage.degraded or "no",
                "weeks": markdown_table(weekly_totals(work.lake, as_of, vintage.model_version)),
                "kept": "; ".join(night.told) or "as it was made" if night.report is None else "made anew",
            }
            if night.report is not None:
                shown["expected_units"] = night.report.expected_units
                shown["days"] = f"{night.report.first_day} to {night.report.last_day}"
            for name, count in zip(TABLES, rows, strict=True):
                yield dg.MaterializeResult(name, metadata=metadata(rows=count, seconds=work.seconds, **shown))

    return dg.Definitions(assets=[forecasting])


def _champion(store: Tracking, as_of: date) -> ModelVersion:
    champion = store.champion(as_of)
    if champion is None:
        raise ModelError(f"no model version was trained as of {as_of} or before; materialise model_versions first")
    return champion
