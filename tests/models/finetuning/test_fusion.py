"""The fusion of a language model with a series network behind the forecasters' interface."""

import json
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from pipeline.errors import HistoryError, ModelError
from pipeline.model_settings import MemberSettings
from pipeline.models import registry
from pipeline.models.base import Compute
from pipeline.models.finetuning import loop
from pipeline.models.finetuning.distributed import Peers
from pipeline.models.finetuning.fusion_training import FusionJob, FusionTraining
from pipeline.models.finetuning.loop import Loop
from pipeline.models.finetuning.reader import TextReader
from pipeline.models.fusion import Fusion
from pipeline.models.networks.forecaster import NetworkForecaster
from pipeline.settings import LanguageModelSettings
from tests.models.contract import answer_of
from tests.models.finetuning.toys import find, quick
from tests.models.network_panels import changed_after, shop_panel, small

CPU = Compute(threads=1)
WORDS = ["red lamp", "blue mug", "", "tree", "red tree", "blue lamp"]


class Killed(BaseException):
    """What a kill looks like from inside: nothing of the training runs after it."""


def forecaster(folder, training=None, max_seconds=1200.0, **tuning):
    return Fusion(
        MemberSettings(on=True, max_seconds=max_seconds),
        quick(**{"epochs": 0.4, "learning_rate": 3e-2, "patience": 99, **tuning}),
        training or small(dropout=0.0),
        LanguageModelSettings(model=str(folder)),
    )


def shop(days=98, ahead=14):
    panel = shop_panel(series=12, days=days, ahead=ahead)
    return replace(panel, item_text=np.array(WORDS * 2, dtype=np.str_))


@pytest.fixture(scope="module")
def panel():
    return shop()


@pytest.fixture(scope="module")
def fitted(panel, bert_folder, tmp_path_factory):
    return forecaster(bert_folder).fit(panel, folder=tmp_path_factory.mktemp("fit"), compute=CPU)


def as_bytes(forecast) -> bytes:
    return forecast.mean.tobytes() + forecast.quantiles.tobytes() + forecast.grid.tobytes()


def weights_of(fitted):
    series = {name: value.numpy().tobytes() for name, value in fitted.series.network.state_dict().items()}
    return series | {name: value.numpy().tobytes() for name, value in fitted.reader.learned().items()}


def test_both_learned_and_the_base_stayed(fitted, bert_folder, panel, tmp_path):
    parameters = fitted.report.parameters
    assert parameters["joint_best_step"] > 0
    assert parameters["refit_steps"] == max(1, round(0.35 * parameters["joint_best_step"]))
    assert parameters["texts"] == 5
    assert any("lora_B" in name and value.any() for name, value in fitted.reader.learned().items())
    from transformers import AutoModel

    base = AutoModel.from_pretrained(bert_folder).state_dict()
    mine = fitted.reader.adapted.get_base_model().state_dict()
    for name, value in base.items():
        there = (
            name if name in mine else name.replace(".weight", ".base_layer.weight").replace(".bias", ".base_layer.bias")
        )
        assert torch.equal(value, mine[there]), name
    alone = NetworkForecaster(small(dropout=0.0), "transformer").fit(
        replace(panel, text=fitted.reader.told(panel, "cpu").text), folder=tmp_path, compute=CPU
    )
    assert alone.network.sizes == fitted.series.network.sizes


def test_quantiles_are_whole_units_that_never_cross(fitted, panel):
    answer_of(fitted, panel, 14)


def test_slices_of_rows_give_the_bytes_of_the_whole(fitted, panel):
    whole = fitted.forecast(panel, 14, grid=True)
    fresh = replace(fitted, reader=replace(fitted.reader, known={}))
    parts = [fresh.forecast(panel.rows(slice(a, b)), 14, grid=True) for a, b in pairwise([0, 1, 5, 12])]
    for name in ("mean", "quantiles", "grid"):
        assert np.concatenate([getattr(part, name) for part in parts]).tobytes() == getattr(whole, name).tobytes()


def test_the_future_changes_nothing(fitted, panel):
    night = 84
    cut = panel.until(night)
    after = changed_after(panel, night, units=900, units_winsorised=900).until(night)
    assert as_bytes(fitted.forecast(cut, 14, grid=True)) == as_bytes(fitted.forecast(after, 14, grid=True))


def test_a_text_is_read_and_a_vector_of_elsewhere_is_not(fitted, panel):
    before = fitted.forecast(panel, 14, grid=True)
    other = replace(panel, item_text=np.array(["blue blue tree"] * 12, dtype=np.str_))
    assert as_bytes(fitted.forecast(other, 14, grid=True)) != as_bytes(before)
    elsewhere = replace(panel, text=np.zeros((12, 3), np.float32))
    assert as_bytes(fitted.forecast(elsewhere, 14, grid=True)) == as_bytes(before)
    assert np.isfinite(fitted.forecast(replace(panel, item_text=None), 14).mean).all()


def test_saved_and_loaded_it_gives_the_same_bytes(fitted, panel, tmp_path):
    fitted.save(tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"series", "tuned.safetensors", "tuned.json"}
    again = registry.load(tmp_path / "model", CPU)
    assert as_bytes(again.forecast(panel, 14, grid=True)) == as_bytes(fitted.forecast(panel, 14, grid=True))
    assert again.dependence == fitted.dependence
    assert again.describe() == fitted.describe()
    assert again.lookback_days == fitted.lookback_days


def test_another_base_is_refused(fitted, other_folder, tmp_path):
    fitted.save(tmp_path)
    stored = json.loads((tmp_path / "tuned.json").read_text())
    stored["base"]["path"] = stored["base"]["model"] = str(other_folder)
    (tmp_path / "tuned.json").write_text(json.dumps(stored))
    with pytest.raises(ModelError, match=r"was fine-tuned from tiny-bert@.*other-bert@"):
        registry.load(tmp_path)


def test_what_is_validated_is_not_what_learned_the_last_days(fitted, panel):
    assert fitted.validated.reader is fitted.reader
    whole, held = (which.forecast(panel, 14, grid=True) for which in (fitted, fitted.validated))
    assert whole.grid.tobytes() != held.grid.tobytes()


def test_the_days_held_back_are_not_learned(fitted, bert_folder, panel, tmp_path):
    def training(some, phase):
        job = FusionJob(
            panel=fitted.reader.told(some, "cpu"), tokens=fitted.reader.tokens(WORDS * 2), max_tokens=24, series=fitted.series,
            fine_tuning=quick(), training=small(), found=find(bert_folder), folder=tmp_path, max_seconds=60.0, start=None,
            phase=phase,
        )  # fmt: skip
        return FusionTraining(job, Peers())

    other = changed_after(panel, panel.history - 14, units=900, units_winsorised=900)
    before, after = (training(some, "joint") for some in (panel, other))
    assert torch.equal(before.weights, after.weights)
    learned = before.weights > 0
    assert torch.equal(before.units[learned], after.units[learned])
    assert not torch.equal(training(panel, "refit").weights, training(other, "refit").weights)


@pytest.mark.parametrize("phase", ["joint", "refit"])
def test_a_killed_training_resumes_to_the_same_bytes(bert_folder, panel, tmp_path, monkeypatch, fitted, phase):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    real = Loop._train_step

    def killed(self, number, rate):
        if rate and number == (2 if phase == "joint" else 0) and self.course.folder.name == phase:
            raise Killed
        return real(self, number, rate)

    monkeypatch.setattr(Loop, "_train_step", killed)
    with pytest.raises(Killed):
        forecaster(bert_folder).fit(panel, folder=tmp_path, compute=CPU)
    monkeypatch.setattr(Loop, "_train_step", real)
    again = forecaster(bert_folder).fit(panel, folder=tmp_path, compute=CPU)
    assert weights_of(again) == weights_of(fitted)


def slow_reading(monkeypatch, *seconds):
    """Reading texts takes so many seconds, the first time and the next ones."""
    real, left = TextReader.told, list(seconds)

    def told(self, panel, device):
        time.sleep(left.pop(0))
        return real(self, panel, device)

    monkeypatch.setattr(TextReader, "told", told)


@pytest.fixture
def budgets(monkeypatch):
    """Seconds that each part of a training was given."""
    given = {}
    network, joint = NetworkForecaster.fit, FusionTraining.__init__

    def fit(self, *args, **more):
        given["series"] = self.settings.max_seconds
        return network(self, *args, **more)

    def init(self, job, *args):
        given[job.phase] = job.max_seconds
        joint(self, job, *args)

    monkeypatch.setattr(NetworkForecaster, "fit", fit)
    monkeypatch.setattr(FusionTraining, "__init__", init)
    return given


def test_reading_texts_counts_in_the_seconds(bert_folder, panel, tmp_path, monkeypatch, budgets):
    slow_reading(monkeypatch, 0.2, 0.1)
    fitted = forecaster(bert_folder, max_seconds=1000.0, epochs=0.1).fit(panel, folder=tmp_path, compute=CPU)
    left = 1000.0 - sum(budgets.values())
    assert 0.4 <= left < 10
    assert [budgets[part] / (1000 - left) for part in ("series", "joint", "refit")] == pytest.approx([0.5, 0.4, 0.1])
    assert fitted.report.seconds > 0.3


def test_seconds_that_reading_uses_up_are_refused(bert_folder, panel, tmp_path, monkeypatch, budgets):
    slow_reading(monkeypatch, 0.2)
    with pytest.raises(
        ModelError, match=r"reading 5 item texts takes 0\.\d s .*members\.fusion\.max_seconds \(0\.3\).*raise it"
    ):
        forecaster(bert_folder, max_seconds=0.3).fit(panel, folder=tmp_path, compute=CPU)
    assert not budgets


def test_a_resumed_training_has_the_seconds_that_it_had(bert_folder, panel, tmp_path, monkeypatch, budgets):
    """Else another speed of reading would make its checkpoints those of another training."""
    slow_reading(monkeypatch, 0.0, 0.1, 0.0, 0.0, 0.0)
    real = Loop.run
    monkeypatch.setattr(Loop, "run", lambda self: killed())

    def killed():
        raise Killed

    with pytest.raises(Killed):
        forecaster(bert_folder, epochs=0.1).fit(panel, folder=tmp_path, compute=CPU)
    first = dict(budgets)
    monkeypatch.setattr(Loop, "run", real)
    forecaster(bert_folder, epochs=0.1).fit(panel, folder=tmp_path, compute=CPU)
    assert {part: budgets[part] for part in first} == first


def test_curves_are_those_of_their_steps(fitted):
    """The joint training has steps of its own, so of its curve the report tells the two ends only."""
    report = fitted.report
    assert set(report.curves) == {"validation_wql", "training_loss"}
    assert all(len(values) == len(report.steps) for values in report.curves.values())
    assert 0 < report.parameters["joint_validation_wql"] < report.parameters["joint_start_wql"]
    assert report.parameters["halved"] == 0


def test_a_batch_without_any_text_is_learned_from_too(bert_folder, panel, tmp_path):
    """One of twelve series has a text: most batches have none."""
    rare = replace(panel, item_text=np.array(["red lamp", *[""] * 11], dtype=np.str_))
    fitted = forecaster(bert_folder, method="adalora", batch_size=2, epochs=0.15).fit(
        rare, folder=tmp_path, compute=CPU
    )
    assert fitted.report.parameters["joint_steps"] > 5


def test_it_validates_in_the_parts_that_it_learns_in(fitted, bert_folder, panel, tmp_path, monkeypatch):
    job = FusionJob(
        panel=fitted.reader.told(panel, "cpu"), tokens=fitted.reader.tokens(WORDS * 2), max_tokens=24, series=fitted.series,
        fine_tuning=quick(accumulate=2), training=small(), found=find(bert_folder), folder=tmp_path, max_seconds=60.0,
        start=None,
    )  # fmt: skip
    training, sizes = FusionTraining(job, Peers()), []
    real = training._texts
    monkeypatch.setattr(training, "_texts", lambda rows: (sizes.append(len(rows)), real(rows))[1])
    training._score()
    assert sizes == [4, 4, 4]


@pytest.mark.parametrize("section", ["base", "settings", "report"])
def test_damaged_content_is_named(fitted, tmp_path, section):
    fitted.save(tmp_path)
    stored = json.loads((tmp_path / "tuned.json").read_text())
    for damaged in ({**stored, section: None}, {name: value for name, value in stored.items() if name != section}):
        (tmp_path / "tuned.json").write_text(json.dumps(damaged))
        with pytest.raises(ModelError, match=r"the stored fusion cannot be read (?s:.*); train again"):
            registry.load(tmp_path)


def test_without_any_text_the_network_forecasts_alone(bert_folder, panel, tmp_path):
    bare = replace(panel, item_text=None)
    fitted = forecaster(bert_folder).fit(bare, folder=tmp_path, compute=CPU)
    assert "joint_steps" not in fitted.report.parameters
    assert np.isfinite(fitted.forecast(bare, 14, grid=True).grid).all()
    assert fitted.validated is not None


def test_where_joint_training_is_no_better_the_network_stays(bert_folder, panel, tmp_path, monkeypatch):
    worse = iter(range(100))
    monkeypatch.setattr(FusionTraining, "_score", lambda self: float(next(worse)))
    fitted = forecaster(bert_folder, epochs=0.2).fit(panel, folder=tmp_path, compute=CPU)
    alone = NetworkForecaster(small(dropout=0.0, max_seconds=600.0), "transformer").fit(
        fitted.reader.told(panel, "cpu"), folder=tmp_path / "alone", compute=CPU
    )
    assert fitted.report.parameters["joint_best_step"] == 0
    for name, value in alone.network.state_dict().items():
        assert torch.equal(value, fitted.series.network.state_dict()[name]), name


def test_it_goes_on_from_an_older_one(fitted, bert_folder, other_folder, tmp_path):
    longer = shop(days=105)
    tuned = forecaster(bert_folder, training=small(dropout=0.0, update_steps=4), epochs=0.1)
    updated = tuned.fit(longer, folder=tmp_path / "a", compute=CPU, start=fitted)
    assert np.isfinite(updated.forecast(longer, 14).mean).all()
    with pytest.raises(ModelError, match="has seen all days"):
        tuned.fit(shop(), folder=tmp_path / "b", compute=CPU, start=fitted)
    with pytest.raises(ModelError, match="cannot go on from"):
        forecaster(other_folder).fit(longer, folder=tmp_path / "c", compute=CPU, start=fitted)


@pytest.mark.slow
def test_two_processes_train_it_too(bert_folder, panel, tmp_path):
    two = forecaster(bert_folder, processes=2, epochs=0.1).fit(
        panel, folder=tmp_path / "two", compute=Compute(threads=2)
    )
    one = forecaster(bert_folder, accumulate=2, epochs=0.1).fit(
        panel, folder=tmp_path / "one", compute=Compute(threads=2)
    )
    for name, weight in one.reader.learned().items():
        torch.testing.assert_close(weight, two.reader.learned()[name], atol=1e-3, rtol=1e-2)


def test_too_little_is_refused_by_name(bert_folder, panel, tmp_path):
    with pytest.raises(HistoryError, match=r"training\.min_history_days"):
        forecaster(bert_folder).fit(shop_panel(days=40), folder=tmp_path, compute=CPU)
    with pytest.raises(ModelError, match=r"members\.fusion\.max_seconds"):
        forecaster(bert_folder, max_seconds=1e-4).fit(panel, folder=tmp_path, compute=CPU)
    with pytest.raises(ModelError, match=r"fine_tuning\.target_modules"):
        forecaster(bert_folder, target_modules=("nothing",)).fit(panel, folder=tmp_path, compute=CPU)


@pytest.mark.slow
def test_a_fine_tuned_text_helps_where_the_text_tells_demand(bert_folder, tmp_path):
    """Items called red double in the promotion, items called blue do not sell in it."""
    random = np.random.default_rng(8)
    panel = shop_panel(series=60, days=168, seed=9)
    red = random.random(60) < 0.5
    words = np.array([f"{'red' if is_red else 'blue'} {random.choice(['lamp', 'mug', 'tree'])}" for is_red in red])
    promoted = panel.promotion[:, : panel.history, 0] > 0
    units = np.where(promoted, panel.units * np.where(red, 2.0, 0.0)[:, None], panel.units).astype(np.float32)
    panel = replace(panel, units=units, units_winsorised=units, item_text=words.astype(np.str_))
    training = small(dropout=0.0, max_steps=120, hidden=16, learning_rate=5e-3)
    tuned = forecaster(bert_folder, training=training, epochs=6.0, batch_size=32, head_learning_rate=3e-2)
    fitted = tuned.fit(panel, folder=tmp_path, compute=CPU)
    told = fitted.report.parameters
    assert told["joint_validation_wql"] < 0.9 * told["joint_start_wql"]
    promotion = panel.promotion.copy()
    promotion[:, panel.history :] = 1
    as_red, as_blue = (
        fitted.forecast(
            replace(panel, promotion=promotion, item_text=np.array([f"{word} lamp"] * 60, dtype=np.str_)), 7
        ).mean.sum()
        for word in ("red", "blue")
    )
    assert as_red > 1.5 * as_blue
