"""Two recipes at the same past origins: what the gate judges a challenge by.

Both are fitted at each origin with what that origin knew, through the views, panels and cache of the backtest: what a
backtest has forecast already costs nothing here, and what is forecast here costs the next backtest nothing.
What belongs here: the scores. What does not: the rule that judges them (`pipeline/training/gate.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from pipeline.as_of import AsOfView, as_of_view
from pipeline.backtesting import scores
from pipeline.backtesting.backtest import actuals, budgeted
from pipeline.backtesting.origin_forecasts import Maker, OriginForecasts, OriginWork
from pipeline.backtesting.origins import Plan, plan_origins
from pipeline.backtesting.scoring import OriginSeries
from pipeline.backtesting.store import Store
from pipeline.enrichment.language_model import find_language_model
from pipeline.errors import HistoryError, ModelError, SettingsError
from pipeline.lake import Lake
from pipeline.models import registry
from pipeline.models.base import Array, Compute, Progress, silent
from pipeline.models.quantiles import quantile_loss
from pipeline.settings import Settings
from pipeline.training.gate import MIN_ORIGINS
from pipeline.training.panel import MAX_DAYS
from pipeline.training.recipe import Recipe
from pipeline.training.verdict import Comparison, Evidence, OriginScores

MAX_ORIGINS = 12
"""Origins of a challenge at most, the newest: each one is two trainings."""


@dataclass(frozen=True)
class _Origin:
    """One origin that both recipes have forecast, the challenger's first; N forecasts, series by series, day by day.

    Attributes:
        series: the scored series.
        actual: (N,) units that came.
        losses: (N,) quantile loss of each recipe.
        means: (N,) expected units of each recipe.
    """

    series: OriginSeries
    actual: Array
    losses: tuple[Array, Array]
    means: tuple[Array, Array]

    def scores(self) -> OriginScores:
        """Scores of the origin alone."""
        units = float(self.actual.sum())
        return OriginScores(
            origin=self.series.origin,
            challenger_wql=float(self.losses[0].sum()) / units,
            champion_wql=float(self.losses[1].sum()) / units,
            challenger_bias=scores.bias(self.actual, self.means[0]),
            champion_bias=scores.bias(self.actual, self.means[1]),
            series=len(self.series.item_id),
        )


def challenge(
    lake: Lake,
    settings: Settings,
    challenger: Recipe,
    champion: Recipe,
    as_of: date,
    *,
    compute: Compute,
    workdir: Path,
    progress: Progress = silent,
    make: Maker | None = None,
) -> Evidence:
    """Set two recipes side by side at past origins.

    Args:
        lake: the home's lake.
        settings: all settings; `backtest` says which origins (at least three), horizon and items.
        challenger: the recipe of the new version.
        champion: that of the version that serves.
        as_of: the night; nothing that became known later is scored or read.
        compute: what the forecasters may use of the machine.
        workdir: the folder of the backtest, whose forecasts are used again.
        progress: told (what, done, of).
        make: makes a forecaster by name; by default the registry's.

    Returns:
        The evidence; without scores where fewer than three origins are possible, for nothing is trained then.
    """
    by_location = settings.shop.by_location
    with as_of_view(lake, as_of, by_location=by_location, since=as_of) as night:
        plan = _plan(settings, night.first_day, as_of)
    if len(plan.origins) < MIN_ORIGINS:
        return Evidence(missing=_told(plan.skipped))
    made_by = make or registry.make
    try:
        theirs = _tried(champion, settings, made_by, lake.home)
    except (ModelError, SettingsError) as error:
        return Evidence(unjudged=f"the recipe of the champion cannot be tried any more ({error})")
    trials = [(one, budgeted(by)) for one, by in ((challenger.model, settings), (champion.model, theirs))]
    if trials[0] == trials[1]:
        return Evidence(
            unjudged="at past origins both are trained the same (backtest.max_seconds, or texts known since)"
        )
    store = Store(workdir / "origins")
    mine, their = (
        OriginWork(by, (model,), made_by, compute, store, lake.home, progress, 2 * len(plan.origins))
        for model, by in trials
    )
    done, skipped = _forecast(lake, mine, their, plan)
    found: list[_Origin] = []
    if done:
        with as_of_view(lake, as_of, by_location=by_location, since=plan.origins[0]) as night:
            found = [_read(night, store, pair, settings.backtest.horizon_days) for pair in done]
    store.tidy({file for pair in done for one in pair for file in one.files.values()})
    scored = [one for one in found if one.actual.sum() > 0]
    skipped |= {one.series.origin: "nothing was sold after it" for one in found if one.actual.sum() <= 0}
    pooled = _pooled(scored, settings) if scored else None
    return Evidence(tuple(one.scores() for one in scored), pooled, _told(skipped))


def _tried(champion: Recipe, settings: Settings, make: Maker, home: Path) -> Settings:
    """Settings by which the champion's recipe can be fitted today.

    Raises:
        ModelError: a setting, the forecaster or the language model of the recipe is not there any more.
        SettingsError: the same.
    """
    theirs = champion.applied_to(settings)
    make(champion.model, theirs, home)
    if champion.text and find_language_model(theirs.language_model, home=home).model_id != champion.text:
        raise ModelError(f"language_model {theirs.language_model.model} is not the {champion.text} that it read")
    return theirs


def _forecast(
    lake: Lake, mine: OriginWork, theirs: OriginWork, plan: Plan
) -> tuple[list[tuple[OriginForecasts, OriginForecasts]], dict[date, str]]:
    """Forecast the origins with both recipes; an origin is there for both or, with the reason, for none."""
    done: list[tuple[OriginForecasts, OriginForecasts]] = []
    skipped = dict(plan.skipped)
    for number, origin in enumerate(plan.origins):
        try:
            done.append((_one(lake, mine, origin, 2 * number), _one(lake, theirs, origin, 2 * number + 1)))
        except (HistoryError, ModelError) as error:
            skipped[origin] = str(error)
    return done, skipped


def _one(lake: Lake, work: OriginWork, origin: date, number: int) -> OriginForecasts:
    since = origin - timedelta(days=MAX_DAYS - 1)
    # a view of its own for each recipe: a view remembers the language model that it was first asked with
    with as_of_view(lake, origin, by_location=work.settings.shop.by_location, since=since) as view:
        found = work.forecast(view, number)
    if found.degraded:
        # without that member it is not the recipe that is asked about
        raise ModelError("; ".join(found.degraded.values()))
    return found


def _read(night: AsOfView, store: Store, pair: tuple[OriginForecasts, OriginForecasts], horizon: int) -> _Origin:
    """Both forecasts of an origin beside what came."""
    series = pair[0].series
    if series.item_id.tolist() != pair[1].series.item_id.tolist():
        raise ValueError(f"{series.origin}: the recipes have forecast other series")
    came = actuals(night, series, horizon).reshape(-1)
    read = [store.read(file, len(series.item_id)) for one in pair for file in one.files.values()]
    new, old = ((mean, quantile_loss(came, quantiles)) for mean, quantiles in read)
    return _Origin(series, came, (new[1], old[1]), (new[0], old[0]))


def _pooled(scored: Sequence[_Origin], settings: Settings) -> Comparison:
    """All origins together; the bootstrap draws items, each with all its origins."""
    horizon = settings.backtest.horizon_days
    actual = np.concatenate([one.actual for one in scored])
    new, old = (np.concatenate([one.losses[which] for one in scored]) for which in (0, 1))
    new_mean, old_mean = (np.concatenate([one.means[which] for one in scored]) for which in (0, 1))
    items, item = np.unique(
        np.concatenate([np.repeat(one.series.item_id, horizon) for one in scored]), return_inverse=True
    )
    gain = scores.paired_gain(new, old, item, seed=settings.training.seed)
    units = float(actual.sum())
    days = [one.series.origin for one in scored]
    return Comparison(
        first_day=min(days) + timedelta(days=1),
        last_day=max(days) + timedelta(days=horizon),
        series=len(items),
        challenger_wql=float(new.sum()) / units,
        champion_wql=float(old.sum()) / units,
        # a gain of 3 % is a change of -3 %
        change_low=-gain.high,
        change_high=-gain.low,
        challenger_bias=scores.bias(actual, new_mean),
        champion_bias=scores.bias(actual, old_mean),
        forgetting=None,
    )


def _plan(settings: Settings, first_day: date, as_of: date) -> Plan:
    """Origins of a challenge: those of the backtest, but no fewer than the gate asks for and not too many."""
    backtest = settings.backtest
    most = min(max(backtest.origins, MIN_ORIGINS), MAX_ORIGINS)
    asked = backtest.model_copy(update={"origins": most, "on": tuple(sorted(set(backtest.on)))[-MAX_ORIGINS:]})
    plan = plan_origins(settings.model_copy(update={"backtest": asked}), first_day, as_of)
    if backtest.on and len(plan.origins) < MIN_ORIGINS:
        rolling = settings.model_copy(update={"backtest": asked.model_copy(update={"on": ()})})
        return plan_origins(rolling, first_day, as_of)
    return plan


def _told(skipped: Mapping[date, str]) -> str:
    return "; ".join(f"{origin}: {why}" for origin, why in sorted(skipped.items()))
