"""A search for better settings of the networks that are on, judged on past origins within a time budget.

The days that judge are never those that a backtest or a challenge of the gate scores: the newest origin of a search ends its
days on the last day before the first of those, and nothing that became known later is read. So a night's backtest can still
say what the settings found are worth. Which origins: `search_origins`, as many as three, at least two, as far apart as those of
the backtest and as long.

A trial is one set of values (`search_space.py`). At each origin, newest first, every network that is on is fitted to all that
the origin knew, through the registry, and forecasts the days after it; the trial's score is the weighted quantile loss of all
of it. The first trial is today's settings. Optuna's TPE proposes the others; one that is worse than half of those before it at
an origin is given up there (MedianPruner).

Trials stand in the home (sqlite, one study per question asked: night, facts, settings, networks, machine). A search that was
killed goes on with the trials that it has, and with the training that it was at; what is proposed depends on seed and earlier
trials alone. What belongs here: trials. What does not: how origins are read (`pipeline/orchestration/tune.py`).
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import HistoryError, SettingsError, heed_stop
from pipeline.models import registry
from pipeline.models.base import Array, Compute, Forecaster, Progress, silent
from pipeline.models.networks.architectures import ARCHITECTURES
from pipeline.models.panel import Panel
from pipeline.models.quantiles import quantile_loss
from pipeline.settings import SETTINGS_FILE, Settings
from pipeline.training.search_space import applied, space, values_of
from pipeline.training.search_trials import (
    FAILED,
    LOSSES,
    SECONDS,
    TODAY,
    Found,
    complete,
    ended,
    has_today,
    trials_of,
)

if TYPE_CHECKING:
    import optuna

MAX_ORIGINS = 3
MIN_ORIGINS = 2
DATABASE = "search.db"
_FIRST_TRIALS = 8
"""Trials drawn by chance before TPE has enough to go by."""
_BEFORE_PRUNING = 4


@dataclass(frozen=True)
class Case:
    """One origin to judge by.

    Attributes:
        panel: what the origin knew; networks are fitted to all of it.
        scored: the series of it that are scored.
        actual: (S, H) units that came in the days after it.
    """

    panel: Panel
    scored: Panel
    actual: Array


@dataclass(frozen=True)
class Question:
    """What a search is about.

    Attributes:
        settings: the home's settings.
        networks: networks that are on.
        cases: origins, newest first. All their panels are held in memory.
        folder: folder of the trials.
        home: folder of the home.
        compute: what trainings may use of the machine.
        progress: told how far it is.
        clock: seconds.
    """

    settings: Settings
    networks: tuple[str, ...]
    cases: tuple[Case, ...]
    folder: Path
    home: Path
    compute: Compute = field(default_factory=Compute)
    progress: Progress = silent
    clock: Callable[[], float] = time.monotonic
    make: Callable[[str, Settings, Path | None], Forecaster] = registry.make

    @cached_property
    def name(self) -> str:
        """Name of the study: the newest origin, and a hash of all that shapes a trial."""
        training = self.settings.training
        shaping = {
            "training": training.model_dump(mode="json"),
            "members": {name: getattr(self.settings.members, name).model_dump(mode="json") for name in self.networks},
            "facts": [
                [case.panel.fingerprint(), case.scored.item_id.tolist(), case.scored.location.tolist()]
                for case in self.cases
            ],
            "actual": [hashlib.sha256(np.ascontiguousarray(case.actual).tobytes()).hexdigest() for case in self.cases],
            "space": {name: str(one) for name, one in self.space.items()},
            "machine": [self.compute.device, self.compute.mixed_precision],
        }
        digest = hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:16]
        return f"{self.cases[0].panel.as_of}-{digest}"

    @cached_property
    def space(self) -> "dict[str, optuna.distributions.BaseDistribution]":
        """What is tried."""
        longest = max((case.panel for case in self.cases), key=lambda panel: panel.history)
        return space(self.settings.training, longest.history, longest.series)

    @cached_property
    def items(self) -> tuple[NDArray[np.int64], ...]:
        """Item of each scored series of each case, by number."""
        every = np.concatenate([case.scored.item_id for case in self.cases])
        number = np.unique(every, return_inverse=True)[1]
        ends = np.cumsum([case.scored.series for case in self.cases])
        return tuple(np.split(number.astype(np.int64), ends[:-1]))


def networks_on(settings: Settings) -> tuple[str, ...]:
    """Networks among the members that are on.

    Raises:
        SettingsError: there are none.
    """
    found = tuple(name for name in ARCHITECTURES if getattr(settings.members, name).on)
    if not found:
        raise SettingsError(
            f"no network is on, so there is nothing to tune: set `on: true` for one of {', '.join(ARCHITECTURES)} "
            f"under `members` in {SETTINGS_FILE}"
        )
    return found


def search_origins(settings: Settings, first_day: date, last_day: date) -> tuple[date, ...]:
    """Origins of a search, newest first.

    Args:
        settings: all settings; `backtest` says how far apart origins are and how many days are judged.
        first_day: first day with demand.
        last_day: last day before those that a backtest or the gate scores; the newest origin's days end on it.

    Raises:
        HistoryError: not even two are possible.
    """
    backtest, needed = settings.backtest, settings.training.min_history_days
    newest = last_day - timedelta(days=backtest.horizon_days)
    asked = [newest - timedelta(days=backtest.every_days * k) for k in range(MAX_ORIGINS)]
    possible = tuple(origin for origin in asked if (origin - first_day).days + 1 >= needed)
    if len(possible) < MIN_ORIGINS:
        second = asked[MIN_ORIGINS - 1]
        had = max((second - first_day).days + 1, 0)
        raise HistoryError(
            f"too little history to tune on: {len(possible)} of {MIN_ORIGINS} origins are possible before the days that the "
            f"backtest scores, which begin on {last_day + timedelta(days=1)}. The second one would be {second}, with {had} days "
            f"of orders before it (they begin on {first_day}) where {needed} are needed (training.min_history_days); choose a "
            f"later --as-of, ingest older orders, or lower backtest.origins or backtest.every_days in {SETTINGS_FILE}"
        )
    return possible


def search(question: Question, *, minutes: float, trials: int | None = None) -> Found:
    """Try settings until the minutes are over.

    Args:
        question: what is searched, and by what it is judged.
        minutes: most minutes of this call; a trial is begun only when one like those before it would end in time.
        trials: most trials in all, those of earlier calls included; default: as many as fit.

    Raises:
        SettingsError: the minutes do not suffice for one trial.
        AlmanacError: today's settings cannot be trained.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    question.folder.mkdir(parents=True, exist_ok=True)
    deadline = question.clock() + 60 * minutes
    study = optuna.create_study(
        storage=f"sqlite:///{question.folder / DATABASE}",
        study_name=question.name,
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_BEFORE_PRUNING),
    )
    _take_up(study, question)
    made = 0
    while trials is None or len(ended(study)) < trials or not has_today(study):
        if not _fits(study, deadline - question.clock()):
            break
        study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=_FIRST_TRIALS, seed=_seed(question.settings.training.seed, len(ended(study)))
        )
        _try(study, study.ask(question.space), question, deadline)
        made += 1
    shutil.rmtree(question.folder / question.name, ignore_errors=True)
    return Found(
        study=question.name,
        origins=tuple(case.panel.as_of for case in question.cases),
        horizon=question.cases[0].actual.shape[1],
        networks=question.networks,
        trials=trials_of(study, question.settings),
        made=made,
    )


def _take_up(study: "optuna.Study", question: Question) -> None:
    """Begin with today's settings; a trial that was killed is proposed again, and finds its trainings where it left them."""
    from optuna.trial import TrialState

    for left in study.get_trials(states=(TrialState.RUNNING,)):
        # TPE knows nothing of it then, and proposes from the same trials and the same seed what it proposed before
        study.tell(left.number, state=TrialState.FAIL)
    queued = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    if not has_today(study) and not any(TODAY in one.user_attrs for one in queued):
        study.enqueue_trial(values_of(question.settings.training), user_attrs={TODAY: True})


def _try(study: "optuna.Study", trial: "optuna.Trial", question: Question, deadline: float) -> None:
    """One trial from end to end; one that cannot be trained is told like one that is bad, so that none like it follows."""
    import optuna

    settings = applied(question.settings, trial.params)
    folder = question.folder / question.name / _key(trial.params)
    is_today = TODAY in trial.user_attrs
    began = question.clock()
    try:
        losses, wql, trained = _judged(trial, settings, question, folder, deadline if is_today else None)
    except optuna.TrialPruned:
        trial.set_user_attr(SECONDS, question.clock() - began)
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except Exception as error:
        heed_stop(error)
        if is_today:
            raise
        trial.set_user_attr(SECONDS, question.clock() - began)
        trial.set_user_attr(FAILED, f"{type(error).__name__}: {error}")
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    else:
        # a trial that goes on with trainings of a killed search took longer than this call saw of it
        trial.set_user_attr(SECONDS, max(question.clock() - began, trained))
        trial.set_user_attr(LOSSES, losses.tolist())
        study.tell(trial, wql)
    # only now: a search that is killed before goes on with the trainings that it has
    shutil.rmtree(folder, ignore_errors=True)


def _judged(
    trial: "optuna.Trial", settings: Settings, question: Question, folder: Path, deadline: float | None
) -> tuple[Array, float, float]:
    """Loss by item and pooled WQL of a trial, and seconds of its trainings.

    Raises:
        TrialPruned: it is worse than half of the trials before it.
        SettingsError: with a deadline, the trial would not end by it.
    """
    import optuna

    began = question.clock()
    losses = np.zeros(1 + max(int(items.max()) for items in question.items))
    units = wql = trained = 0.0
    for number, (case, items) in enumerate(zip(question.cases, question.items, strict=True), start=1):
        for network in question.networks:
            where = f"{case.panel.as_of}-{network}"
            question.progress(f"trial {trial.number}: {where}", number - 1, len(question.cases))
            forecaster = question.make(network, settings, question.home)
            fitted = forecaster.fit(
                case.panel, folder=folder / where, compute=question.compute, progress=_within(question, trial.number)
            )
            trained += fitted.report.seconds
            losses += np.bincount(items, weights=_loss_of(fitted, case), minlength=len(losses))
        units += len(question.networks) * float(case.actual.sum())
        wql = float(losses.sum()) / units
        trial.report(wql, number)
        if number < len(question.cases):
            now = question.clock()
            _refuse_too_few(deadline, now, began, number / len(question.cases))
            if deadline is None and trial.should_prune():
                raise optuna.TrialPruned
    return losses, wql, trained


def _loss_of(fitted: Any, case: Case) -> Array:
    """Quantile loss of each scored series over its days."""
    series, days = case.actual.shape
    forecast = fitted.forecast(case.scored, days)
    loss = quantile_loss(case.actual.reshape(-1), forecast.quantiles.reshape(series * days, -1))
    by_series: Array = loss.reshape(series, days).sum(axis=1)
    return by_series


def _within(question: Question, number: int) -> Progress:
    def tell(what: str, done: int, of: int) -> None:
        question.progress(f"trial {number}, {what}", done, of)

    return tell


def _refuse_too_few(deadline: float | None, now: float, began: float, share: float) -> None:
    """Refuse minutes in which a trial cannot end, as soon as that is known."""
    if deadline is None or now + (now - began) * (1 / share - 1) <= deadline:
        return
    trial = (now - began) / share / 60
    raise SettingsError(
        f"--minutes: too few for one trial, which takes about {trial:.2g} minutes here; give at least {2.2 * trial:.2g} for "
        "today's settings and one other, and an hour or more to find anything (what was trained now is used again)"
    )


def _fits(study: "optuna.Study", left: float) -> bool:
    """Whether another trial would end in the seconds left; the first is begun in any case."""
    took = [t.user_attrs[SECONDS] for t in complete(study)]
    return not took or float(np.median(took)) <= left


def _key(params: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:16]


def _seed(seed: int, done: int) -> int:
    """Seed of the next proposal: one that only counted calls would propose the same again after a restart."""
    return int(np.random.default_rng([seed, 96, done]).integers(2**31))
