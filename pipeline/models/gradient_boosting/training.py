"""How boosters are trained: validate on the last days, then learn those days too, within a budget of seconds.

An update learns all days once, with the rounds of the training before. On Online Retail II, as of 2010-11-07, boosters
of four weeks before had a WQL of 28-day sums 6 % above those that knew the last days, boosters of twelve weeks before 15 %.

Seconds become a number of windows, series and rounds once, at the start, in coarse steps (`plan.py`): where they do not bind,
no clock has any say in the boosters; where they do, the report says so (`budget`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.model_settings import TrainingSettings
from pipeline.models.base import Array, Compute, Progress, TrainingReport
from pipeline.models.gradient_boosting.boosters import NAMES, Boosters, level_of, plain_names
from pipeline.models.gradient_boosting.features import CATEGORY, Features, Table
from pipeline.models.gradient_boosting.plan import (
    LEAST_ROUNDS,
    PROBE_ROUNDS,
    PROBE_ROWS,
    PROBE_SERIES,
    VALIDATE_SHARE,
    VALIDATION_WINDOWS,
    WINDOWS_OF_A_SERIES,
    Costs,
    Plan,
    TooLittleTimeError,
    planned,
)
from pipeline.models.gradient_boosting.windows import Demand, Sampler, Windows
from pipeline.models.panel import Panel

ROWS, ROUNDS = 150_000, 150
"""Windows and most rounds of a training that has the time; twice the windows won .1 % of quantile loss on real orders, twice
the rounds at .06 won .05 % and took 1.6 times as long."""
_ROWS_OF_SUMS = 60_000
"""Windows of more than a day overlap: two and a half times as many gave no better sums."""
_PER_NIGHT = 4
"""Most windows for each night of a series: in a small shop more of them are the same again."""
_SURE_ROUNDS = 60
"""Rounds that a booster keeps in any case: before them it has not left its start, and one month's luck ends it there."""
_PATIENCE_ROUNDS = 10
_CURVE_ROUNDS = 10
_CLAMP, _CLAMP_ORDERS = 20.0, 6.0
"""An order of 500 pieces by one customer says little about tomorrow; a rare seller's usual order must fit in."""


@dataclass(frozen=True)
class Task:
    """What to learn.

    Attributes:
        panel: all that is known.
        features: what of it is read.
        length: days of a window.
        validation_days: last days, that validate.
        max_seconds: most seconds.
        settings: seed and patience (in tens of rounds); steps and batch size are the most rounds, and the most windows.
    """

    panel: Panel
    features: Features
    length: int
    validation_days: int
    max_seconds: float
    settings: TrainingSettings


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        boosters: that have seen all days.
        held_back: that have not seen the validation days.
        report: what the training did.
    """

    boosters: Boosters
    held_back: Boosters
    report: TrainingReport


@dataclass(frozen=True)
class _Examples:
    """Features and targets of windows, and how many series they are of."""

    table: Table
    target: Array
    weight: Array
    series: int


def train(task: Task, compute: Compute, progress: Progress) -> Outcome:
    """Train all boosters twice: validated on the last days, and on everything with the best number of rounds.

    Raises:
        HistoryError: no window lies in the days to learn from.
        TooLittleTimeError: the seconds do not allow the least rounds of each booster.
    """
    run = _Run(task, compute, progress)
    plan = run.plan()
    budget, began = plan.budget, time.monotonic()
    examples = run.examples(task.panel.history - task.validation_days, plan, phase=1)
    features = time.monotonic() - began
    validation, began = run.validation(plan.series), time.monotonic()
    held_back, best, scores = run.boosters(
        examples, validation, [plan.rounds] * len(NAMES), what="train", refit_features=features
    )
    stopped = "early stopping" if min(best) < plan.rounds else "steps"
    if run.late:
        stopped, budget = "seconds", "seconds"
    # the same work again, but for the rounds after the best; where there is no time, better older boosters than none
    grown = time.monotonic() - began
    refit = features + grown * _refit_share(best, plan.rounds, task.settings.patience)
    if budget == "steps" or time.monotonic() + refit <= run.end:
        everything = run.examples(task.panel.history, plan, phase=2)
        boosters, _, _ = run.boosters(everything, None, best, what="refit")
    else:
        boosters, stopped, budget = held_back, "seconds", "seconds"
    parameters = _facts(task, examples, plan, best) | {"budget": budget}
    steps = list(range(_CURVE_ROUNDS, max(len(curve) for curve in scores) + 1, _CURVE_ROUNDS))
    # a booster that stopped stays as it was
    curves = {
        f"validation_{name}": [curve[min(step, len(curve)) - 1] for step in steps]
        for name, curve in zip(NAMES, scores, strict=True)
        if curve
    }
    report = TrainingReport(parameters, curves, steps, time.monotonic() - run.started, stopped)
    return Outcome(boosters, held_back, report)


def update(
    task: Task, start: Boosters, limits: Plan | None, compute: Compute, progress: Progress
) -> tuple[Boosters, TrainingReport]:
    """Train all boosters once, on everything, with the rounds of those that have not seen the last days.

    That takes about half of what the training before took, however long that is now.

    Args:
        task: what to learn.
        start: boosters of the training before.
        limits: windows and series of the training before, where its seconds bound it; None where they did not.
        compute: what it may use of the machine.
        progress: told after each booster.

    Raises:
        HistoryError: no window lies in the days to learn from.
    """
    run = _Run(task, compute, progress)
    plan = limits or run.wanted(task.panel.history)
    examples = run.examples(task.panel.history, plan, phase=2)
    boosters, rounds, _ = run.boosters(examples, None, list(start.rounds.values()), what="update")
    parameters = _facts(task, examples, plan, rounds) | {"budget": plan.budget}
    return boosters, TrainingReport(parameters, {}, [], time.monotonic() - run.started, "steps")


def _facts(task: Task, examples: _Examples, plan: Plan, rounds: list[int]) -> dict[str, Any]:
    """What a training says of itself."""
    return {
        "series": task.panel.series,
        "learned_series": examples.series,
        "max_series": plan.series,
        "history_days": task.panel.history,
        "horizon_days": task.panel.horizon,
        "validation_days": task.validation_days,
        "windows": len(examples.target),
        "max_rounds": plan.rounds,
        "features": examples.table.values.shape[1],
        "year_ago": task.features.year_ago,
        **{f"rounds_{name}": number for name, number in zip(NAMES, rounds, strict=True)},
    }


class _Run:
    """One training."""

    def __init__(self, task: Task, compute: Compute, progress: Progress) -> None:
        self.started = time.monotonic()
        self.end = self.started + task.max_seconds
        self.task, self.compute, self.progress = task, compute, progress
        self.demand = Demand(task.panel)
        self.late = False

    def plan(self) -> Plan:
        """Windows, series and rounds: all that are wanted, or what a small fit says that the seconds allow."""
        known = self.task.panel.history - self.task.validation_days
        wanted = self.wanted(known)
        return planned(wanted, self.costs(known, wanted.rows), self.task.max_seconds)

    def wanted(self, known_days: int) -> Plan:
        """What the first days of the panel are worth."""
        task = self.task
        sampler = Sampler.of(task.panel, known_days, task.length)
        rows = min(
            ROWS if task.length == 1 else _ROWS_OF_SUMS,
            _PER_NIGHT * sampler.nights,
            task.settings.max_steps * task.settings.batch_size,
        )
        return Plan(rows, len(sampler.rows), min(ROUNDS, task.settings.max_steps))

    def costs(self, known_days: int, rows: int) -> Costs:
        """What a small fit costs."""
        for library in ("duckdb", "lightgbm"):
            import_module(library)  # not part of what a pass costs
        began = time.monotonic()
        small = Plan(min(rows, PROBE_ROWS), PROBE_SERIES, PROBE_ROUNDS)
        probe = self.examples(known_days, small, phase=0)
        features, began = time.monotonic() - began, time.monotonic()
        self.boosters(probe, None, [PROBE_ROUNDS] * len(NAMES))
        now = time.monotonic()
        return Costs(
            spent=now - self.started,
            per_window=features / max(1, len(probe.target) + WINDOWS_OF_A_SERIES * probe.series),
            per_round=(now - began) / PROBE_ROUNDS,
            leads=len(self._leads()),
        )

    def examples(self, known_days: int, plan: Plan, *, phase: int) -> _Examples:
        """Random windows of the first days of the panel."""
        sampler = Sampler.of(self.task.panel, known_days, self.task.length)
        windows = sampler.draw(np.random.default_rng([self.task.settings.seed, phase]), plan.rows, plan.series)
        return self._examples(windows, sampler.weight)

    def validation(self, series: int) -> _Examples:
        """Windows of the validation days, as forecast on the night before them, of so many series of all levels."""
        panel = self.task.panel
        night = panel.history - self.task.validation_days - 1
        rows = np.flatnonzero(panel.first_sold < night)
        if series < len(rows):
            by_level = rows[np.argsort(self.demand.units[rows, : night + 1].sum(axis=1), kind="stable")]
            rows = np.sort(by_level[np.linspace(0, len(rows) - 1, series).round().astype(np.int64)])
        windows = Windows.ahead(panel, rows, self._leads(), night)
        generator = np.random.default_rng([self.task.settings.seed, 3])
        if len(windows) > VALIDATION_WINDOWS:
            windows = windows.take(np.sort(generator.choice(len(windows), VALIDATION_WINDOWS, replace=False)))
        examples = self._examples(windows, np.ones(panel.series))
        return _subset(examples, np.flatnonzero(examples.table.open_days > 0))

    def _leads(self) -> list[tuple[int, int]]:
        """First and last leads of the windows that validate."""
        held, length = self.task.validation_days, self.task.length
        return [(lead, lead + length - 1) for lead in range(1, held - length + 2, max(1, length // 2))]

    def _examples(self, windows: Windows, undo: Array) -> _Examples:
        table = self.task.features.table(self.task.panel, windows, self.compute)
        size = table.values[:, table.names.index("order_size")].astype(np.float64)
        units = np.minimum(self.demand.of(windows), np.maximum(_CLAMP * table.scale, _CLAMP_ORDERS * size))
        # weighted by its scale, the loss of a share is that of units, as the score of forecasts
        weight = table.scale * undo[windows.series]
        even = weight / max(float(weight.mean()), 1e-12) if len(weight) else weight
        return _Examples(table, units / table.scale, even, len(np.unique(windows.series)))

    def boosters(
        self,
        examples: _Examples,
        validation: _Examples | None,
        rounds: list[int],
        *,
        what: str = "",
        refit_features: float = 0.0,
    ) -> tuple[Boosters, list[int], list[list[float]]]:
        """All boosters, the rounds that were best, and the validation curves.

        Args:
            examples: what they learn.
            validation: what stops them; None: nothing does, and they make all rounds.
            rounds: most rounds of each.
            what: how the progress names it; not told without.
            refit_features: seconds to leave for the features of the refit.

        Raises:
            TooLittleTimeError: all seconds are over before each has its least rounds.
        """
        import lightgbm

        data = _dataset(examples, self.task.settings.seed)
        held = (
            None
            if validation is None or not len(validation.target)
            else _dataset(validation, self.task.settings.seed, data)
        )
        began = time.monotonic()
        room = VALIDATE_SHARE * max(0.0, self.end - refit_features - began)
        texts, best, curves = [], [], []
        for number, name in enumerate(NAMES):
            history: dict[str, dict[str, list[float]]] = {}
            callbacks: list[Callable[..., Any]] = []
            if held is not None:
                callbacks.append(lightgbm.record_evaluation(history))
                patience = _PATIENCE_ROUNDS * self.task.settings.patience
                callbacks.append(lightgbm.early_stopping(patience, verbose=False))
                callbacks.append(self._deadline(number, min(LEAST_ROUNDS, rounds[number]), began, room))
            booster = lightgbm.train(
                self._parameters(name, len(examples.target)),
                data,
                rounds[number],
                valid_sets=None if held is None else [held],
                valid_names=None if held is None else ["validation"],
                callbacks=callbacks,
                keep_training_booster=True,  # else it forgets the rounds after the best
            )
            grown = booster.current_iteration()
            count = max(1, grown if held is None else booster.best_iteration, min(grown, _SURE_ROUNDS))
            texts.append(booster.model_to_string(num_iteration=count))
            best.append(count)
            curves.append(next(iter(history["validation"].values())) if history else [])
            if what:
                self.progress(f"lightgbm, {what}", number + 1, len(NAMES))
        return Boosters(tuple(texts)), best, curves

    def _parameters(self, name: str, rows: int) -> dict[str, Any]:
        return {
            **level_of(name),
            **_dataset_parameters(self.task.settings.seed),
            "learning_rate": 0.1,
            "num_leaves": 31,
            "min_data_in_leaf": int(np.clip(rows // 800, 5, 200)),
            "feature_fraction": 0.5,
            "bagging_fraction": 0.6,
            "bagging_freq": 1,
            "lambda_l2": 1.0,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": max(1, self.compute.threads),
        }

    def _deadline(self, number: int, least: int, began: float, room: float) -> Callable[[Any], None]:
        """Stops a booster at its share of the room: the last resort where the plan was too hopeful.

        Its least rounds it may make as long as any seconds of the training are left.

        Args:
            number: place of the booster among all.
            least: rounds without which it has learned nothing.
            began: moment at which the first booster began.
            room: seconds for all of them.
        """
        import lightgbm

        best: list[tuple[float, int]] = []

        def stop(env: Any) -> None:
            now, grown = time.monotonic(), env.iteration + 1
            best.append((float(env.evaluation_result_list[0][2]), env.iteration))
            if grown < least and now > self.end:
                needed = (now - began) * least * len(NAMES) / (least * number + grown)
                raise TooLittleTimeError(began - self.started + needed / VALIDATE_SHARE)
            if grown >= least and now > began + (number + 1) / len(NAMES) * room:
                self.late = True
                raise lightgbm.callback.EarlyStopException(min(best)[1], env.evaluation_result_list)

        return stop


def _refit_share(best: list[int], rounds: int, patience: int) -> float:
    """Rounds of a refit as a share of those that were tried, early stopping included."""
    tried = [min(rounds, number + _PATIENCE_ROUNDS * patience) for number in best]
    return sum(best) / max(1, sum(tried))


def _subset(examples: _Examples, index: NDArray[np.int64]) -> _Examples:
    return replace(
        examples, table=examples.table.take(index), target=examples.target[index], weight=examples.weight[index]
    )


def _dataset_parameters(seed: int) -> dict[str, Any]:
    return {"max_bin": 127, "min_data_in_bin": 3, "seed": seed, "verbosity": -1, "feature_pre_filter": False}


def _dataset(examples: _Examples, seed: int, reference: Any = None) -> Any:
    import lightgbm

    names = plain_names(examples.table.names)
    return lightgbm.Dataset(
        examples.table.values,
        examples.target,
        weight=examples.weight,
        reference=reference,
        feature_name=names,
        categorical_feature=[names[examples.table.names.index(CATEGORY)]],
        params=_dataset_parameters(seed),
        free_raw_data=False,
    )
