"""Past seasons forecast again with what was known then, and scored."""

from collections.abc import Iterator, Sequence
from datetime import date

import dagster as dg
import pyarrow as pa

from assets.common import (
    CONTROLS_TAG,
    FACTS,
    LEADERBOARD_TAG,
    inline_png,
    markdown_table,
    metadata,
    records,
    table_spec,
)
from pipeline.backtesting.backtest import run_backtest
from pipeline.backtesting.leaderboard import MEMBERS, write_leaderboard
from pipeline.backtesting.plots import item_fans, plot_wql_by_horizon
from pipeline.errors import HistoryError
from pipeline.models.registry import MODEL
from pipeline.training.cadence import UPDATE, settings_hash
from resources.compute import ComputeResource
from resources.lake import HomeResource, as_of_of
from resources.tracking import ModelVersion, TrackingResource

TABLES = ("backtest_forecasts", "backtest_sums", "backtest_scores")
_OTHER_SETTINGS = "the champion was trained with other settings than today's; champion_evidence sets them side by side"


def build(partitions: dg.PartitionsDefinition) -> dg.Definitions:
    """Assets of the stage."""
    specs = [table_spec(name, (*FACTS, "model_versions"), partitions=partitions) for name in TABLES]

    @dg.multi_asset(name="backtesting", specs=specs)
    def backtesting(
        context: dg.AssetExecutionContext, home: HomeResource, compute: ComputeResource, tracking: TrackingResource
    ) -> Iterator[dg.MaterializeResult]:
        """Score the model beside the baselines; a night that goes on with its network re-uses its backtest too."""
        as_of = as_of_of(context)
        with home.work(context) as work:
            champion = tracking.of(work.settings).champion(as_of)
            reused = _reused(champion, as_of, [night["as_of"] for night in work.lake.partitions("backtest_scores")])
            # the settings speak for the champion, unless theirs lost to it or a person rolled back
            own = champion is None or _settings_of(champion) in {"", settings_hash(work.lake, work.settings, as_of)}
            if context.job_name == "night" and (reused or not own):
                told = {"reused": f"backtest as of {reused}"} if reused else {"skipped": _OTHER_SETTINGS}
                for name in TABLES:
                    yield dg.MaterializeResult(name, metadata=metadata(rows=0, seconds=work.seconds, **told))
                return
            try:
                report = run_backtest(
                    work.lake,
                    work.settings,
                    as_of,
                    compute=compute.pick(work.settings.compute),
                    workdir=home.path / "training" / "backtest",
                    progress=work.progress,
                    models=MEMBERS if LEADERBOARD_TAG in context.run.tags else (),
                    controls=context.run.tags.get(CONTROLS_TAG, "").split(),
                )
            except HistoryError as error:
                if context.job_name != "night":
                    raise
                # a young shop can be forecast before it can be scored
                context.log.warning(str(error))
                for name in TABLES:
                    yield dg.MaterializeResult(
                        name, metadata=metadata(rows=0, seconds=work.seconds, skipped=str(error))
                    )
                return
            if champion and champion.as_of == as_of and own:
                run = tracking.of(work.settings).run(champion.run_id)
                run.log_scores(pa.Table.from_pandas(report.scores, preserve_index=False))
                by_location = work.settings.shop.by_location
                run.log_plots(item_fans(work.lake, as_of, MODEL, by_location=by_location))
            work.tell(context, [f"DEGRADED: the backtest scores {told}" for told in report.degraded.values()])
            if LEADERBOARD_TAG in context.run.tags:
                board = write_leaderboard(report, home.path / "report" / "leaderboard")
                if champion:
                    tracking.of(work.settings).run(champion.run_id).log_files((board.csv, board.picture), "leaderboard")
            shown = {
                "failed": "; ".join(f"{model}: {why}" for model, why in report.failed.items()) or "none",
                "degraded": "; ".join(report.degraded.values()) or "none",
                "scores": markdown_table(records(report.summary.reset_index())),
                "wql_by_horizon": dg.MetadataValue.md(inline_png(plot_wql_by_horizon(report.scores))),
                "origins": ", ".join(map(str, report.origins)),
                "skipped": "; ".join(f"{day}: {why}" for day, why in report.skipped.items()) or "none",
            }
            for name, rows in zip(TABLES, (report.rows, report.sum_rows, report.score_rows), strict=True):
                yield dg.MaterializeResult(name, metadata=metadata(rows=rows, seconds=work.seconds, **shown))

    return dg.Definitions(assets=[backtesting])


def _settings_of(champion: ModelVersion) -> str:
    """Hash of the settings that a champion was trained with; empty where it was registered by other means."""
    return champion.tags.get("settings_hash", "")


def _reused(champion: ModelVersion | None, as_of: date, scored: Sequence[str]) -> str:
    """Night whose backtest speaks for tonight's champion; empty when it must be scored.

    A night that trained a network scores it, also when it is run again: the origins' cache makes that cheap. An update is
    judged by the gate, and any backtest before it speaks for what the forecaster can do.
    """
    if champion is None:
        return ""
    if champion.kind == UPDATE:
        return max((night for night in scored if night < as_of.isoformat()), default="")
    night = champion.as_of.isoformat()
    return night if champion.as_of < as_of and night in scored else ""
