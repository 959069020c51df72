"""What each switch of a training is worth: the same forecaster with it and without, on the same panels.

Scored are the items of the measure, and young ones: those first sold in the last 91 days before the origin, of which there is
little to learn from their own history.
"""

import tempfile
import time
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.as_of import as_of_view
from pipeline.backtesting.backtest import actuals
from pipeline.backtesting.origins import scored_rows
from pipeline.backtesting.scores import paired_gain
from pipeline.backtesting.scoring import origin_series
from pipeline.examples.homes import ONLINE_RETAIL_NIGHT
from pipeline.lake import Lake
from pipeline.models.base import Compute
from pipeline.models.panel import Panel
from pipeline.models.quantiles import quantile_loss
from pipeline.models.registry import make
from pipeline.settings import Settings
from pipeline.training.panel import MAX_DAYS, build_panel
from tests.benchmarks.accuracy.scores import table
from tests.benchmarks.accuracy.shop import changed, tell

ORIGINS = (date(2010, 11, 7), date(2011, 5, 8), date(2011, 6, 12), date(2011, 7, 31))
HORIZON = 28
YOUNG_DAYS = 91

Rooms = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Study:
    """One forecaster, as it is and with one thing changed at a time.

    Attributes:
        model: forecaster.
        origins: where it is trained.
        changes: what is changed → settings by room; the first is what the others are set beside.
    """

    model: str
    origins: tuple[date, ...]
    changes: dict[str, Rooms]


STUDIES = (
    Study(
        "quantile_mlp",
        ORIGINS,
        {
            "as it is": {},
            "200 steps of pretraining": {"training": {"pretrain_steps": 200}},
            "jitter .2": {"training": {"augmentation": {"jitter": 0.2}}},
            "scaling .2": {"training": {"augmentation": {"scaling": 0.2}}},
            "warping .3": {"training": {"augmentation": {"warping": 0.3}}},
            "adversarial .05": {"training": {"adversarial": 0.05}},
        },
    ),
    Study(
        "fusion",
        ORIGINS[1:2],
        {
            "as it is": {},
            "word dropout .1": {"fine_tuning": {"word_dropout": 0.1}},
            "word replacement .1": {"fine_tuning": {"word_replacement": 0.1}},
            "adversarial .05": {"fine_tuning": {"adversarial": 0.05}},
        },
    ),
)


@dataclass(frozen=True)
class Ablation:
    """One change, pooled over origins; a gain is by how much the forecaster as it is has less loss.

    Attributes:
        model: forecaster.
        change: what was changed.
        wql: WQL of the items of the measure, and of the young ones.
        change_of_loss: by how much the loss is more than as it is, as share: both groups, each with its 95 % interval.
        items: items of the two groups, all origins.
        seconds: of all trainings.
    """

    model: str
    change: str
    wql: tuple[float, float]
    change_of_loss: tuple[tuple[float, float, float], ...]
    items: tuple[int, int]
    seconds: float


@dataclass
class _Losses:
    """Losses (N,) and items (N,) of one group, all origins."""

    loss: list[NDArray[np.float64]]
    item: list[NDArray[np.str_]]
    units: float = 0.0


def run(lake: Lake, settings: Settings, compute: Compute) -> list[Ablation]:
    """Train and score every change of every study."""
    return [row for study in STUDIES for row in _study(study, lake, settings, compute)]


def markdown(found: list[Ablation]) -> str:
    """The table of the README: what the change does to WQL, in percent; more is worse."""

    def percent(change: tuple[float, float, float]) -> str:
        worse, least, most = (100 * one for one in change)
        return f"{worse:+.2f} [{least:+.2f}, {most:+.2f}]"

    header = ["forecaster", "changed", "WQL", "change, %", "WQL of young items", "change, %", "s"]
    rows = [
        [
            one.model,
            one.change,
            f"{one.wql[0]:.4f}",
            percent(one.change_of_loss[0]) if any(one.change_of_loss[0]) else "",
            f"{one.wql[1]:.4f}",
            percent(one.change_of_loss[1]) if any(one.change_of_loss[1]) else "",
            f"{one.seconds:.0f}",
        ]
        for one in found
    ]
    return table(header, rows)


def _study(study: Study, lake: Lake, settings: Settings, compute: Compute) -> list[Ablation]:
    losses = {change: (_Losses([], []), _Losses([], [])) for change in study.changes}
    seconds = dict.fromkeys(study.changes, 0.0)
    for origin in study.origins:
        with as_of_view(lake, origin, by_location=False, since=origin - timedelta(days=MAX_DAYS - 1)) as view:
            panel = build_panel(view, settings, horizon=settings.forecast.horizon_days, home=lake.home)
        groups = (scored_rows(panel, _rules(settings)), _young(panel))
        with as_of_view(lake, ONLINE_RETAIL_NIGHT, by_location=False, since=origin) as night:
            came = [actuals(night, origin_series(panel.rows(rows)), HORIZON) for rows in groups]
        for change, rooms in study.changes.items():
            tell(f"ablations {origin}, {study.model}: {change}", 0, 1)
            began = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                forecaster = make(study.model, changed(settings, **rooms), lake.home)
                fitted = forecaster.fit(panel, folder=Path(folder), compute=compute)
            seconds[change] += time.perf_counter() - began
            for rows, actual, group in zip(groups, came, losses[change], strict=True):
                said = fitted.forecast(panel.rows(rows), HORIZON).quantiles
                group.loss.append(quantile_loss(actual.reshape(-1), said.reshape(actual.size, -1)))
                group.item.append(np.repeat(panel.item_id[rows], HORIZON))
                group.units += float(actual.sum())
    return [_ablation(study, change, losses, seconds[change]) for change in study.changes]


def _ablation(study: Study, change: str, losses: dict[str, tuple[_Losses, _Losses]], seconds: float) -> Ablation:
    base = losses[next(iter(study.changes))]
    wql, more, items = [], [], []
    for mine, theirs in zip(base, losses[change], strict=True):
        ours, other = np.concatenate(mine.loss), np.concatenate(theirs.loss)
        names, item = np.unique(np.concatenate(mine.item), return_inverse=True)
        found = paired_gain(other, ours, item)
        wql.append(float(other.sum()) / theirs.units)
        more.append((0.0, 0.0, 0.0) if mine is theirs else (-found.gain, -found.high, -found.low))
        items.append(len(names))
    return Ablation(study.model, change, (wql[0], wql[1]), tuple(more), (items[0], items[1]), seconds)


def _rules(settings: Settings) -> Any:
    return changed(settings, backtest={"min_sale_days": 60, "max_items": 2000}).backtest


def _young(panel: Panel) -> NDArray[np.int64]:
    """Rows first sold in the last `YOUNG_DAYS` days that the panel knows, a week at least before its night."""
    age = panel.history - panel.first_sold
    return np.flatnonzero((age > 7) & (age <= YOUNG_DAYS))
