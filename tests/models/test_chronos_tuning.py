"""Fine-tuning of pretrained time-series models: what is learned, what it stops at, what it refuses."""

import math

import numpy as np
import pytest
import torch

from pipeline.errors import HistoryError, ModelError
from pipeline.models import registry
from pipeline.models.base import Compute
from pipeline.models.finetuning import loop
from pipeline.models.finetuning.distributed import Peers
from pipeline.models.finetuning.loop import Loop
from pipeline.models.pretrained.adapter import adapter_weights
from pipeline.models.pretrained.base import find_base
from pipeline.models.pretrained.tuning import ChronosTuning, TuningJob
from tests.models.network_panels import changed_after, shop_panel
from tests.models.tiny_chronos import FAMILIES, ONE_THREAD, fit, forecaster, some, write_tiny

pytest.importorskip("chronos")
LAYERS = ("q", "v", "output_layer", "hidden_layer")
"""What adapts a model of random weights: its attention has nothing to tell."""


class Killed(BaseException):
    """What a kill looks like from inside: nothing of the training runs after it."""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return {family: write_tiny(tmp_path_factory.mktemp(family) / "tiny", family) for family in FAMILIES}


def tune(base, panel, folder, compute=ONE_THREAD, **more):
    return forecaster(base, fine_tune=True, **{"layers": LAYERS, **more}).fit(panel, folder=folder, compute=compute)


def tuning_of(base, panel, folder, *, known_days=126, **more):
    """A fine-tuning that has not begun."""
    made = forecaster(base, fine_tune=True, **more)
    job = TuningJob(panel, find_base(made.settings), made.settings, made.fine_tuning, made.training, known_days, folder)
    return ChronosTuning(job, Peers())


def bytes_of(fitted, panel):
    forecast = fitted.forecast(panel, 14, grid=True)
    return forecast.mean.tobytes(), forecast.grid.tobytes()


# ---- what is learned


@pytest.mark.parametrize("family", FAMILIES)
def test_fine_tuning_improves_the_days_held_back_and_comes_back_to_the_byte(family, checkpoints, tmp_path):
    panel = some(12)
    zero_shot = fit(checkpoints[family], panel).forecast(panel, 21)
    fitted = tune(checkpoints[family], panel, tmp_path / "one")
    report = fitted.report
    assert report.parameters["best_validation_wql"] < report.parameters["zero_shot_validation_wql"]
    assert report.parameters["best_step"] > 0
    assert (report.parameters["kept"], report.parameters["fine_tuned"]) == ("fine-tuned", True)
    assert report.parameters["origins_won"] >= 2
    assert report.curves["validation_wql"][0] == report.parameters["zero_shot_validation_wql"]
    assert len(report.curves["validation_wql"]) == len(report.curves["training_loss"]) == len(report.steps)
    forecast = fitted.forecast(panel, 21)
    assert forecast.mean.tobytes() != zero_shot.mean.tobytes()
    assert fitted.describe()["mode"] == "fine-tuned with LoRA"
    assert fitted.validated.forecast(panel, 21).mean.tobytes() == forecast.mean.tobytes()

    fitted.save(tmp_path / "saved")
    assert sorted(file.name for file in (tmp_path / "saved").iterdir()) == ["adapter.safetensors", "forecaster.json"]
    assert (tmp_path / "saved" / "adapter.safetensors").stat().st_size < 20_000
    loaded = registry.load(tmp_path / "saved", ONE_THREAD)
    assert loaded.describe() == fitted.describe()
    assert loaded.forecast(panel, 21).mean.tobytes() == forecast.mean.tobytes()

    again = tune(checkpoints[family], panel, tmp_path / "again")
    assert again.forecast(panel, 21).mean.tobytes() == forecast.mean.tobytes()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_does_not_see_the_days_held_back(family, checkpoints, tmp_path):
    panel = some(8)
    other = changed_after(panel, 126, units=500.0, units_winsorised=500.0)
    losses = []
    for which in (panel, other):
        tuning = tuning_of(checkpoints[family], which, tmp_path)
        tuning.nights[:] = 118
        losses.append(tuning._loss(np.arange(8)).item())
    assert losses[0] == losses[1] > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_of_a_batch_is_the_sum_over_its_parts(family, checkpoints, tmp_path):
    tuning = tuning_of(checkpoints[family], some(8), tmp_path)
    whole, *parts = (tuning._loss(np.arange(*ends)).item() for ends in ((0, 8), (0, 3), (3, 8)))
    assert whole == pytest.approx(sum(parts), rel=1e-5)


def test_every_pass_learns_from_other_nights(checkpoints, tmp_path):
    one, four = (tuning_of(checkpoints["chronos-bolt"], some(8), tmp_path, epochs=epochs) for epochs in (1.0, 4.0))
    assert len(four.series) == 4 * len(one.series)
    assert len(set(zip(four.series, four.nights, strict=True))) > 2 * len(one.series)
    assert four.loop.settings.epochs == 1.0


# ---- what it stops at


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_no_better_on_the_days_held_back_stays_zero_shot_and_says_so(family, checkpoints, tmp_path):
    panel = some(12)
    worse = tune(checkpoints[family], panel, tmp_path, learning_rate=50.0, clip=1e6, patience=1)
    assert worse.report.stopped == "early stopping"
    assert worse.report.parameters["best_step"] == 0
    assert worse.report.parameters["kept"] == "zero-shot"
    assert not worse.report.parameters["fine_tuned"]
    assert worse.report.parameters["best_validation_wql"] == worse.report.parameters["zero_shot_validation_wql"]
    zero_shot = fit(checkpoints[family], panel)
    assert bytes_of(worse, panel) == bytes_of(zero_shot, panel)
    assert worse.describe()["mode"] == "zero-shot"
    assert worse.effect == zero_shot.effect
    before = [fitted.validated and fitted.validated.effect for fitted in (worse, zero_shot)]
    assert before[0] == before[1]
    worse.save(tmp_path / "saved")
    assert bytes_of(registry.load(tmp_path / "saved", ONE_THREAD), panel) == bytes_of(zero_shot, panel)


@pytest.mark.parametrize(
    ("gains", "kept"),
    [
        ([3.0, 3.0, -5.0], "fine-tuned"),
        ([3.0, 3.0, -9.0], "zero-shot"),
        ([9.0, -1.0, -1.0], "zero-shot"),
        ([3.0, 3.0], "zero-shot"),
    ],
    ids=["won", "lost in sum", "won at one", "two origins"],
)
def test_what_does_not_win_over_three_origins_stays_zero_shot(gains, kept, checkpoints, tmp_path, monkeypatch):
    panel = some(12)
    monkeypatch.setattr(ChronosTuning, "_gains", lambda _: gains)
    fitted = tune(checkpoints["chronos-bolt"], panel, tmp_path)
    parameters = fitted.report.parameters
    assert parameters["best_step"] > 0
    assert (parameters["kept"], parameters["fine_tuned"]) == (kept, kept == "fine-tuned")
    zero_shot = fit(checkpoints["chronos-bolt"], panel)
    assert (bytes_of(fitted, panel) == bytes_of(zero_shot, panel)) == (kept == "zero-shot")


def test_the_origins_share_the_days_held_back_and_the_adapters_come_back(checkpoints, tmp_path, monkeypatch):
    panel = some(12)
    tuning = tuning_of(checkpoints["chronos-bolt"], panel, tmp_path, known_days=119)
    tuning.run()
    learned, loss = adapter_weights(tuning.model.network), tuning._score()
    real, asked = ChronosTuning._loss_of, []
    monkeypatch.setattr(ChronosTuning, "_loss_of", lambda self, *days: asked.append(days) or real(self, *days))
    gains = tuning._gains()
    assert asked == [(119, 126), (126, 133), (133, 140)] * 2
    assert len(set(gains)) == 3
    after = adapter_weights(tuning.model.network)
    assert all(torch.equal(after[name], weight) for name, weight in learned.items())
    assert tuning._score() == loss


def test_a_budget_too_small_for_a_step_names_its_setting(checkpoints, tmp_path):
    with pytest.raises(ModelError, match=r"1e-06 seconds .*raise members\.chronos\.max_seconds in almanac\.yaml"):
        tune(checkpoints["chronos-bolt"], some(), tmp_path, max_seconds=1e-6)


def test_a_budget_of_fewer_than_the_least_steps_is_refused_and_one_of_more_is_kept_to(
    checkpoints, tmp_path, monkeypatch
):
    made = {"epochs": 4.0, "patience": 99, "accumulate": 1}
    monkeypatch.setattr(loop, "steps_affordable", lambda *_: (19, 1))
    with pytest.raises(ModelError, match=r"19 of 48 steps.*fewer than 20.*raise members\.chronos\.max_seconds"):
        tune(checkpoints["chronos-bolt"], some(), tmp_path, **made)
    monkeypatch.setattr(loop, "steps_affordable", lambda *_: (20, 1))
    report = tune(checkpoints["chronos-bolt"], some(), tmp_path, **made).report
    assert (report.parameters["steps"], report.parameters["budget"]) == (20, "seconds")
    assert report.steps == [0, 20]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_killed_fine_tuning_resumes_to_the_same_bytes(family, checkpoints, tmp_path, monkeypatch):
    panel = some(12)
    whole = tune(checkpoints[family], panel, tmp_path / "whole")
    real = Loop._train_step

    def killed(self, number, rate):
        if rate and number == 2:
            raise Killed
        return real(self, number, rate)

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(Loop, "_train_step", killed)
    with pytest.raises(Killed):
        tune(checkpoints[family], panel, tmp_path / "killed")
    done = []
    monkeypatch.setattr(
        Loop, "_train_step", lambda self, number, rate: (done.append(number), real(self, number, rate))[1]
    )
    resumed = tune(checkpoints[family], panel, tmp_path / "killed")
    assert done[0] == 2
    assert resumed.report.curves == whole.report.curves
    assert bytes_of(resumed, panel) == bytes_of(whole, panel)


@pytest.mark.parametrize("at", [0, 2])
def test_a_loss_that_is_not_a_number_goes_back_and_zero_shot_stays_a_candidate(at, checkpoints, tmp_path, monkeypatch):
    real = Loop._gradients
    trials = []

    def sometimes(self, step):
        trials.append(step)
        return math.nan if step == at and len(trials) > 2 else real(self, step)

    monkeypatch.setattr(Loop, "_gradients", sometimes)
    report = tune(checkpoints["chronos-bolt"], some(12), tmp_path).report
    assert report.parameters["recoveries"] == 1
    assert report.steps[0] == 0
    zero_shot = tuning_of(checkpoints["chronos-bolt"], some(12), tmp_path, known_days=132)._score()
    assert report.parameters["zero_shot_validation_wql"] == pytest.approx(zero_shot)


def test_batches_are_halved_until_they_fit_into_memory(checkpoints, tmp_path, monkeypatch):
    real = ChronosTuning._loss

    def tight(self, index):
        if len(index) > 2:
            raise torch.OutOfMemoryError("as a GPU would")
        return real(self, index)

    monkeypatch.setattr(ChronosTuning, "_loss", tight)
    assert tune(checkpoints["chronos-bolt"], some(), tmp_path / "four").report.parameters["parts"] == 4
    monkeypatch.setattr(ChronosTuning, "_loss", lambda self, index: tight(self, np.arange(3)))
    with pytest.raises(ModelError, match=r"single example.*members\.chronos\.model"):
        tune(checkpoints["chronos-bolt"], some(), tmp_path / "none")


# ---- settings


def test_gradient_checkpointing_ends_where_it_ends_without(checkpoints, tmp_path):
    panel = some(12)
    without = tune(checkpoints["chronos-bolt"], panel, tmp_path / "without")
    with_it = tune(checkpoints["chronos-bolt"], panel, tmp_path / "with", gradient_checkpointing=True)
    assert with_it.model.network.is_gradient_checkpointing
    np.testing.assert_allclose(
        with_it.report.curves["validation_wql"], without.report.curves["validation_wql"], rtol=1e-4
    )


def test_bf16_learns_and_is_validated_as_forecasts_are_made(checkpoints, tmp_path):
    panel = some(12)
    half, full = (
        tune(checkpoints["chronos-bolt"], panel, tmp_path / kind, precision=kind).report for kind in ("bf16", "fp32")
    )
    assert half.curves["training_loss"] != full.curves["training_loss"]
    assert half.curves["validation_wql"][0] == full.curves["validation_wql"][0]


@pytest.mark.slow
def test_two_processes_fine_tune_it_too(checkpoints, tmp_path):
    panel = some(12)
    base = checkpoints["chronos-2"]
    two = tune(base, panel, tmp_path / "two", Compute(threads=2), accumulate=1, processes=2)
    one = tune(base, panel, tmp_path / "one", accumulate=2)
    np.testing.assert_allclose(two.report.curves["validation_wql"], one.report.curves["validation_wql"], rtol=1e-3)


@pytest.mark.parametrize(
    ("family", "setting", "said"),
    [
        ("chronos-bolt", {"method": "full"}, r"fine_tuning\.method: full .*LoRA alone; set it to lora, or set members\.chr"),
        ("chronos-2", {"gradient_checkpointing": True}, r"Chronos2Model cannot checkpoint.*gradient_checkpointing: false"),
        ("chronos-bolt", {"precision": "fp16"}, r"fp16 needs a GPU.*fine_tuning\.precision"),
    ],
    ids=["method", "gradient checkpointing", "precision"],
)  # fmt: skip
def test_settings_that_it_cannot_have_are_refused_by_name(family, setting, said, checkpoints, tmp_path):
    with pytest.raises(ModelError, match=said):
        tune(checkpoints[family], some(), tmp_path, **setting)


@pytest.mark.parametrize("layers", [("query",), ("layer_norm",), ("",)])
def test_layers_that_the_model_lacks_or_that_are_not_linear_are_refused_by_name(layers, checkpoints, tmp_path):
    with pytest.raises(
        ModelError,
        match=rf"Chronos2Model has no layers {layers[0]} \(members\.chronos\.target_modules.*there are .*\bq\b",
    ):
        tune(checkpoints["chronos-2"], some(), tmp_path, layers=layers)


def test_the_layers_of_language_models_are_not_its_own(checkpoints, tmp_path):
    tuning = tuning_of(checkpoints["chronos-bolt"], some(), tmp_path, target_modules=("query", "value"))
    assert tuning.adapter["target_modules"] == ["q", "v"]


def test_a_shop_too_young_to_fine_tune_on_is_refused_with_the_way_out(checkpoints, tmp_path):
    with pytest.raises(HistoryError, match=r"members\.chronos\.fine_tune: false"):
        tune(checkpoints["chronos-bolt"], shop_panel(4, 30, 21), tmp_path)
