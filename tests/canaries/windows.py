"""What a network reads of one training window, and the weights that it has before it may see the days held back."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import torch

from pipeline.models.base import Compute
from pipeline.models.networks.checkpoint import weights_hash
from pipeline.models.networks.features import Windows
from pipeline.models.networks.forecaster import FittedNetwork, NetworkForecaster
from pipeline.models.networks.scaling import MinMaxScaler, PerSeriesScaler, StandardScaler
from pipeline.models.networks.spec import LEVELS, FeatureSpec
from pipeline.models.networks.training import Training
from pipeline.models.panel import Panel
from tests.models.network_panels import changed_after, shop_panel, small

HISTORY = 800
NIGHT = 420
VALIDATION_DAYS = 14


def long_panel(*, horizon: int = 366) -> Panel:
    """Two years and more of a shop, so that windows of a year ago are read too; a promotion announced days before."""
    panel = shop_panel(series=4, days=HISTORY, ahead=horizon)
    return replace(panel, promotion_lead=np.full(panel.promotion.shape, 3, np.uint8))


def window_bytes(panel: Panel, night: int, horizon: int) -> dict[str, bytes]:
    """What the network reads of the windows that end on a night."""
    spec = FeatureSpec(
        history_days=112,
        calendar_names=panel.calendar_names,
        promotion_kinds=panel.promotion_kinds,
        category_names=panel.category_names,
        text_size=panel.text.shape[1],
        year_ago=True,
        levels=StandardScaler(np.zeros(LEVELS), np.ones(LEVELS), 6.0),
        calendar=MinMaxScaler(np.zeros(2), np.ones(2)),
        series=PerSeriesScaler(),
    )
    rows = torch.arange(panel.series)
    windows = Windows(panel, spec)
    batch = windows.cut(rows, torch.full_like(rows, night), windows.leads(horizon))
    return {name: getattr(batch, name).numpy().tobytes() for name in batch.__dataclass_fields__}


def _other_demand(panel: Panel, night: int) -> Panel:
    random = np.random.default_rng(9)
    units = panel.units.copy()
    units[:, night + 1 :] = random.poisson(40, units[:, night + 1 :].shape)
    return replace(panel, units=units, units_winsorised=units)


def _other_prices(panel: Panel, night: int) -> Panel:
    """Other prices paid: that a price moved tells that there was a sale."""
    price = panel.price.copy()
    price[:, night + 1 :] = 0.5 + 4 * np.random.default_rng(9).random(price[:, night + 1 :].shape)
    return replace(panel, price=price)


def _other_promotions(panel: Panel, night: int) -> Panel:
    """Promotions on all later days, announced on the day after the night or later."""
    days = np.arange(panel.promotion.shape[1])
    promotion, lead = panel.promotion.copy(), np.array(panel.promotion_lead)
    known = (days - 3 <= night)[None, :, None]
    promotion[:] = np.where(known, promotion, 0.75)
    lead[:] = np.where(known, lead, np.minimum(days - night - 1, 3)[None, :, None])
    return replace(panel, promotion=promotion, promotion_lead=lead)


LATER: dict[str, Callable[[Panel, int], Panel]] = {
    "demand": _other_demand,
    "price": _other_prices,
    "promotion": _other_promotions,
}
"""Panels that differ only in what became known after a night.

Closed days are not among them: a training window reads the days ahead as they were, closed or open, where a night reads
which days it expects to be closed. That is a difference between training and serving, and known.
"""


def windows_changed_by_later_days(horizon: int = 28) -> dict[str, list[str]]:
    """The canary: by what differs after a window's night, which tensors of the window it reaches."""
    panel = long_panel()
    before = window_bytes(panel, NIGHT, horizon)
    reached = {}
    for what, change in LATER.items():
        after = window_bytes(change(panel, NIGHT), NIGHT, horizon)
        reached[what] = [name for name in before if before[name] != after[name]]
    return {what: names for what, names in reached.items() if names}


def weights_by_step(panel: Panel, start: FittedNetwork | None = None) -> tuple[list[str], FittedNetwork]:
    """Hash of the weights after each step of the phases that hold the last days back, and the fitted network."""
    seen: list[str] = []
    real = Training._step

    def step(self: Training, phase: str) -> None:
        real(self, phase)
        if phase != "refit":
            seen.append(weights_hash(self.network))

    settings = small(validation_days=VALIDATION_DAYS, update_steps=8, patience=99)
    with TemporaryDirectory() as folder, patch.object(Training, "_step", step):
        fitted = NetworkForecaster(settings, "lstm").fit(
            panel, folder=Path(folder), compute=Compute(threads=1), start=start
        )
    return seen, fitted


def steps_changed_by_days_held_back(*, update: bool = False) -> list[int]:
    """The canary: steps after which the weights depend on what was sold in the days that are held back."""
    panel = shop_panel()
    start = None
    if update:
        known = panel.history - VALIDATION_DAYS
        # the night before the days held back: they are days ahead of it
        older = replace(panel, units=panel.units[:, :known], units_winsorised=panel.units_winsorised[:, :known])
        _, start = weights_by_step(older)
    other = changed_after(panel, panel.history - VALIDATION_DAYS, units=60.0, units_winsorised=60.0, price=9.0)
    (one, _), (two, _) = weights_by_step(panel, start), weights_by_step(other, start)
    assert len(one) == len(two) > 1, "the trainings took other steps"
    return [number for number, (a, b) in enumerate(zip(one, two, strict=True)) if a != b]
