"""The LightGBM forecaster: quantiles and mean of every day ahead, and of sums of 28 days, from features made in SQL.

The sum of daily quantiles is no quantile of the sum; the boosters of sums learn from sums themselves.

Stored as LightGBM's own text, one file per booster, and one JSON file; nothing else.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import HistoryError, ModelError
from pipeline.model_settings import TrainingSettings
from pipeline.models.base import (
    Array,
    Compute,
    Dependence,
    Fitted,
    Forecast,
    Progress,
    Stretches,
    TrainingReport,
    silent,
)
from pipeline.models.description import read_description, save_description
from pipeline.models.gradient_boosting.boosters import Boosters, grid_of
from pipeline.models.gradient_boosting.features import Features
from pipeline.models.gradient_boosting.windows import Demand, Windows
from pipeline.models.history import LOOKBACK_DAYS, require_history, unseen_days, validation_days
from pipeline.models.panel import Panel
from pipeline.models.quantiles import GRID_LEVELS, whole_units
from pipeline.settings import QUANTILES

if TYPE_CHECKING:
    from pipeline.models.gradient_boosting.plan import Plan

KIND = "lightgbm"
FORMAT = 2
STRETCH = 28
"""Days of a sum: about a month, and the same weekdays in each."""
_SUMS, _LEFT_OUT = "sums", "left out, "
_SERIES_AT_ONCE = 256
_OF_DAYS = 0.6
"""Share of the seconds for the boosters of days; those of sums have what is left."""
_LEAST_MEAN = 1e-3
_DEPENDENCE_SERIES = 500


@dataclass(frozen=True)
class LightgbmQuantiles:
    """The forecaster with its settings.

    Attributes:
        settings: seed, validation days, patience, shortest history.
        max_seconds: most seconds of a training.
    """

    settings: TrainingSettings
    max_seconds: float
    name: str = KIND

    def fit(
        self,
        panel: Panel,
        *,
        folder: Path,  # noqa: ARG002 - trained in minutes, nothing to resume from
        compute: Compute,
        progress: Progress = silent,
        start: Fitted | None = None,
    ) -> "FittedLightgbm":
        """Train on all history of the panel; see `pipeline.models.base.Forecaster`.

        With `start` its trees are grown anew on all days, as many as before; `start` itself validates. One that had too little
        history for sums is not gone on from once there is enough.

        Raises:
            HistoryError: less history than `training.min_history_days`, or nothing sold.
            ModelError: the seconds do not allow a model of days (sums are left out where they do not allow those); or `start` is
                another forecaster, or has seen all days of the panel.
        """
        from pipeline.models.gradient_boosting.plan import LEAST_ROUNDS, TooLittleTimeError
        from pipeline.models.gradient_boosting.training import Task, train

        require_history(panel, self.settings, self.name)
        # without sums it was trained on a history that may allow them by now
        if start is not None and not (_without_sums(start) and panel.history >= 4 * STRETCH):
            return self._update(panel, start, compute, progress)
        held = validation_days(panel.history, self.settings.validation_days, panel.horizon)
        # a sum must fit into the days that validate it, and three times as many must be left to learn from
        sums_held = max(held, STRETCH) if panel.history >= 4 * STRETCH else 0
        features = Features.learn(panel, panel.history - max(held, sums_held))
        share = _OF_DAYS if sums_held else 1.0
        days = Task(panel, features, 1, held, max_seconds=share * self.max_seconds, settings=self.settings)
        try:
            outcome = train(days, compute, progress)
        except TooLittleTimeError as error:
            raise ModelError(
                f"a budget too small to train {self.name}: {self.max_seconds:g} s do not allow {LEAST_ROUNDS} rounds of each "
                "booster on this machine at this moment, and with fewer it has learned nothing; raise "
                f"members.lightgbm.max_seconds (or training.max_seconds) in almanac.yaml to {math.ceil(error.seconds / share)} "
                "or more, or leave other work off the machine"
            ) from error
        sums, left_out = None, f"{panel.history} days of history, {4 * STRETCH} are needed"
        if sums_held:
            rest = self.max_seconds - outcome.report.seconds
            of_sums = replace(days, length=STRETCH, validation_days=sums_held, max_seconds=rest)
            try:
                sums = train(of_sums, compute, progress) if rest > 0 else None
                left_out = f"{max(rest, 0.0):.1f} s of members.lightgbm.max_seconds were left"
            except (TooLittleTimeError, HistoryError) as error:
                left_out = str(error)
        held_back = FittedLightgbm(
            outcome.held_back,
            sums.held_back if sums else None,
            features,
            Dependence(),
            _report(outcome.report, sums.report if sums else None, left_out),
            _trained_on(panel),
            compute,
        )
        held_back = replace(held_back, dependence=_dependence(held_back, panel, held, self.settings.seed))
        return replace(held_back, boosters=outcome.boosters, sums=sums.boosters if sums else None, validated=held_back)

    def _update(self, panel: Panel, start: Fitted, compute: Compute, progress: Progress) -> "FittedLightgbm":
        """The boosters of `start` grown anew; features and dependence stay, as a short stretch of new days says little."""
        from pipeline.models.gradient_boosting.training import Task, update

        if not isinstance(start, FittedLightgbm):
            raise ModelError(f"a {self.name} cannot go on from a {start.name!r}; train a new one")
        unseen = unseen_days(self.name, start.trained_on["as_of"], panel)
        held = min(unseen, validation_days(panel.history, self.settings.validation_days, panel.horizon))
        days = Task(panel, start.features, 1, held, max_seconds=self.max_seconds, settings=self.settings)
        before = start.report.parameters
        boosters, report = update(days, start.boosters, _limits(before), compute, progress)
        sums, of_sums, left_out = None, None, str(before[_SUMS]).removeprefix(_LEFT_OUT)
        if start.sums:
            try:
                of_stretches = replace(days, length=STRETCH)
                sums, of_sums = update(of_stretches, start.sums, _limits(before, f"{_SUMS}_"), compute, progress)
            except HistoryError as error:
                left_out = str(error)
        return replace(
            start,
            boosters=boosters,
            sums=sums,
            report=_report(report, of_sums, left_out),
            trained_on=_trained_on(panel),
            compute=compute,
            validated=replace(start, validated=None),
        )


@dataclass(frozen=True)
class FittedLightgbm:
    """Trained boosters, ready for any panel of the shop.

    Attributes:
        boosters: of days.
        sums: of sums of 28 days; None where history was too short to learn them.
        features: what both read.
        dependence: how days and items move together.
        report: what the training did.
        trained_on: first day and night of what it has seen.
        compute: what it may use of the machine.
        name: as in the registry.
        lookback_days: days of history that a forecast reads.
        validated: the same before it learned the last days.
    """

    boosters: Boosters
    sums: Boosters | None
    features: Features
    dependence: Dependence
    report: TrainingReport
    trained_on: Mapping[str, str]
    compute: Compute = field(default_factory=Compute)
    name: str = KIND
    lookback_days: int = LOOKBACK_DAYS
    validated: "FittedLightgbm | None" = None

    def forecast(self, panel: Panel, horizon: int, *, grid: bool = False, progress: Progress = silent) -> Forecast:
        """Forecast `horizon` days after the panel's night; see `pipeline.models.base.Fitted`.

        Raises:
            ModelError: the panel knows the calendar for fewer days.
        """
        if horizon > panel.horizon:
            raise ModelError(
                f"asked for {horizon} days, but the panel knows the calendar of {panel.horizon} days ahead"
            )
        mean = np.zeros((panel.series, horizon))
        quantiles = np.zeros((panel.series, horizon, len(QUANTILES)))
        finer = np.zeros((panel.series, horizon, len(GRID_LEVELS))) if grid else None
        stretches = horizon // STRETCH if grid and self.sums else 0
        spread = np.zeros((panel.series, stretches, len(QUANTILES)))
        leads = [(lead, lead) for lead in range(1, horizon + 1)]
        leads += [(first, first + STRETCH - 1) for first in range(1, stretches * STRETCH + 1, STRETCH)]
        windows = Windows.ahead(panel, np.arange(panel.series), leads)
        is_day = np.arange(len(leads)) < horizon
        tables = self.features.tables(panel, windows, self.compute, series_at_once=_SERIES_AT_ONCE)
        for number, table in enumerate(tables):
            rows = slice(number * _SERIES_AT_ONCE, min((number + 1) * _SERIES_AT_ONCE, panel.series))
            of_days = np.tile(is_day, rows.stop - rows.start)
            some_mean, some = self.boosters.predict(table.take(of_days), self.compute)
            mean[rows] = some_mean.reshape(-1, horizon)
            quantiles[rows] = some.reshape(-1, horizon, len(QUANTILES))
            if finer is not None:
                finer[rows] = grid_of(some_mean, some).reshape(-1, horizon, len(GRID_LEVELS))
            if self.sums and stretches:
                spread[rows] = _spread(*self.sums.predict(table.take(~of_days), self.compute)).reshape(
                    -1, stretches, len(QUANTILES)
                )
            progress("forecast", rows.stop, panel.series)
        return Forecast(
            mean,
            whole_units(quantiles),
            finer,
            np.array(GRID_LEVELS) if grid else None,
            stretches=Stretches(STRETCH, spread) if stretches else None,
        )

    def save(self, folder: Path) -> None:
        """Write the boosters (LightGBM's text) and everything else (JSON)."""
        self.boosters.save(folder)
        if self.sums:
            self.sums.save(folder / _SUMS)
        content = {
            "kind": KIND,
            "format": FORMAT,
            _SUMS: self.sums is not None,
            "features": self.features.to_json(),
            "dependence": asdict(self.dependence),
            "report": asdict(self.report),
            "trained_on": dict(self.trained_on),
        }
        save_description(folder, content)

    def describe(self) -> dict[str, Any]:
        """What it is: kind, rounds, features, training window."""
        return {
            "kind": KIND,
            "rounds": self.boosters.rounds,
            "rounds_of_sums": self.sums.rounds if self.sums else {},
            "features": self.features.to_json(),
            "trained_on": dict(self.trained_on),
            "dependence": asdict(self.dependence),
            "stopped": self.report.stopped,
        }


def load_lightgbm(folder: Path, compute: Compute | None = None) -> FittedLightgbm:
    """Read back what `FittedLightgbm.save` wrote.

    Raises:
        ModelError: a file is missing, damaged, or of another format.
    """
    content = read_description(folder, KIND)
    try:
        if content["format"] != FORMAT:
            raise ModelError(f"{folder}: no lightgbm of format {FORMAT}; train again with this version")
        return FittedLightgbm(
            Boosters.load(folder),
            Boosters.load(folder / _SUMS) if content[_SUMS] else None,
            Features.from_json(content["features"]),
            Dependence(**content["dependence"]),
            TrainingReport(**content["report"]),
            content["trained_on"],
            compute or Compute(),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder}: the stored lightgbm cannot be read ({error!r}); train again") from error


def _without_sums(start: Fitted) -> bool:
    return isinstance(start, FittedLightgbm) and start.sums is None


def _limits(before: Mapping[str, Any], of: str = "") -> "Plan | None":
    """What the seconds of a training allowed; None where they did not bind."""
    from pipeline.models.gradient_boosting.plan import Plan

    if before[f"{of}budget"] == "steps":
        return None
    series = before.get(f"{of}max_series", before["learned_series"])
    return Plan(before[f"{of}windows"], series, before[f"{of}max_rounds"], before[f"{of}budget"])


def _trained_on(panel: Panel) -> dict[str, str]:
    return {"first_day": panel.first_day.isoformat(), "as_of": panel.as_of.isoformat()}


def _spread(mean: Array, quantiles: Array) -> Array:
    """(W, Q) quantiles ÷ the mean; not a number where nothing is expected."""
    expected = (mean > _LEAST_MEAN)[:, None]
    return np.where(expected, quantiles / np.where(expected, mean[:, None], 1.0), np.nan)


def _report(days: TrainingReport, sums: TrainingReport | None, left_out: str) -> TrainingReport:
    """The report of the boosters of days, with the plan and the rounds of those of sums, or why they are left out."""
    if sums is None:
        return replace(days, parameters={**days.parameters, _SUMS: f"{_LEFT_OUT}{left_out}"})
    learned = (
        "windows",
        "max_series",
        "max_rounds",
        "budget",
        *(name for name in sums.parameters if name.startswith("rounds_")),
    )
    return replace(
        days,
        parameters={
            **days.parameters,
            _SUMS: "learned",
            **{f"{_SUMS}_{name}": sums.parameters[name] for name in learned},
        },
        seconds=days.seconds + sums.seconds,
    )


def _dependence(held_back: FittedLightgbm, panel: Panel, days: int, seed: int) -> Dependence:
    """How the days and items of the validation days moved together, given forecasts that had not seen them."""
    import torch

    from pipeline.models.networks.schedule import dependence_of

    known = panel.history - days
    level = np.where(panel.first_sold < known, panel.units_winsorised[:, :known].sum(axis=1, dtype=np.float64), -1.0)
    rows = np.sort(np.argsort(-level, kind="stable")[:_DEPENDENCE_SERIES])
    some = panel.rows(rows)
    grid = held_back.forecast(some.until(known), days, grid=True).grid
    if grid is None:
        return held_back.dependence
    units = np.rint(Demand(some).units[:, known:])
    below, up_to = (_cumulative(grid, units + half) for half in (-0.5, 0.5))
    low = np.where(units > 0, below, 0.0)
    uniform = np.random.default_rng([seed, 99]).random(units.shape)
    chance = np.clip(low + uniform * np.maximum(up_to - low, 0.0), 1e-4, 1 - 1e-4)
    scores = torch.special.ndtri(torch.as_tensor(chance)).numpy()
    counts = np.broadcast_to(~panel.closed[known : panel.history], units.shape)
    return dependence_of(scores, counts)


def _cumulative(grid: Array, units: Array) -> Array:
    """P(Y ≤ units) of each forecast, a straight line between the grid's levels."""
    levels = np.concatenate([[0.0], GRID_LEVELS, [1.0]])
    top = grid[..., -1:] * 1.5 + 1.0
    points = np.concatenate([np.zeros((*grid.shape[:-1], 1)), grid, top], axis=-1)
    flat, asked = points.reshape(-1, points.shape[-1]), units.ravel()
    found = [np.interp(value, row, levels) for value, row in zip(asked, flat, strict=True)]
    return np.array(found).reshape(units.shape)
