"""What a budget of seconds does to LightGBM: fewer series, windows and rounds; no model of days, or none of sums; never stubs."""

import re
from dataclasses import replace

import numpy as np
import pytest

from pipeline.errors import ModelError
from pipeline.models import registry
from pipeline.models.base import Compute
from pipeline.models.gradient_boosting import features, training
from pipeline.models.gradient_boosting.boosters import NAMES
from pipeline.models.gradient_boosting.features import Features
from pipeline.models.gradient_boosting.forecaster import LightgbmQuantiles
from pipeline.models.gradient_boosting.plan import (
    LEAST_ROUNDS,
    WINDOWS_OF_A_SERIES,
    Costs,
    Plan,
    TooLittleTimeError,
    planned,
)
from pipeline.models.gradient_boosting.training import _Run
from pipeline.models.gradient_boosting.windows import Sampler
from tests.models.network_panels import shop_panel, small

CPU = Compute(threads=1)
SHORT = small(max_steps=8, batch_size=128)
"""Eight rounds over a thousand windows."""
LONG = small(max_steps=400, batch_size=128)


@pytest.fixture(scope="module")
def panel():
    return shop_panel(series=24, days=105)


def trained(panel, tmp_path, settings=SHORT, max_seconds=600.0):
    return LightgbmQuantiles(settings, max_seconds).fit(panel, folder=tmp_path, compute=CPU)


class Clock:
    """Seconds that pass by themselves: some at each look."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def monotonic(self) -> float:
        self.now += self.step
        return self.now


def costing(monkeypatch, **costs):
    """A probe that says what a training costs, whatever it does."""
    told = {"spent": 0.0, "per_window": 0.0, "per_round": 0.0, "leads": 14} | costs
    monkeypatch.setattr(_Run, "costs", lambda self, known_days, rows: Costs(**told))


def test_a_small_budget_that_suffices_gives_a_model_of_fewer_windows_and_rounds(panel, tmp_path, monkeypatch):
    costing(monkeypatch, per_round=10.0)
    hurried = trained(panel, tmp_path, LONG)
    told = hurried.report.parameters
    assert told["budget"] == "seconds"
    assert told["max_rounds"] < 150
    assert told["windows"] < 4_000
    assert min(hurried.boosters.rounds.values()) >= LEAST_ROUNDS
    assert hurried.forecast(panel, 14).mean.sum() > 0


def test_a_budget_too_small_for_any_model_is_refused_by_name(panel, tmp_path):
    with pytest.raises(
        ModelError, match=r"0.01 s do not allow 20 rounds .*members\.lightgbm\.max_seconds.*leave other"
    ) as e:
        trained(panel, tmp_path, LONG, max_seconds=0.01)
    assert "training.max_seconds" in str(e.value)


def test_a_clock_that_stops_boosters_at_their_start_stops_the_training(panel, tmp_path, monkeypatch):
    """The plan was too hopeful: a second passes at each round, and ten are allowed."""
    costing(monkeypatch)
    monkeypatch.setattr(training, "time", Clock(1.0))
    with pytest.raises(ModelError, match=r"10 s do not allow 20 rounds .*almanac\.yaml to (\d+) or more") as refused:
        trained(panel, tmp_path, LONG, max_seconds=10.0)
    advised = int(re.search(r"to (\d+) or more", str(refused.value)).group(1))
    assert LEAST_ROUNDS * len(NAMES) < advised < 3 * LEAST_ROUNDS * len(NAMES), "two looks at the clock per round"


def test_a_clock_that_stops_boosters_later_leaves_each_its_least_rounds(panel, tmp_path, monkeypatch):
    costing(monkeypatch)
    monkeypatch.setattr(training, "time", Clock(1.0))
    seconds = 3 * LEAST_ROUNDS * len(NAMES)
    hurried = trained(panel, tmp_path, LONG, max_seconds=seconds)
    assert (hurried.report.stopped, hurried.report.parameters["budget"]) == ("seconds", "seconds")
    assert LEAST_ROUNDS <= min(hurried.boosters.rounds.values()) <= max(hurried.boosters.rounds.values()) < 60
    assert hurried.boosters.texts != hurried.validated.boosters.texts, "there was time for the last days too"


def test_a_plan_counts_every_pass_over_the_features():
    """Twenty thousand series at a millisecond each: a pass takes as long for a few windows of all of them as for many."""
    wanted = Plan(rows=150_000, series=20_000, rounds=150)
    costs = Costs(spent=1.0, per_window=1e-3 / WINDOWS_OF_A_SERIES, per_round=0.05, leads=28)
    plan = planned(wanted, costs, max_seconds=60.0)
    assert plan.budget == "seconds"
    assert plan.series == 5_000
    assert plan.rows < wanted.rows
    assert costs.whole(plan) <= 60.0
    assert planned(wanted, costs, max_seconds=200.0) is wanted
    with pytest.raises(TooLittleTimeError) as refused:
        planned(wanted, costs, max_seconds=2.0)
    enough = refused.value.seconds
    assert planned(wanted, costs, max_seconds=enough).rounds == LEAST_ROUNDS


def test_windows_of_fewer_series_cost_a_pass_over_those_alone(panel, monkeypatch):
    sampler = Sampler.of(panel, 100)
    windows = sampler.draw(np.random.default_rng(0), 4000, 6)
    assert len(windows) >= 3500
    assert 1 < len(set(windows.series)) <= 6
    read = []
    real = features._daily
    monkeypatch.setattr(features, "_daily", lambda panel, rows, first: (read.extend(rows), real(panel, rows, first))[1])
    table = Features.learn(panel, 100).table(panel, windows, CPU)
    assert read == sorted(set(windows.series.tolist()))
    monkeypatch.undo()
    at = windows.series == read[-1]
    alone = Features.learn(panel, 100).table(panel, windows.take(at), CPU)
    assert alone.values.tobytes() == table.values[at].tobytes()


def test_fewer_series_are_drawn_as_often_as_all_of_them_would_be(panel):
    sampler = Sampler.of(panel, 100)
    drawn = np.zeros(panel.series)
    for seed in range(400):
        windows = sampler.draw(np.random.default_rng(seed), 200, 5)
        drawn += np.bincount(windows.series, minlength=panel.series)
    share = drawn[sampler.rows] / drawn.sum()
    assert np.abs(share - sampler.chance).max() < 0.015


def test_a_plan_of_fewer_series_learns_and_validates_on_those_alone(panel, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "planned", lambda wanted, costs, seconds: replace(wanted, series=6, budget="seconds"))
    validated = []
    real = _Run.validation
    monkeypatch.setattr(_Run, "validation", lambda self, n: (validated.append(real(self, n)), validated[-1])[1])
    fitted = trained(panel, tmp_path)
    assert fitted.report.parameters["learned_series"] <= 6
    assert validated[0].series == 6
    assert fitted.forecast(panel, 14).mean.sum() > 0


@pytest.mark.parametrize("left", ["too little", "nothing"])
def test_sums_that_the_rest_of_the_seconds_does_not_allow_are_left_out(tmp_path, monkeypatch, left):
    panel, real = shop_panel(series=20, days=140, ahead=28), training.train

    def hurried(task, compute, progress):
        if task.length > 1:
            assert left == "too little", "a training of no seconds"
            raise TooLittleTimeError(33.0)
        outcome = real(task, compute, progress)
        return replace(outcome, report=replace(outcome.report, seconds=605.0 if left == "nothing" else 599.0))

    monkeypatch.setattr(training, "train", hurried)
    fitted = trained(panel, tmp_path)
    assert fitted.sums is None
    told = {"too little": "about 33.0 would suffice", "nothing": "0.0 s of members.lightgbm.max_seconds were left"}
    assert fitted.report.parameters["sums"].startswith("left out, ")
    assert told[left] in fitted.report.parameters["sums"]
    fitted.save(tmp_path)
    assert registry.load(tmp_path, CPU).forecast(panel, 28, grid=True).stretches is None
