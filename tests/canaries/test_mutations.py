"""The classic leaks, each built into the real pipeline by the smallest change, and each caught by a canary.

A canary says what depends on the future; it knows nothing of where a leak might be. Each test runs it twice: it is silent
about the pipeline as it is, and sings about the mutated one.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import pytest

from pipeline import as_of
from pipeline.as_of import as_of_view
from pipeline.lake import Lake
from pipeline.models.networks import features, schedule
from pipeline.models.networks.features import Windows
from pipeline.models.networks.forecaster import NetworkForecaster
from pipeline.models.networks.training import Training
from pipeline.models.panel import Panel
from pipeline.training.panel import build_panel
from tests.canaries import nights
from tests.canaries.nights import changed_by_future
from tests.canaries.shops import HORIZON, KNOWN, a_day, random_shop, small_settings
from tests.canaries.windows import steps_changed_by_days_held_back, windows_changed_by_later_days

Patch = pytest.MonkeyPatch
NIGHT = 48
"""Both quarters of the shop end after it."""


# --- canaries --------------------------------------------------------------------------------------------------------


def night() -> Any:
    """Bytes of a night that depend on facts that became known after it."""
    return changed_by_future(random_shop(2), small_settings(), NIGHT)


def windows() -> Any:
    """Tensors of a training window that depend on what came after its night."""
    return windows_changed_by_later_days()


def held_back() -> Any:
    """Steps of a training whose weights depend on days that are held back from them."""
    return steps_changed_by_days_held_back()


def held_back_from_update() -> Any:
    """The same of an update."""
    return steps_changed_by_days_held_back(update=True)


@cache
def sings_about_the_real_pipeline(canary: Callable[[], Any]) -> bool:
    """Once per canary; nothing is mutated when it is asked."""
    return bool(canary())


# --- leaks -----------------------------------------------------------------------------------------------------------


def known_later(ledger: str, patch: Patch) -> None:
    """The view reads a ledger without asking what became known by the night."""
    column = "known_until" if ledger.endswith("_until") else KNOWN[ledger]
    condition, mutated = re.compile(rf"\b{column} <= getvariable\('as_of'\)"), 0
    for name, sql in vars(as_of).copy().items():
        if not isinstance(sql, str):
            continue
        reads = re.compile(rf"\blake_{ledger}\b")
        found = [condition.subn("true", part) if reads.search(part) else (part, 0) for part in sql.split(";")]
        if count := sum(number for _, number in found):
            patch.setattr(as_of, name, ";".join(part for part, _ in found))
            mutated += count
    assert mutated, f"the as-of view has no condition on {ledger} to take away"


def scaler_fitted_on_everything(patch: Patch) -> None:
    """Scalers and features are learned from the newest data there is, not from what the night knows."""
    newest, real = two_weeks_later(patch), NetworkForecaster._spec
    patch.setattr(NetworkForecaster, "_spec", lambda self, panel: real(self, newest[-1]))


def scaler_fitted_on_validation(patch: Patch) -> None:
    """Scalers are fitted on the days held back too."""
    real = NetworkForecaster._spec

    def spec(self: NetworkForecaster, panel: Panel) -> Any:
        with pytest.MonkeyPatch.context() as nothing_held_back:
            nothing_held_back.setattr(schedule, "validation_days", lambda *_: 0)
            return real(self, panel)

    patch.setattr(NetworkForecaster, "_spec", spec)


def rolling_one_day_on(function: str, patch: Patch) -> None:
    """Running sums up to a day hold the day after it, which is the first one to forecast."""
    real = getattr(features, function)

    def shifted(values: Any) -> Any:
        sums = real(values)
        return np.concatenate([sums[:, 1:], sums[:, -1:]], axis=1)

    patch.setattr(features, function, shifted)


def promotions_of_hindsight(patch: Patch) -> None:
    """A training window sees promotions that were announced after its night."""
    real = Windows.__init__

    def made(self: Windows, *args: Any, **more: Any) -> None:
        real(self, *args, **more)
        self.promotion_lead = None

    patch.setattr(Windows, "__init__", made)


def split_by_row(patch: Patch) -> None:
    """Windows of all days train, those that validate included."""
    real = Training._train_step

    def step(self: Training, *args: Any) -> float:
        known, self.known = self.known, dict.fromkeys(self.known, self.windows.days)
        try:
            return real(self, *args)
        finally:
            self.known = known

    patch.setattr(Training, "_train_step", step)


def early_stopping_on_the_test_window(patch: Patch) -> None:
    """The best step is that which forecasts the days after the night best."""
    newest, real = two_weeks_later(patch), Training._validation_score

    def score(self: Training) -> float:
        kept = self.windows, self.known, self.validation_days
        self.windows = Windows(newest[-1], self.windows.spec)
        self.known, self.validation_days = self.known | {"validate": kept[0].days}, HORIZON
        try:
            return real(self)
        finally:
            self.windows, self.known, self.validation_days = kept

    patch.setattr(Training, "_validation_score", score)


def two_weeks_later(patch: Patch) -> list[Panel]:
    """Panels as they are two weeks after each night, put into the list when the night's own panel is made."""
    panels, real = [], nights.build_training_panel

    def both(view: Any, settings: Any, *, home: Any) -> Panel:
        with as_of_view(Lake(home, settings.compute), a_day(NIGHT + HORIZON)) as later:
            panels.append(build_panel(later, settings, horizon=settings.forecast.horizon_days, home=home))
        return real(view, settings, home=home)

    patch.setattr(nights, "build_training_panel", both)
    return panels


@dataclass(frozen=True)
class Leak:
    """A leak and the canary that must catch it."""

    mutate: Callable[[Patch], None]
    canary: Callable[[], Any]


LEAKS = {
    "an order line known later": Leak(partial(known_later, "demand_changes"), night),
    "a text edited later": Leak(partial(known_later, "item_sightings"), night),
    "an item announced later": Leak(partial(known_later, "announced_items"), night),
    "a promotion announced later": Leak(partial(known_later, "promotions"), night),
    "a review known later": Leak(partial(known_later, "reviews"), night),
    "a holiday announced later": Leak(partial(known_later, "calendar_occurrences"), night),
    "a sum of texts of a later quarter": Leak(partial(known_later, "item_sightings_until"), night),
    "a first day of a later quarter": Leak(partial(known_later, "demand_changes_until"), night),
    "a scaler fitted on everything": Leak(scaler_fitted_on_everything, night),
    "a scaler fitted on the validation days": Leak(scaler_fitted_on_validation, held_back),
    "a rolling feature that includes today": Leak(partial(rolling_one_day_on, "_running"), windows),
    "a weekday's rolling feature that includes today": Leak(partial(rolling_one_day_on, "_running_weekday"), windows),
    "a window with promotions announced later": Leak(promotions_of_hindsight, windows),
    "a split by row": Leak(split_by_row, held_back),
    "a split by row in an update": Leak(split_by_row, held_back_from_update),
    "early stopping on the test window": Leak(early_stopping_on_the_test_window, night),
}


def test_every_fact_that_a_view_reads_has_its_leak() -> None:
    """A table that views read from now on fails here until there is a leak of it too."""
    always_known = {"calendar_daily", "item_text_features"}
    read_by_no_forecast = {"order_lines"}
    leaking = {leak.mutate.args[0] for leak in LEAKS.values() if getattr(leak.mutate, "func", None) is known_later}
    assert set(as_of.FACTS) == leaking | always_known | read_by_no_forecast


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_is_caught(name: str) -> None:
    leak = LEAKS[name]
    assert not sings_about_the_real_pipeline(leak.canary), leak.canary()
    with pytest.MonkeyPatch.context() as patch:
        leak.mutate(patch)
        assert leak.canary(), f"nothing shows {name}"


@pytest.mark.parametrize("horizon", [28, 366], ids=["28 days", "a year ahead"])
def test_a_training_window_reads_nothing_that_came_after_its_night(horizon: int) -> None:
    assert windows_changed_by_later_days(horizon) == {}
