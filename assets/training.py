"""The night's model: drift measured, then the champion re-used, updated or set against a new network."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import dagster as dg

from assets.common import FACTS, markdown_table, metadata, table_spec
from pipeline.as_of import as_of_view
from pipeline.backtesting.challenge import challenge
from pipeline.errors import ModelError
from pipeline.models.base import Compute, Fitted, TrainingReport
from pipeline.models.ensemble import members_of
from pipeline.models.networks.architectures import ARCHITECTURES
from pipeline.models.networks.encoder import Encoder
from pipeline.models.networks.forecaster import FittedNetwork
from pipeline.settings import Settings
from pipeline.training.cadence import UPDATE, Decision, Trained, decide, network_of, recorded_trainings, settings_hash
from pipeline.training.drift import Measure, describe, drift_since, measure_drift, write_drift
from pipeline.training.gate import gate, served_out
from pipeline.training.panel import MAX_DAYS
from pipeline.training.recipe import Recipe, recipe_of
from pipeline.training.record import TrainingRecord
from pipeline.training.train import build_training_panel, make_forecaster
from pipeline.training.verdict import Evidence
from resources.compute import ComputeResource
from resources.lake import HomeResource, Work, as_of_of
from resources.tracking import ModelVersion, Tracking, TrackingResource

TABLES = ("drift", "champion_decisions", "champion_evidence", "model_versions")


@dataclass(frozen=True)
class _Champion:
    """The night's champion before it trains.

    Attributes:
        version: its version; None in a home without one.
        fitted: its forecaster.
        gone: why it cannot be loaded.
        network: the full training that it carries on.
    """

    version: ModelVersion | None
    fitted: Fitted | None
    gone: ModelError | None
    network: Trained | None

    def is_due(self, as_of: date, settings: Settings) -> bool:
        """Whether it is so old that a new network is due by now."""
        return self.network is not None and (as_of - self.network.as_of).days >= settings.training.retrain_every_days


def build(partitions: dg.PartitionsDefinition) -> dg.Definitions:
    """Assets of the stage."""
    specs = [table_spec(name, FACTS, partitions=partitions) for name in TABLES]

    @dg.multi_asset(name="training", specs=specs)
    def training(
        context: dg.AssetExecutionContext, home: HomeResource, compute: ComputeResource, tracking: TrackingResource
    ) -> Iterator[dg.MaterializeResult]:
        """Measure drift, and train when it is due; the gate says whether the new version becomes champion."""
        as_of = as_of_of(context)
        with home.work(context) as work:
            store = tracking.of(work.settings)
            for adopted in _adopt(work, store):
                work.tell(context, [f"{adopted} was registered by a run that was killed; its rows are written now"])
            trainings = recorded_trainings(work.lake)
            measures = _drift(work, store, as_of, trainings)
            champion = store.champion(as_of)
            picked = compute.pick(work.settings.compute)
            serving, gone = _load(store, champion, picked)
            decision = decide(
                trainings,
                as_of,
                work.settings.training,
                shaped_by=settings_hash(work.lake, work.settings, as_of),
                champion=champion.model_version if champion else None,
                drift=describe(measures) if work.settings.drift.retrain else "",
            )
            if gone:
                decision = Decision("full", f"the champion cannot serve any more: {gone}")
            shown: dict[str, object] = {"decision": decision.action, "why": decision.reason}
            if decision.action == "reuse":
                rows = {"drift": len(measures)}
                shown["model_version"] = champion.model_version if champion else ""
            else:
                present = _Champion(
                    champion, serving, gone, network_of(trainings, champion.model_version) if champion else None
                )
                trained, origins = _train(context, work, store, decision, as_of=as_of, present=present, picked=picked)
                rows = dict.fromkeys(TABLES, 1) | {"drift": len(measures), "champion_evidence": origins}
                shown |= trained
            drifted = markdown_table([vars(one) | {"is_drift": one.is_drift} for one in measures])
            for name in TABLES:
                more = {"measures": drifted} if name == "drift" else shown
                yield dg.MaterializeResult(
                    name, metadata=metadata(rows=rows.get(name, 0), seconds=work.seconds, **more)
                )

    return dg.Definitions(assets=[training])


def _adopt(work: Work, store: Tracking) -> list[str]:
    """Write the rows of versions that a killed run registered: trained again, they would have other numbers."""
    recorded = {one.model_version for one in recorded_trainings(work.lake)}
    adopted = []
    for version in store.unrecorded(recorded):
        record = TrainingRecord.from_tags(version.tags)
        if record is not None:
            store.settle(version)
            record.write(work.lake, version.model_version, run_id=version.run_id, made_at=version.made_at)
            adopted.append(version.model_version)
    return adopted


def _drift(work: Work, store: Tracking, as_of: date, trainings: list[Trained]) -> list[Measure]:
    """The drift of the night against the network that served until then, measured and written."""
    # the champion of the night before: a night that is run again after it trained measures what it did at first
    champion = store.champion(as_of - timedelta(days=1))
    network = network_of(trainings, champion.model_version) if champion else None
    if champion is None or network is None:
        return []
    settings = work.settings
    since = drift_since(network.as_of, as_of, settings.drift)
    with as_of_view(work.lake, as_of, by_location=settings.shop.by_location, since=since) as view:
        measures = measure_drift(view, work.lake, settings.drift, network.as_of)
    write_drift(work.lake, as_of, champion.model_version, measures)
    return measures


def _train(
    context: dg.AssetExecutionContext,
    work: Work,
    store: Tracking,
    decision: Decision,
    *,
    as_of: date,
    present: "_Champion",
    picked: Compute,
) -> tuple[dict[str, object], int]:
    """Train, judge, register and write down; what of it is shown, and at how many past origins it was tried."""
    settings, home = work.settings, work.lake.home
    checkpoints = home / "training" / as_of.isoformat()
    forecaster = make_forecaster(settings, home, _encoders(store, settings, as_of))
    since = as_of - timedelta(days=MAX_DAYS - 1)
    with as_of_view(work.lake, as_of, by_location=settings.shop.by_location, since=since) as view:
        # refused before MLflow hears of a run: too little history, nothing sold
        panel = build_training_panel(view, settings, home=home)
        snapshot = view.snapshot
    recipe = recipe_of(work.lake, settings, as_of)
    champion, serving, gone = present.version, present.fitted, present.gone
    start = serving if decision.action == UPDATE else None
    with store.training_run(
        as_of=as_of, kind=forecaster.name, compute=picked, settings=settings, dagster_run_id=context.run_id
    ) as run:
        run.log_data(snapshot, {"series": panel.series, "days": panel.history})
        run.log_recipe(recipe.to_json())
        fitted = forecaster.fit(panel, folder=checkpoints, compute=picked, progress=work.progress, start=start)
        run.log_fitted(fitted)
        for member in members_of(fitted).values():
            if isinstance(member, FittedNetwork) and member.encoder is not None:
                store.register_encoder(run, member.encoder)
        verdict = (
            served_out(gone)
            if gone
            else gate(
                panel,
                fitted,
                serving,
                kind=decision.action,
                champion_as_of=champion.as_of if champion else None,
                days=int(fitted.report.parameters.get("validation_days", 0)),
                seed=settings.training.seed,
                challenge=_challenge(work, store, recipe, champion, as_of=as_of, picked=picked) if champion else None,
                is_due=present.is_due(as_of, settings),
            )
        )
        run.log_decision(verdict.to_json())
        record = TrainingRecord(
            as_of=as_of,
            data_snapshot=snapshot,
            settings_hash=recipe.hash,
            kind=decision.action,
            parent=champion.model_version if champion and start else "",
            reason=decision.reason,
            device=picked.device,
            seconds=fitted.report.seconds,
            champion=champion.model_version if champion else "",
            verdict=verdict,
        )
        version = store.register(run, fitted, panel, promote=verdict.promoted, tags=record.tags())
        record.write(work.lake, version.model_version, run_id=version.run_id, made_at=version.made_at)
    shutil.rmtree(checkpoints, ignore_errors=True)
    if left_out := fitted.report.parameters.get("degraded"):
        work.tell(context, [f"DEGRADED: {version.model_version} was trained without some members. {left_out}"])
    if not verdict.promoted:
        work.tell(context, [f"{version.model_version} does not become champion: {verdict.reason}"])
    report = fitted.report
    return {
        "model_version": version.model_version,
        "promoted": verdict.promoted,
        "rule": verdict.rule,
        "verdict": verdict.reason,
        "origins": markdown_table([vars(one) for one in verdict.origins]),
        "series": panel.series,
        "members": ", ".join(report.parts),
        "degraded": report.parameters.get("degraded") or "no",
        "stopped": report.stopped,
        "curves": _curves({fitted.name: report, **report.parts}),
        "mlflow_run": version.run_id,
    }, len(verdict.origins)


def _curves(reports: Mapping[str, TrainingReport]) -> dg.MarkdownMetadataValue:
    """A table for each that has curves; every member has its own."""
    tables = {
        name: markdown_table(
            [
                {"step": step, **dict(zip(report.curves, values, strict=True))}
                for step, *values in zip(report.steps, *report.curves.values(), strict=False)
            ]
        )
        for name, report in reports.items()
        if report.curves
    }
    return dg.MetadataValue.md("\n\n".join(f"**{name}**\n\n{table.md_str}" for name, table in tables.items()))


def _encoders(store: Tracking, settings: Settings, as_of: date) -> dict[str, Encoder]:
    """Stored encoders that tonight's new networks start from, by architecture."""
    if settings.training.pretrain_steps == 0:
        return {}
    oldest = as_of - timedelta(days=settings.training.pretrain_every_days - 1)
    # of earlier nights: a run that was killed may have stored tonight's, and its repeat must end in the same bytes
    newest = as_of - timedelta(days=1)
    found = {kind: store.encoder(kind, not_after=newest, not_before=oldest) for kind in ARCHITECTURES}
    return {kind: encoder for kind, encoder in found.items() if encoder is not None}


def _load(store: Tracking, champion: ModelVersion | None, picked: Compute) -> tuple[Fitted | None, ModelError | None]:
    """The champion's forecaster, or why it cannot be loaded: a network that an older Almanac stored must not stop a new one."""
    try:
        return (store.load(champion, picked) if champion else None), None
    except ModelError as error:
        return None, error


def _challenge(
    work: Work, store: Tracking, recipe: Recipe, champion: ModelVersion, *, as_of: date, picked: Compute
) -> Callable[[], Evidence] | None:
    """What sets tonight's recipe beside the champion's at past origins; None where both are the same: a renewal."""
    if champion.tags.get("settings_hash") == recipe.hash:
        return None
    stored = store.recipe(champion.run_id)
    if stored is None:
        told = f"no recipe is kept with {champion.model_version}: an older Almanac trained it"
        return lambda: Evidence(unjudged=told)
    theirs = Recipe.from_json(stored)
    if recipe.makes_the_model_of(theirs):
        told = (
            "only what is asked of the model has changed (calendar, countries, forecast.horizon_days, shop.by_location)"
        )
        return lambda: Evidence(unjudged=told)
    return lambda: challenge(
        work.lake,
        work.settings,
        recipe,
        theirs,
        as_of,
        compute=picked,
        workdir=work.lake.home / "training" / "backtest",
        progress=work.progress,
    )
