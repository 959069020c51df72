"""How boosters are trained: validate on the last days, then learn those days too, within a budget of seconds.

Seconds become a number of windows and rounds once, at the start, in coarse steps: where they do not bind, no clock has any
say in the boosters; where they do, the report says so (`budget`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.model_settings import TrainingSettings
from pipeline.models.base import Array, Compute, Progress, TrainingReport
from pipeline.models.gradient_boosting.boosters import NAMES, Boosters, level_of, plain_names
from pipeline.models.gradient_boosting.features import CATEGORY, Features, Table
from pipeline.models.gradient_boosting.windows import Demand, Sampler, Windows
from pipeline.models.panel import Panel

ROWS, ROUNDS = 150_000, 150
"""Windows and most rounds of a training that has the time; twice the windows won .1 % of quantile loss on real orders, twice
the rounds at .06 won .05 % and took 1.6 times as long."""
_ROWS_OF_SUMS = 60_000
"""Windows of more than a day overlap: two and a half times as many gave no better sums."""
_PER_NIGHT = 4
"""Most windows for each night of a series: in a small shop more of them are the same again."""
_LEAST_ROWS, _LEAST_ROUNDS = 3_000, 20
_SURE_ROUNDS = 60
"""Rounds that a booster keeps in any case: before them it has not left its start, and one month's luck ends it there."""
_PROBE_ROWS, _PROBE_ROUNDS = 8_000, 10
_STEPS = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.09, 0.06)
"""Shares of rows and of rounds that a budget is rounded down to, so that a moment's noise rarely changes the plan."""
_GROWTH = 0.5
"""A round takes rows to this power as long, from the probe to the whole: trees of many rows have no more leaves, and most
boosters stop early."""
_VALIDATE_SHARE = 0.6
"""Share of the seconds for the boosters that do not see the last days; the refit is shorter, as it stops at the best."""
_VALIDATION_WINDOWS = 40_000
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
    """Features and targets of windows."""

    table: Table
    target: Array
    weight: Array


def train(task: Task, compute: Compute, progress: Progress) -> Outcome:
    """Train all boosters twice: validated on the last days, and on everything with the best number of rounds.

    Raises:
        HistoryError: no window lies in the days to learn from.
    """
    started = time.monotonic()
    run = _Run(task, compute, progress, started)
    rows, rounds, budget = run.plan()
    examples = run.examples(task.panel.history - task.validation_days, rows, phase=1)
    held_back, best, scores = run.boosters(examples, run.validation(), [rounds] * len(NAMES), what="train")
    took, left = time.monotonic() - started, task.max_seconds - (time.monotonic() - started)
    stopped = "early stopping" if min(best) < rounds else "steps"
    if run.late:
        stopped, budget = "seconds", "seconds"
    # the same work again, but for the rounds after the best; where there is no time, better older boosters than none
    if took * _refit_share(best, rounds, task.settings.patience) <= left or budget == "steps":
        everything = run.examples(task.panel.history, rows, phase=2)
        boosters, _, _ = run.boosters(everything, None, best, what="refit")
    else:
        boosters, stopped, budget = held_back, "seconds", "seconds"
    parameters = {
        "series": task.panel.series,
        "history_days": task.panel.history,
        "horizon_days": task.panel.horizon,
        "validation_days": task.validation_days,
        "windows": len(examples.target),
        "max_rounds": rounds,
        "budget": budget,
        "features": examples.table.values.shape[1],
        "year_ago": task.features.year_ago,
        **{f"rounds_{name}": number for name, number in zip(NAMES, best, strict=True)},
    }
    steps = list(range(_CURVE_ROUNDS, max(len(curve) for curve in scores) + 1, _CURVE_ROUNDS))
    # a booster that stopped stays as it was
    curves = {
        f"validation_{name}": [curve[min(step, len(curve)) - 1] for step in steps]
        for name, curve in zip(NAMES, scores, strict=True)
        if curve
    }
    report = TrainingReport(parameters, curves, steps, time.monotonic() - started, stopped)
    return Outcome(boosters, held_back, report)


class _Run:
    """One training."""

    def __init__(self, task: Task, compute: Compute, progress: Progress, started: float) -> None:
        self.task, self.compute, self.progress, self.started = task, compute, progress, started
        self.demand = Demand(task.panel)
        self.late = False

    def plan(self) -> tuple[int, int, str]:
        """Windows, most rounds, and what decided them: steps, or seconds where a small fit says they do not suffice."""
        task, began = self.task, time.monotonic()
        known = task.panel.history - task.validation_days
        nights = Sampler.of(task.panel, known, task.length).nights
        rows = min(
            ROWS if task.length == 1 else _ROWS_OF_SUMS,
            _PER_NIGHT * nights,
            task.settings.max_steps * task.settings.batch_size,
        )
        rounds = min(ROUNDS, task.settings.max_steps)
        probe = self.examples(known, min(rows, _PROBE_ROWS), phase=0)
        features, began = time.monotonic() - began, time.monotonic()
        self.boosters(probe, None, [_PROBE_ROUNDS] * len(NAMES))
        per_round = (time.monotonic() - began) / _PROBE_ROUNDS
        full = per_round * rounds * max(1.0, rows / _PROBE_ROWS) ** _GROWTH + 2 * features
        share = _VALIDATE_SHARE * task.max_seconds / full
        step = next((step for step in _STEPS if step * step <= share), _STEPS[-1])
        if step == 1.0:
            return rows, rounds, "steps"
        return (
            min(rows, max(_LEAST_ROWS, round(step * rows))),
            min(rounds, max(_LEAST_ROUNDS, round(step * rounds))),
            "seconds",
        )

    def examples(self, known_days: int, rows: int, *, phase: int) -> _Examples:
        """Random windows of the first days of the panel."""
        sampler = Sampler.of(self.task.panel, known_days, self.task.length)
        windows = sampler.draw(np.random.default_rng([self.task.settings.seed, phase]), rows)
        return self._examples(windows, sampler.weight)

    def validation(self) -> _Examples:
        """Windows of the validation days, as forecast on the night before them and on later ones of them."""
        panel, held, length = self.task.panel, self.task.validation_days, self.task.length
        night = panel.history - held - 1
        leads = [(lead, lead + length - 1) for lead in range(1, held - length + 2, max(1, length // 2))]
        windows = Windows.ahead(panel, np.flatnonzero(panel.first_sold < night), leads, night)
        generator = np.random.default_rng([self.task.settings.seed, 3])
        if len(windows) > _VALIDATION_WINDOWS:
            windows = windows.take(np.sort(generator.choice(len(windows), _VALIDATION_WINDOWS, replace=False)))
        examples = self._examples(windows, np.ones(panel.series))
        return _subset(examples, np.flatnonzero(examples.table.open_days > 0))

    def _examples(self, windows: Windows, undo: Array) -> _Examples:
        table = self.task.features.table(self.task.panel, windows, self.compute)
        size = table.values[:, table.names.index("order_size")].astype(np.float64)
        units = np.minimum(self.demand.of(windows), np.maximum(_CLAMP * table.scale, _CLAMP_ORDERS * size))
        # weighted by its scale, the loss of a share is that of units, as the score of forecasts
        weight = table.scale * undo[windows.series]
        return _Examples(
            table, units / table.scale, weight / max(float(weight.mean()), 1e-12) if len(weight) else weight
        )

    def boosters(
        self, examples: _Examples, validation: _Examples | None, rounds: list[int], *, what: str = ""
    ) -> tuple[Boosters, list[int], list[list[float]]]:
        """All boosters, the rounds that were best, and the validation curves."""
        import lightgbm

        data = _dataset(examples, self.task.settings.seed)
        held = (
            None
            if validation is None or not len(validation.target)
            else _dataset(validation, self.task.settings.seed, data)
        )
        began, end = time.monotonic(), self.started + _VALIDATE_SHARE * self.task.max_seconds
        texts, best, curves = [], [], []
        for number, name in enumerate(NAMES):
            history: dict[str, dict[str, list[float]]] = {}
            callbacks: list[Callable[..., Any]] = []
            if held is not None:
                callbacks.append(lightgbm.record_evaluation(history))
                patience = _PATIENCE_ROUNDS * self.task.settings.patience
                callbacks.append(lightgbm.early_stopping(patience, verbose=False))
                callbacks.append(self._deadline(began + (number + 1) / len(NAMES) * max(0.0, end - began)))
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

    def _deadline(self, at: float) -> Callable[[Any], None]:
        """Stops a booster at a moment, at its best round so far: the last resort where the plan was too hopeful."""
        import lightgbm

        best: list[tuple[float, int]] = []

        def stop(env: Any) -> None:
            best.append((float(env.evaluation_result_list[0][2]), env.iteration))
            if time.monotonic() > at:
                self.late = True
                raise lightgbm.callback.EarlyStopException(min(best)[1], env.evaluation_result_list)

        return stop


def _refit_share(best: list[int], rounds: int, patience: int) -> float:
    """Rounds of a refit as a share of those that were tried, early stopping included."""
    tried = [min(rounds, number + _PATIENCE_ROUNDS * patience) for number in best]
    return sum(best) / max(1, sum(tried))


def _subset(examples: _Examples, index: NDArray[np.int64]) -> _Examples:
    return _Examples(examples.table.take(index), examples.target[index], examples.weight[index])


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
