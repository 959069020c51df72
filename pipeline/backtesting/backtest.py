"""The backtest of a night: the forecasters at past origins, each knowing what that origin knew, scored by what came.

Every origin goes through the same `as_of_view`, `build_panel` and `make` as the night itself, so a leak would have to
be in the night too. What came is read through the view of the night that runs the backtest, never through later facts.
What belongs here: the order of the work and its report. Scores are in `scores.py`, the slices in `slices.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.as_of import AsOfView, as_of_view
from pipeline.backtesting.origin_forecasts import Maker, OriginForecasts, OriginWork
from pipeline.backtesting.origins import plan_origins
from pipeline.backtesting.scoring import POOLED, OriginFacts, OriginSeries, score_frame, score_models, summary
from pipeline.backtesting.slices import holiday_week
from pipeline.backtesting.store import Store
from pipeline.backtesting.sums import score_sums
from pipeline.errors import HistoryError
from pipeline.lake import Lake
from pipeline.model_settings import MemberSettings
from pipeline.models.base import Array, Compute, Progress, silent
from pipeline.models.controls import under
from pipeline.models.registry import MODEL
from pipeline.settings import Settings
from pipeline.training.panel import MAX_DAYS

SUMMARY_METRICS = (
    "wql", "wape", "wape_total", "bias", "rmsse", "mase", "coverage_50", "coverage_80", "coverage_90",
    "pit_coverage_80", "wql_week", "wql_total", "coverage_80_week", "coverage_80_total",
)  # fmt: skip

COSTS = ("seconds", "peak_mb")
"""What making the forecasts took: seconds of fitting and forecasting, all origins; memory at its highest."""
DEGRADED = "degraded_origins"
"""Metric: at how many origins an ensemble answered without some of its members; not there where it always had all."""

_ROOM = Path(__file__).parent
_FORECASTS_SQL, _SUMS_SQL, _HOLIDAYS_SQL, _ACTUALS_SQL = (
    (_ROOM / name).read_text(encoding="utf-8")
    for name in ("backtest_forecasts.sql", "backtest_sums.sql", "holidays.sql", "actuals.sql")
)


@dataclass(frozen=True)
class BacktestReport:
    """What a backtest did.

    Attributes:
        as_of: the night.
        origins: origins that were scored, earliest first.
        skipped: origins asked for that were not possible, with the reason.
        models: forecasters that were scored, the model under test first.
        failed: forecasters that could not answer at every origin, with the reason.
        degraded: ensembles that answered without some of their members at an origin, with the reason.
        items: scored series per origin.
        rows: rows of `backtest_forecasts`.
        sum_rows: rows of `backtest_sums`.
        score_rows: rows of `backtest_scores`.
        seconds: seconds of fitting and forecasting per model, all origins; earlier work that was used again counts
            with what it took then.
        fallbacks: series per model, all origins, for which a simpler forecaster had to answer.
        reused: forecasts (origin and model) taken from the cache.
        summary: model × pooled metric (`SUMMARY_METRICS`), with `COSTS` and `fallbacks`.
        scores: all rows of `backtest_scores` but the night.
    """

    as_of: date
    origins: tuple[date, ...]
    skipped: Mapping[date, str]
    models: tuple[str, ...]
    failed: Mapping[str, str]
    degraded: Mapping[str, str]
    items: tuple[int, ...]
    rows: int
    sum_rows: int
    score_rows: int
    seconds: Mapping[str, float]
    fallbacks: Mapping[str, int]
    reused: int
    summary: pd.DataFrame = field(repr=False)
    scores: pd.DataFrame = field(repr=False)


def run_backtest(
    lake: Lake,
    settings: Settings,
    as_of: date,
    *,
    compute: Compute,
    workdir: Path,
    progress: Progress = silent,
    make: Maker | None = None,
    models: Sequence[str] = (),
    controls: Sequence[str] = (),
) -> BacktestReport:
    """Forecast from past origins, score against what came, and write the tables of the night.

    Args:
        lake: the home's lake.
        settings: all settings; `backtest` says which origins, horizon, items and references.
        as_of: the night; nothing that became known later is scored or read.
        compute: what the forecasters may use of the machine.
        workdir: folder for trainings under way and for forecasts to be used again; may be deleted at any time.
        progress: told (what, done, of).
        make: makes a forecaster by name; by default the registry's.
        models: forecasters beside the night's model; default: `backtest.baselines`.
        controls: of `pipeline.models.controls`: the night's model is scored under each too.

    Raises:
        HistoryError: nothing was known on the night, or not one origin is possible.
    """
    from pipeline.models import registry

    beside = [name for name in models or settings.backtest.baselines if name != MODEL]
    asked = (MODEL, *(under(MODEL, control) for control in controls), *beside)
    by_location = settings.shop.by_location
    with as_of_view(lake, as_of, by_location=by_location, since=as_of) as night:
        plan = plan_origins(settings, night.first_day, as_of)
    if not plan.origins:
        raise plan.too_little(settings, plan.skipped)

    store = Store(workdir / "origins")
    work = OriginWork(
        budgeted(settings), asked, make or registry.make, compute, store, lake.home, progress, len(plan.origins)
    )
    skipped = dict(plan.skipped)
    done: list[OriginForecasts] = []
    for number, origin in enumerate(plan.origins):
        try:
            since = origin - timedelta(days=MAX_DAYS - 1)
            with as_of_view(lake, origin, by_location=by_location, since=since) as view:
                done.append(work.forecast(view, number))
        except HistoryError as error:
            # all models of an origin or none: pooled scores must be over the same forecasts
            skipped[origin] = str(error)
    if not done:
        raise plan.too_little(settings, skipped)
    failed = {model: why for one in reversed(done) for model, why in one.failed.items()}
    scored = tuple(model for model in asked if model not in failed)

    progress("score", 0, 1)
    # scored is what came after the first origin
    with as_of_view(lake, as_of, by_location=by_location, since=plan.origins[0]) as night:
        frame = _scores(night, settings, done, scored, store)
        night.con.execute("SET VARIABLE files = $1::VARCHAR[]", [[str(o.files[m]) for o in done for m in scored]])
        partition = {"as_of": as_of.isoformat()}
        rows = lake.write(night.con, "backtest_forecasts", partition, _FORECASTS_SQL)
        sum_rows = lake.write(night.con, "backtest_sums", partition, _SUMS_SQL)
        costs = {model: _costs(model, done) for model in scored}
        frame = pd.concat([frame, _cost_rows(costs)], ignore_index=True)
        table = pa.Table.from_pandas(frame, preserve_index=False)
        score_rows = lake.write(night.con, "backtest_scores", partition, table)
    store.tidy({path for one in done for path in one.files.values()})
    progress("score", 1, 1)
    fallbacks = {m: sum(o.made[m].fallbacks for o in done) for m in scored}
    pooled = summary(frame, SUMMARY_METRICS)
    return BacktestReport(
        as_of=as_of,
        origins=tuple(one.series.origin for one in done),
        skipped=skipped,
        models=scored,
        failed=failed,
        degraded={model: why for one in reversed(done) for model, why in one.degraded.items()},
        items=tuple(len(one.series.item_id) for one in done),
        rows=rows,
        sum_rows=sum_rows,
        score_rows=score_rows,
        seconds={model: cost["seconds"] for model, cost in costs.items()},
        fallbacks=fallbacks,
        reused=sum(one.reused for one in done),
        summary=pooled.assign(
            **{name: [costs[m][name] for m in pooled.index] for name in COSTS},
            fallbacks=[fallbacks[m] for m in pooled.index],
        ),
        scores=frame,
    )


def budgeted(settings: Settings) -> Settings:
    """The settings with the training budget of one origin, for every member."""
    seconds = settings.backtest.max_seconds
    if seconds is None:
        return settings
    own = {
        name: member.model_copy(update={"max_seconds": min(member.max_seconds, seconds)})
        for name in type(settings.members).model_fields
        if isinstance(member := getattr(settings.members, name), MemberSettings) and member.has_own_budget
    }
    training = settings.training.model_copy(update={"max_seconds": seconds})
    return settings.model_copy(update={"training": training, "members": settings.members.model_copy(update=own)})


def _scores(
    night: AsOfView, settings: Settings, done: Sequence[OriginForecasts], models: Sequence[str], store: Store
) -> pd.DataFrame:
    found = night.con.execute(_HOLIDAYS_SQL, {"countries": list(settings.holiday_countries)}).fetchall()
    holidays = {day for (day,) in found}
    horizon = settings.backtest.horizon_days
    facts = [
        OriginFacts(one.series, actuals(night, one.series, horizon), holiday_week(one.series.origin, horizon, holidays))
        for one in done
    ]
    files = {one.series.origin: one.files for one in done}

    def read(model: str, of: OriginFacts) -> tuple[Array, Array]:
        return store.read(files[of.origin][model], len(of.actual))

    def read_sums(model: str, of: OriginFacts) -> tuple[Array, Array]:
        return store.read_sums(files[of.origin][model], len(of.actual))

    days = score_models(facts, models, read)
    return pd.concat([days, score_frame(score_sums(facts, models, read_sums))], ignore_index=True)


def _costs(model: str, done: Sequence[OriginForecasts]) -> dict[str, float]:
    """What a model cost, and at how many origins it lacked members, where there are such."""
    made = [one.made[model] for one in done]
    lacking = sum(bool(one.failed) for one in made)
    return {
        "seconds": sum(one.fit_seconds + one.forecast_seconds for one in made),
        "peak_mb": max(one.peak_mb for one in made),
        **({DEGRADED: float(lacking)} if lacking else {}),
    }


def _cost_rows(costs: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    return score_frame(
        (model, POOLED, POOLED, POOLED, name, value, 0) for model, cost in costs.items() for name, value in cost.items()
    )


def actuals(night: AsOfView, series: OriginSeries, horizon: int) -> Array:
    """Units that came in the days after the origin (S, H), as the night knows them."""
    found = night.con.execute(_ACTUALS_SQL, {"origin": series.origin, "horizon": horizon}).fetchnumpy()
    row = {key: k for k, key in enumerate(zip(series.item_id.tolist(), series.location.tolist(), strict=True))}
    came = np.zeros((len(row), horizon))
    keys = zip(found["item_id"].tolist(), found["location"].tolist(), strict=True)
    at = np.array([row.get(key, -1) for key in keys], dtype=np.int64)
    mine = at >= 0
    came[at[mine], found["horizon_days"][mine] - 1] = found["units"][mine]
    return came
