"""The trials of a search as they stand in its study, and what they amount to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from pipeline.models.base import Array
from pipeline.settings import Settings
from pipeline.training.search_space import applied, changes, values_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

TODAY, SECONDS, LOSSES, FAILED = "today", "seconds", "losses", "failed"
"""What a trial is noted with: that it is today's settings, its duration, its loss by item, why it could not be trained."""
_STATES = ("complete", "given up", "failed")


@dataclass(frozen=True)
class Trial:
    """One set of values that was tried.

    Attributes:
        number: number in the study.
        values: what was tried.
        changed: those of them that differ from today's.
        wql: pooled weighted quantile loss of all origins; of those done where it was given up, NaN for none.
        state: complete, given up, or failed.
        seconds: duration.
        losses: quantile loss by item, for comparisons; empty unless complete.
        is_today: today's settings.
        why: what made it fail.
    """

    number: int
    values: Mapping[str, float]
    changed: Mapping[str, float]
    wql: float
    state: str
    seconds: float
    losses: Array = field(repr=False)
    is_today: bool = False
    why: str = ""


@dataclass(frozen=True)
class Found:
    """What a search has found so far.

    Attributes:
        study: name of the study.
        origins: origins that judged, newest first.
        horizon: days after each.
        networks: networks that were trained.
        trials: all trials, best first, those given up and failed after the complete ones.
        made: trials made now; the others are of earlier calls.
    """

    study: str
    origins: tuple[date, ...]
    horizon: int
    networks: tuple[str, ...]
    trials: tuple[Trial, ...]
    made: int

    @property
    def today(self) -> Trial:
        """The trial of today's settings."""
        return next(one for one in self.trials if one.is_today)

    @property
    def best(self) -> Trial:
        """The best complete trial; today's where none is better."""
        return self.trials[0] if self.trials[0].wql < self.today.wql else self.today


def complete(study: "Study") -> "list[FrozenTrial]":
    """Trials that were judged at all origins."""
    return [one for one in ended(study) if LOSSES in one.user_attrs]


def ended(study: "Study") -> "list[FrozenTrial]":
    """Trials that came to an end: complete, given up or failed."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def has_today(study: "Study") -> bool:
    """Whether today's settings were judged."""
    return any(TODAY in one.user_attrs for one in complete(study))


def trials_of(study: "Study", settings: Settings) -> tuple[Trial, ...]:
    """All trials that ended, best first.

    Args:
        study: the study.
        settings: the home's settings, around which it searched.
    """
    trials = [_trial(one, settings) for one in ended(study)]
    return tuple(sorted(trials, key=lambda one: (_STATES.index(one.state), 0.0 if one.why else one.wql, one.number)))


def _trial(one: "FrozenTrial", settings: Settings) -> Trial:
    failed = one.user_attrs.get(FAILED, "")
    tried = applied(settings, one.params).training
    return Trial(
        number=one.number,
        values=values_of(tried),
        changed=changes(settings.training, tried),
        wql=float("nan") if one.value is None or failed else float(one.value),
        state="failed" if failed else "complete" if LOSSES in one.user_attrs else "given up",
        seconds=float(one.user_attrs.get(SECONDS, 0.0)),
        losses=np.array(one.user_attrs.get(LOSSES, []), dtype=np.float64),
        is_today=TODAY in one.user_attrs,
        why=failed,
    )
