"""The training loop: the same weights every time, also after a kill; early stopping; budgets; a loss that explodes."""

import math
import re

import numpy as np
import pytest
import torch

from pipeline.errors import ModelError
from pipeline.models.base import Compute
from pipeline.models.networks import training
from pipeline.models.networks.checkpoint import CHECKPOINT_FILE
from pipeline.models.networks.forecaster import NetworkForecaster
from pipeline.models.networks.schedule import one_cycle
from pipeline.models.networks.steps import Steps
from pipeline.models.networks.training import Training
from tests.models.network_panels import shop_panel, small

CPU = Compute(threads=1)


class Clock:
    """Seconds that pass by themselves: some at each look."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def monotonic(self) -> float:
        self.now += self.step
        return self.now


class Killed(BaseException):
    """What a kill looks like from inside: nothing of the training runs after it."""


@pytest.fixture(scope="module")
def panel():
    return shop_panel(series=24, days=140)


@pytest.fixture
def often(monkeypatch):
    """A checkpoint after every step."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)


def weights_of(fitted) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in fitted.network.state_dict().items()}


def test_the_same_panel_and_seed_give_the_same_weights(panel, tmp_path):
    first, second = (
        NetworkForecaster(small(), "lstm").fit(panel, folder=tmp_path / name, compute=CPU) for name in "ab"
    )
    other = NetworkForecaster(small(seed=8), "lstm").fit(panel, folder=tmp_path / "c", compute=CPU)
    assert weights_of(first) == weights_of(second)
    assert weights_of(first) != weights_of(other)
    assert first.dependence == second.dependence


@pytest.mark.parametrize(("phase", "step"), [("pretrain", 2), ("validate", 1), ("validate", 7), ("refit", 2)])
def test_a_killed_training_resumes_to_the_same_weights(panel, tmp_path, monkeypatch, often, phase, step):
    whole = NetworkForecaster(small(), "lstm").fit(panel, folder=tmp_path / "whole", compute=CPU)
    real = Training._train_step

    def killed(self, at, number, rate):
        if rate and (at, number) == (phase, step):
            raise Killed
        return real(self, at, number, rate)

    monkeypatch.setattr(Training, "_train_step", killed)
    with pytest.raises(Killed):
        NetworkForecaster(small(), "lstm").fit(panel, folder=tmp_path / "killed", compute=CPU)
    done = []
    monkeypatch.setattr(
        Training,
        "_train_step",
        lambda self, at, number, rate: (done.append((at, number)), real(self, at, number, rate))[1],
    )
    resumed = NetworkForecaster(small(), "lstm").fit(panel, folder=tmp_path / "killed", compute=CPU)
    assert done[0] == (phase, step)
    assert weights_of(resumed) == weights_of(whole)
    assert resumed.dependence == whole.dependence
    assert resumed.report.curves == whole.report.curves


def test_a_finished_training_is_not_repeated(panel, tmp_path, monkeypatch):
    first = NetworkForecaster(small(), "lstm").fit(panel, folder=tmp_path, compute=CPU)
    monkeypatch.setattr(Training, "_train_step", lambda *_: pytest.fail("trained again"))
    assert weights_of(NetworkForecaster(small(), "lstm").fit(panel, folder=tmp_path, compute=CPU)) == weights_of(first)


@pytest.mark.parametrize("what", ["settings", "data", "damage"])
def test_a_checkpoint_of_something_else_is_not_resumed_from(panel, tmp_path, what):
    NetworkForecaster(small(seed=1) if what == "settings" else small(), "lstm").fit(
        shop_panel(series=24, days=140, seed=9) if what == "data" else panel, folder=tmp_path, compute=CPU
    )
    if what == "damage":
        file = tmp_path / CHECKPOINT_FILE
        file.write_bytes(file.read_bytes()[:200])
    again = NetworkForecaster(small(), "lstm").fit(panel, folder=tmp_path, compute=CPU)
    fresh = NetworkForecaster(small(), "lstm").fit(panel, folder=tmp_path / "fresh", compute=CPU)
    assert weights_of(again) == weights_of(fresh)


def test_stops_early_when_the_validation_no_longer_improves(panel, tmp_path, monkeypatch):
    scores = iter([0.9, 0.8, 0.81, 0.82, 0.83])
    monkeypatch.setattr(Training, "_validation_score", lambda self: next(scores))
    fitted = NetworkForecaster(small(max_steps=40, patience=3), "lstm").fit(panel, folder=tmp_path, compute=CPU)
    assert fitted.report.stopped == "early stopping"
    assert fitted.report.curves["validation_wql"] == [0.9, 0.8, 0.81, 0.82, 0.83]
    assert fitted.report.parameters["best_step"] == fitted.report.steps[1]


def test_seconds_become_steps_once_and_the_report_says_so(panel, tmp_path, monkeypatch):
    monkeypatch.setattr(Training, "_seconds_per_step", lambda self: 1.0)
    fitted = NetworkForecaster(small(max_steps=400, max_seconds=240.0, pretrain_steps=100), "lstm").fit(
        panel, folder=tmp_path, compute=CPU
    )
    steps = {phase: fitted.report.parameters[f"steps_{phase}"] for phase in ("pretrain", "validate", "refit")}
    assert sum(steps.values()) <= 240
    assert min(steps.values()) >= 1
    assert fitted.report.stopped == "steps"


def test_stops_at_the_wall_clock(panel, tmp_path, monkeypatch):
    monkeypatch.setattr(Training, "_seconds_per_step", lambda self: 0.0)
    fitted = NetworkForecaster(small(max_steps=5000, max_seconds=0.5), "lstm").fit(panel, folder=tmp_path, compute=CPU)
    assert fitted.report.stopped == "seconds"
    assert np.isfinite(fitted.forecast(panel, 14).mean).all()


def test_a_budget_that_teaches_nothing_is_refused_before_it_is_spent(panel, tmp_path, monkeypatch):
    monkeypatch.setattr(Training, "_seconds_per_step", lambda self: 1.0)
    with pytest.raises(ModelError, match=r"12 s allow \d+ of \d+ steps .* members\.lstm\.max_seconds"):
        NetworkForecaster(small(max_steps=400, max_seconds=12.0), "lstm").fit(panel, folder=tmp_path, compute=CPU)


def test_a_machine_that_became_busy_may_still_do_the_least_steps(panel, tmp_path, monkeypatch):
    monkeypatch.setattr(Training, "_seconds_per_step", lambda self: 0.0)
    for allowed, patience in ((0.02, 1000.0), (0.002, 1.0)):
        monkeypatch.setattr(training, "_PATIENCE", patience)
        forecaster = NetworkForecaster(small(max_steps=5000, max_seconds=allowed), "lstm")
        if patience > 1:
            fitted = forecaster.fit(panel, folder=tmp_path / "patient", compute=CPU)
            assert fitted.report.stopped == "seconds"
            assert fitted.report.parameters["best_validation_wql"] < float("inf") or not fitted.report.steps
        else:
            with pytest.raises(ModelError, match="a budget too small"):
                forecaster.fit(panel, folder=tmp_path / "not", compute=CPU)


def steps_allowed(monkeypatch):
    """A plan of all steps, and a clock of a second per step."""
    clock = Clock(1.0)
    monkeypatch.setattr(Training, "_seconds_per_step", lambda self: 0.0)
    monkeypatch.setattr(training, "time", clock)
    return clock


def test_a_pretraining_that_the_wall_clock_meets_ends_there_and_its_network_learns_all_the_same(
    panel, tmp_path, monkeypatch
):
    steps_allowed(monkeypatch)
    settings = small(max_steps=400, max_seconds=30.0, pretrain_steps=100)
    fitted = NetworkForecaster(settings, "mlp").fit(panel, folder=tmp_path, compute=CPU)
    told = fitted.report.parameters
    assert 25 <= told["steps_pretrain"] <= 30
    assert (fitted.report.stopped, told["budget"]) == ("seconds", "seconds")
    assert fitted.report.seconds < 80
    assert fitted.encoder is None, "half a pretraining would be what networks start from for half a year"


def test_steps_that_cannot_be_made_are_refused_at_once_with_seconds_that_would_do(panel, tmp_path, monkeypatch):
    clock = steps_allowed(monkeypatch)
    settings = small(max_steps=400, max_seconds=5.0, pretrain_steps=0)
    with pytest.raises(ModelError, match=r"5 s allow 2 of \d+ steps .* almanac\.yaml to (\d+) or more") as refused:
        NetworkForecaster(settings, "mlp").fit(panel, folder=tmp_path, compute=CPU)
    assert clock.now < 10
    advised = int(re.search(r"to (\d+) or more", str(refused.value)).group(1))
    assert 60 < advised < 100, "forty steps of validation, their share of refitting, and what is done beside steps"


def test_the_clock_in_the_refit_leaves_the_weights_that_were_validated(panel, tmp_path, monkeypatch):
    steps_allowed(monkeypatch)
    settings = small(max_steps=12, max_seconds=16.0, pretrain_steps=0)
    fitted = NetworkForecaster(settings, "mlp").fit(panel, folder=tmp_path, compute=CPU)
    assert fitted.report.stopped == "seconds"
    assert fitted.report.curves["validation_wql"], "it was validated"
    assert weights_of(fitted) == weights_of(fitted.validated)


@pytest.mark.parametrize("times", [1, 2])
def test_a_loss_that_is_not_a_number_goes_back_and_goes_on(panel, tmp_path, monkeypatch, times):
    left = [times]
    real = Training._train_step

    def sometimes(self, phase, step, rate):
        if rate and phase == "validate" and step == 5 + times - left[0] and left[0]:
            left[0] -= 1
            return math.nan
        return real(self, phase, step, rate)

    monkeypatch.setattr(Training, "_train_step", sometimes)
    fitted = NetworkForecaster(small(), "lstm").fit(panel, folder=tmp_path, compute=CPU)
    assert fitted.report.parameters["recoveries"] == times
    assert all(torch.isfinite(value).all() for value in fitted.network.state_dict().values())


def test_a_training_that_diverges_is_named(panel, tmp_path, monkeypatch):
    monkeypatch.setattr(Steps, "_loss", lambda self, *_: next(self.network.parameters()).sum() * math.nan)
    with pytest.raises(ModelError, match=r"diverged: the loss of validate step .* is nan.*training\.learning_rate"):
        NetworkForecaster(small(), "lstm").fit(panel, folder=tmp_path, compute=CPU)


def test_one_cycle_rises_then_falls_to_almost_nothing():
    rates = [one_cycle(step, 100, 1.0) for step in range(100)]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(1.0)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] == pytest.approx(1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine: CUDA with bf16 is not tried")
def test_trains_and_forecasts_on_a_gpu(panel, tmp_path):
    compute = Compute(device="cuda", threads=1, mixed_precision=True)
    fitted = NetworkForecaster(small(), "lstm").fit(panel, folder=tmp_path, compute=compute)
    assert np.isfinite(fitted.forecast(panel, 14, grid=True).grid).all()
