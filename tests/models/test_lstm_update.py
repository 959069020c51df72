"""Updates: the champion's network trained on, on new days and a replay of old ones; resumable; never worse by choice."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.models.base import Compute
from pipeline.models.networks import training
from pipeline.models.networks.checkpoint import read_checkpoint
from pipeline.models.networks.forecaster import NetworkForecaster, load_network
from pipeline.models.networks.schedule import Course, Sampler
from pipeline.models.networks.training import Training
from pipeline.models.panel import Panel
from pipeline.models.quantiles import quantile_loss
from tests.models.contract import check_refused_starts
from tests.models.network_panels import WEEK, shop_panel, small

CPU = Compute(threads=1)
SETTINGS = small(update_steps=8, replay_share=0.5)
NEW_DAYS = 14


class Killed(BaseException):
    """What a kill looks like from inside: nothing of the training runs after it."""


def weights_of(fitted) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in fitted.network.state_dict().items()}


@pytest.fixture(scope="module")
def tonight() -> Panel:
    return shop_panel(series=24, days=154)


@pytest.fixture(scope="module")
def champion(tonight, tmp_path_factory):
    """A network trained two weeks ago, read back from its folder as a night would."""
    before = replace(
        tonight.until(tonight.history - NEW_DAYS),
        calendar=tonight.calendar[:-NEW_DAYS],
        price=tonight.price[:, :-NEW_DAYS],
        promotion=tonight.promotion[:, :-NEW_DAYS],
        closed=tonight.closed[:-NEW_DAYS],
    )
    folder = tmp_path_factory.mktemp("champion")
    NetworkForecaster(SETTINGS, "lstm").fit(before, folder=folder / "training", compute=CPU).save(folder / "model")
    return load_network(folder / "model")


def update(tonight, champion, folder, **more):
    return NetworkForecaster(small(update_steps=8, **more), "lstm").fit(
        tonight, folder=folder, compute=CPU, start=champion
    )


def test_an_update_keeps_what_the_network_reads_and_moves_its_weights(tonight, champion, tmp_path):
    updated = update(tonight, champion, tmp_path)
    assert updated.spec == champion.spec
    assert updated.network.sizes == champion.network.sizes
    assert weights_of(updated) != weights_of(champion)
    assert updated.trained_on["as_of"] == tonight.as_of.isoformat()
    assert updated.report.parameters["unseen_days"] == NEW_DAYS
    assert updated.report.parameters["validation_days"] == NEW_DAYS
    steps = [updated.report.parameters[f"steps_{phase}"] for phase in ("pretrain", "validate", "refit")]
    assert steps[0] == 0
    assert sum(steps) == 8
    assert updated.dependence == champion.dependence, "two weeks tell nothing of how days move together"


def test_the_champion_itself_is_among_the_choices(tonight, champion, tmp_path, monkeypatch):
    scores = iter([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    monkeypatch.setattr(Training, "_validation_score", lambda self: next(scores))
    updated = update(tonight, champion, tmp_path)
    assert updated.report.parameters["best_step"] == 0
    assert updated.report.steps[0] == 0
    assert weights_of(updated.validated) == weights_of(champion)
    assert weights_of(updated) != weights_of(champion), "the new days are learned all the same"


def test_what_is_held_back_stays_unseen_until_the_refit(tonight, champion, tmp_path):
    """Whatever the new days held, the weights that are judged by them are the same, but for which of them is best."""
    other = replace(tonight, units=tonight.units.copy(), units_winsorised=tonight.units_winsorised.copy())
    other.units[:, -NEW_DAYS:] *= 1.05
    other.units_winsorised[:, -NEW_DAYS:] *= 1.05
    one, two = (update(panel, champion, tmp_path / name) for panel, name in ((tonight, "a"), (other, "b")))
    assert one.report.parameters["best_step"] == two.report.parameters["best_step"], "else compare other panels"
    assert weights_of(one.validated) == weights_of(two.validated)
    assert weights_of(one) != weights_of(two)


def test_a_full_training_holds_its_last_days_back_too(tonight, tmp_path):
    fitted = NetworkForecaster(SETTINGS, "lstm").fit(tonight, folder=tmp_path, compute=CPU)
    assert weights_of(fitted.validated) != weights_of(fitted)
    again = NetworkForecaster(SETTINGS, "lstm").fit(tonight, folder=tmp_path, compute=CPU)
    assert weights_of(again.validated) == weights_of(fitted.validated), (
        "read from the checkpoint of the finished training"
    )


@pytest.mark.parametrize(("phase", "step"), [("validate", 0), ("validate", 3), ("refit", 0), ("refit", 2)])
def test_a_killed_update_resumes_to_the_same_weights(tonight, champion, tmp_path, monkeypatch, phase, step):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)
    whole = update(tonight, champion, tmp_path / "whole")
    real = Training._train_step

    def killed(self, at, number, rate):
        if rate and (at, number) == (phase, step):
            raise Killed
        return real(self, at, number, rate)

    monkeypatch.setattr(Training, "_train_step", killed)
    with pytest.raises(Killed):
        update(tonight, champion, tmp_path / "killed")
    monkeypatch.setattr(Training, "_train_step", real)
    resumed = update(tonight, champion, tmp_path / "killed")
    assert weights_of(resumed) == weights_of(whole)
    assert weights_of(resumed.validated) == weights_of(whole.validated)
    assert resumed.report.curves == whole.report.curves


def test_a_checkpoint_of_another_champion_is_not_resumed_from(tonight, champion, tmp_path):
    from copy import deepcopy

    other = replace(champion, network=deepcopy(champion.network))
    for value in other.network.parameters():
        value.data.mul_(1.01)
    fresh = update(tonight, champion, tmp_path / "fresh")
    update(tonight, other, tmp_path / "shared")
    assert weights_of(update(tonight, champion, tmp_path / "shared")) == weights_of(fresh)


def test_the_plan_stands_in_the_checkpoint_before_the_first_step(tonight, tmp_path, monkeypatch):
    """Two machines, or one machine twice: a killed training keeps the plan that its first process made."""
    seconds = iter([1.0, 0.001])
    monkeypatch.setattr(Training, "_seconds_per_step", lambda self: next(seconds))
    real = Training._train_step
    monkeypatch.setattr(Training, "_train_step", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        NetworkForecaster(small(max_seconds=240.0, max_steps=400), "lstm").fit(tonight, folder=tmp_path, compute=CPU)
    monkeypatch.setattr(Training, "_train_step", real)
    fitted = NetworkForecaster(small(max_seconds=240.0, max_steps=400), "lstm").fit(
        tonight, folder=tmp_path, compute=CPU
    )
    planned = sum(fitted.report.parameters[f"steps_{phase}"] for phase in ("pretrain", "validate", "refit"))
    assert planned <= 240
    assert fitted.report.parameters["budget"] == "seconds"


def test_where_seconds_do_not_bind_the_clock_has_no_say(tonight, tmp_path, monkeypatch):
    made = []
    for name, seconds in (("a", 0.001), ("b", 0.7)):
        monkeypatch.setattr(Training, "_seconds_per_step", lambda self, seconds=seconds: seconds)
        made.append(NetworkForecaster(small(), "lstm").fit(tonight, folder=tmp_path / name, compute=CPU))
    assert weights_of(made[0]) == weights_of(made[1])
    assert [one.report.parameters["budget"] for one in made] == ["steps", "steps"]


def test_the_wall_clock_is_told_as_what_bound(tonight, tmp_path, monkeypatch):
    monkeypatch.setattr(Training, "_seconds_per_step", lambda self: 0.0)
    fitted = NetworkForecaster(small(max_steps=5000, max_seconds=0.4), "lstm").fit(
        tonight, folder=tmp_path, compute=CPU
    )
    assert (fitted.report.stopped, fitted.report.parameters["budget"]) == ("seconds", "seconds")
    assert fitted.validated is not None


def test_what_cannot_be_gone_on_from_is_refused(tonight, champion, tmp_path):
    check_refused_starts(lambda start: update(tonight, start, tmp_path), champion, tonight, tmp_path)


def test_fresh_windows_reach_into_the_new_days_and_into_the_newest_known_while_those_are_held_back(tonight):
    course = Course.update(SETTINGS, 154, 14, unseen=7)
    assert course.validation_days == 7
    assert course.fresh_from(154) == 154 - 7 - 28
    assert course.fresh_from(147) == 147 - 7 - 28
    import torch

    sampler = Sampler.of(
        torch.as_tensor(tonight.units), torch.as_tensor(tonight.first_sold), 154, course.fresh_from(154)
    )
    _, nights = sampler.draw(np.random.default_rng(0), 500)
    assert nights.min() >= 154 - 7 - 28
    assert nights.max() <= 154 - 1 - 7
    assert len(set(nights.tolist())) > 20


def test_an_interrupted_update_leaves_the_weights_to_be_judged_in_its_checkpoint(tonight, champion, tmp_path):
    """The checkpoint of a finished update still tells validated weights and final ones apart."""
    from safetensors import safe_open

    update(tonight, champion, tmp_path)
    file = tmp_path / "checkpoint.safetensors"
    with safe_open(file, framework="pt") as stored:
        names = set(stored.keys())
    assert {f"best/{name}" for name in champion.network.state_dict()} <= names
    assert read_checkpoint(tmp_path, "another mark") is None


@pytest.mark.slow
def test_an_update_learns_a_shop_that_changed_and_keeps_its_past(tmp_path):
    """The busy weekday moves by two days; four weeks of it are new. What comes is forecast better; replay spares the past."""
    days, new, ahead = 322, 28, 14
    panel = shop_panel(80, days + new + ahead, 0, seed=5)
    random = np.random.default_rng(8)
    level = panel.units[:, 200:days].mean(axis=1) / WEEK.mean()
    moved = [*np.roll(WEEK[:6], 2).tolist(), 0.0]
    after = np.arange(days, days + new + ahead) % 7
    units = panel.units.copy()
    units[:, days:] = random.poisson(level[:, None] * np.array(moved)[after])
    first = replace(panel, units=units, units_winsorised=units)

    def night(history: int) -> Panel:
        return replace(
            first.until(history),
            price=first.price[:, : history + ahead],
            promotion=first.promotion[:, : history + ahead],
            calendar=first.calendar[: history + ahead],
            closed=first.closed[: history + ahead],
        )

    def wql(fitted, history: int) -> float:
        actual = units[:, history : history + ahead].astype(float)
        quantiles = fitted.forecast(night(history), ahead).quantiles
        return quantile_loss(actual.ravel(), quantiles.reshape(actual.size, -1)).sum() / actual.sum()

    settings = small(hidden=24, max_steps=240, batch_size=64, learning_rate=5e-3, update_steps=120, validation_days=14)
    old = NetworkForecaster(settings, "lstm").fit(night(days), folder=tmp_path / "old", compute=CPU)
    with_replay, without = (
        NetworkForecaster(settings.model_copy(update={"replay_share": share}), "lstm").fit(
            night(days + new), folder=tmp_path / str(share), compute=CPU, start=old
        )
        for share in (0.5, 0.0)
    )
    assert wql(with_replay, days + new) < 0.97 * wql(old, days + new)
    assert wql(with_replay, 200) < 0.98 * wql(without, 200)
