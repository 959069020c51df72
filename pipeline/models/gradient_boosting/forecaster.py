"""The LightGBM forecaster: quantiles and mean of every day ahead, from features made in SQL.

Stored as LightGBM's own text, one file per booster, and one JSON file; nothing else.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import HistoryError, ModelError
from pipeline.model_settings import TrainingSettings
from pipeline.models.base import Array, Compute, Dependence, Fitted, Forecast, Progress, TrainingReport, silent
from pipeline.models.gradient_boosting.boosters import Boosters, grid_of
from pipeline.models.gradient_boosting.features import Features
from pipeline.models.gradient_boosting.windows import Demand, Windows
from pipeline.models.panel import Panel
from pipeline.models.quantiles import GRID_LEVELS, whole_units
from pipeline.models.seasonal_naive import read_description, save_description
from pipeline.settings import QUANTILES

KIND = "lightgbm"
FORMAT = 1
LOOKBACK_DAYS = 730
"""Days of history that a forecast reads; as for networks, for the sake of items sold once a year."""
_SERIES_AT_ONCE = 256
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
        start: Fitted | None = None,  # noqa: ARG002 - trees are grown anew
    ) -> "FittedLightgbm":
        """Train on all history of the panel; see `pipeline.models.base.Forecaster`.

        Raises:
            HistoryError: less history than `training.min_history_days`, or nothing sold.
        """
        from pipeline.models.gradient_boosting.training import Task, train

        require_history(panel, self.settings)
        held = max(1, min(self.settings.validation_days, panel.history // 4, panel.horizon))
        features = Features.learn(panel, panel.history - held)
        task = Task(panel, features, (1,), held, max_seconds=self.max_seconds, settings=self.settings)
        outcome = train(task, compute, progress)
        trained_on = {"first_day": panel.first_day.isoformat(), "as_of": panel.as_of.isoformat()}
        held_back = FittedLightgbm(outcome.held_back, features, Dependence(), outcome.report, trained_on, compute)
        dependence = _dependence(held_back, panel, held, self.settings.seed)
        held_back = replace(held_back, dependence=dependence)
        return replace(held_back, boosters=outcome.boosters, validated=held_back)


@dataclass(frozen=True)
class FittedLightgbm:
    """Trained boosters, ready for any panel of the shop."""

    boosters: Boosters
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
        windows = Windows.ahead(panel, np.arange(panel.series), [(lead, lead) for lead in range(1, horizon + 1)])
        tables = self.features.tables(panel, windows, self.compute, series_at_once=_SERIES_AT_ONCE)
        for number, table in enumerate(tables):
            rows = slice(number * _SERIES_AT_ONCE, min((number + 1) * _SERIES_AT_ONCE, panel.series))
            some_mean, some = self.boosters.predict(table, self.compute)
            mean[rows] = some_mean.reshape(-1, horizon)
            quantiles[rows] = some.reshape(-1, horizon, len(QUANTILES))
            if finer is not None:
                finer[rows] = grid_of(some_mean, some).reshape(-1, horizon, len(GRID_LEVELS))
            progress("forecast", rows.stop, panel.series)
        return Forecast(mean, whole_units(quantiles), finer, np.array(GRID_LEVELS) if grid else None)

    def save(self, folder: Path) -> None:
        """Write the boosters (LightGBM's text) and everything else (JSON)."""
        self.boosters.save(folder)
        content = {
            "kind": KIND,
            "format": FORMAT,
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
            Features.from_json(content["features"]),
            Dependence(**content["dependence"]),
            TrainingReport(**content["report"]),
            content["trained_on"],
            compute or Compute(),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder}: the stored lightgbm cannot be read ({error!r}); train again") from error


def require_history(panel: Panel, settings: TrainingSettings) -> None:
    """Refuse a panel too short to train on.

    Raises:
        HistoryError: says how many days there are, how many are needed, and which setting decides.
    """
    if panel.history < settings.min_history_days:
        raise HistoryError(
            f"too little history to train lightgbm: {panel.history} days of orders ({panel.first_day} to {panel.as_of}) were "
            f"known on the night of {panel.as_of}, {settings.min_history_days} are needed; choose a later --as-of, ingest "
            "older orders, or lower training.min_history_days in almanac.yaml"
        )
    if not (panel.units > 0).any():
        raise HistoryError(f"nothing was sold up to {panel.as_of} in the {panel.series} series to train lightgbm on")


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
