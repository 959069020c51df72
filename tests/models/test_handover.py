"""Handing over from launches to the item's own sales: smoothly, and at the pace that was best before."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.model_settings import EnsembleSettings
from pipeline.models import handover
from pipeline.models.base import Compute
from pipeline.models.croston import Croston
from pipeline.models.ensemble import LAUNCHES, Ensemble, FittedEnsemble
from pipeline.models.launches.forecaster import Launches
from pipeline.models.quantiles import LEVELS
from pipeline.models.registry import load
from pipeline.models.seasonal_naive import SeasonalNaive
from tests.models.contract import answer_of
from tests.models.launching_shop import launching_shop

CPU = Compute(threads=1)


@pytest.fixture(scope="module")
def panel():
    return launching_shop(days=540, last=60)[0]


@pytest.fixture(scope="module")
def fitted(panel, tmp_path_factory) -> FittedEnsemble:
    members = {"seasonal_naive": SeasonalNaive(), "croston": Croston(), LAUNCHES: Launches()}
    return Ensemble(members, EnsembleSettings()).fit(panel, folder=tmp_path_factory.mktemp("handover"), compute=CPU)


def ages(panel):
    return panel.history - panel.first_sold


def test_an_item_that_never_sold_is_forecast_as_launches_went(panel, fitted):
    new = panel.rows(ages(panel) == 0)
    answer = answer_of(fitted, new, 28)
    alone = fitted.members[LAUNCHES].forecast(new, 28)
    assert answer.mean == pytest.approx(alone.mean)
    assert answer.mean.sum() > 0


def test_an_item_with_a_history_is_forecast_by_it_alone(panel, fitted):
    old = panel.rows(ages(panel) >= handover.YOUNG_DAYS)
    others = {name: member for name, member in fitted.members.items() if name != LAUNCHES}
    assert fitted.forecast(old, 28).mean.tobytes() == replace(fitted, members=others).forecast(old, 28).mean.tobytes()


def test_no_day_of_age_changes_the_share_by_much(panel):
    one = panel.rows(np.zeros(handover.YOUNG_DAYS, dtype=np.int64))
    by_age = replace(one, first_sold=one.history - np.arange(handover.YOUNG_DAYS))
    for days in handover.DAYS:
        share = handover.shares(by_age, days)
        assert share[0] == 1
        assert (np.diff(share) < 0).all()
        assert np.abs(np.diff(share)).max() <= 1 - np.exp(-1 / days)
    assert handover.shares(by_age, handover.USUAL_DAYS)[-1] < 0.001


@pytest.mark.parametrize("better", ["launches", "own sales"])
def test_the_pace_is_that_of_whoever_was_right(panel, better):
    young = panel.rows((ages(panel) > 0) & (ages(panel) < 40))
    random = np.random.default_rng(0)
    actual = random.poisson(3.0, (young.series, 28)).astype(float)
    centre = np.broadcast_to(actual.mean(axis=1, keepdims=True), actual.shape)

    def answer(noise):
        mean = centre * np.exp(noise * random.normal(size=(young.series, 1)))
        return mean, mean[..., None] + np.linspace(-3, 3, len(LEVELS))

    right, wrong = answer(0.01), answer(1.0)
    pair = (wrong, right) if better == "launches" else (right, wrong)
    days = handover.fitted_days(young, actual, *pair)
    assert days == (max(handover.DAYS) if better == "launches" else min(handover.DAYS))


def test_few_young_items_tell_nothing(panel):
    few = panel.rows(np.arange(5))
    flat = np.ones((5, 28)), np.ones((5, 28, len(LEVELS)))
    assert handover.fitted_days(few, np.ones((5, 28)), flat, flat) == handover.USUAL_DAYS


def test_slices_of_rows_give_the_bytes_of_the_whole(panel, fitted):
    whole = fitted.forecast(panel, 28, grid=True)
    parts = [
        fitted.forecast(panel.rows(slice(start, start + 70)), 28, grid=True) for start in range(0, panel.series, 70)
    ]
    for name in ("mean", "quantiles", "grid", "item_share"):
        assert np.concatenate([getattr(part, name) for part in parts]).tobytes() == getattr(whole, name).tobytes()


def test_read_back_it_answers_the_same_bytes(panel, fitted, tmp_path):
    fitted.save(tmp_path)
    again = load(tmp_path, CPU)
    one, two = (which.forecast(panel, 28, grid=True) for which in (fitted, again))
    assert one.grid.tobytes() == two.grid.tobytes()
    assert again.handover_days == fitted.handover_days


def test_a_shop_that_saw_few_launches_is_not_degraded(tmp_path):
    panel = launching_shop(days=200, launches=10, last=0)[0]
    members = {"seasonal_naive": SeasonalNaive(), LAUNCHES: Launches()}
    fitted = Ensemble(members, EnsembleSettings()).fit(panel, folder=tmp_path, compute=CPU)
    assert list(fitted.members) == ["seasonal_naive"]
    assert not fitted.failed
    assert not fitted.forecast(panel, 28).failed


def test_launches_that_cannot_answer_are_named_and_the_others_answer(panel, fitted, monkeypatch):
    def broken(*_, **__):
        raise MemoryError("out of memory")

    monkeypatch.setattr(type(fitted.members[LAUNCHES]), "forecast", broken)
    answer = fitted.forecast(panel, 28)
    assert answer.failed == {LAUNCHES: "MemoryError: out of memory"}
    assert np.isfinite(answer.mean).all()


def test_the_shares_of_the_common_move_and_the_spread_of_sums_are_handed_over_too(panel, fitted):
    answer = fitted.forecast(panel.rows(ages(panel) == 0), 28, grid=True)
    alone = fitted.members[LAUNCHES].forecast(panel.rows(ages(panel) == 0), 28, grid=True)
    assert answer.item_share == pytest.approx(alone.item_share)
