"""Pretrained encoders: stored apart, started from where they fit, learned without any later day."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.errors import ModelError
from pipeline.models.base import Compute
from pipeline.models.networks.architectures import ARCHITECTURES, architecture
from pipeline.models.networks.checkpoint import weights_hash
from pipeline.models.networks.encoder import encoder_weights, load_encoder
from pipeline.models.networks.forecaster import NetworkForecaster
from pipeline.models.networks.network import NetworkSizes
from pipeline.models.networks.training import Training
from pipeline.models.registry import make, start_from
from tests.models.network_panels import shop_panel, small
from tests.models.settings import settings_with

CPU = Compute(threads=1)


@pytest.fixture(scope="module")
def panel():
    return shop_panel(series=24, days=140)


def fit(panel, folder, kind="mlp", encoder=None, **more):
    return NetworkForecaster(small(**more), kind, encoder).fit(panel, folder=folder, compute=CPU)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_each_architecture_pretrains_an_encoder_that_another_training_starts_from(panel, tmp_path, kind):
    first = fit(panel, tmp_path / "first", kind, pretrain_steps=20)
    assert first.encoder is not None
    assert first.encoder.steps == 20
    first.encoder.save(tmp_path / "stored")
    stored = load_encoder(tmp_path / "stored")
    assert stored.hash == first.encoder.hash
    second = fit(panel, tmp_path / "second", kind, stored)
    assert second.report.parameters["encoder"] == stored.hash
    assert second.report.parameters["steps_pretrain"] == 0
    assert second.encoder is None, "nothing new to store"


def test_pretraining_learns_something(panel, tmp_path):
    losses = fit(panel, tmp_path, "lstm", pretrain_steps=120, learning_rate=5e-3).encoder.losses
    assert np.mean(losses[-2:]) < 0.9 * losses[0]


def test_an_encoder_of_other_sizes_or_another_architecture_is_left_aside(panel, tmp_path):
    encoder = fit(panel, tmp_path / "a").encoder
    assert fit(panel, tmp_path / "b", encoder=encoder, hidden=16).report.parameters["encoder"] == "its own"
    assert fit(panel, tmp_path / "c", "transformer", encoder).report.parameters["encoder"] == "its own"


def test_a_killed_training_keeps_the_encoder_it_pretrained(panel, tmp_path, monkeypatch):
    from pipeline.models.networks import training

    whole = fit(panel, tmp_path / "whole").encoder
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)
    real = training.Training._train_step

    def killed(self, phase, step, rate):
        if rate and (phase, step) == ("validate", 3):
            raise KeyboardInterrupt
        return real(self, phase, step, rate)

    with monkeypatch.context() as patch:
        patch.setattr(training.Training, "_train_step", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(panel, tmp_path / "killed")
    assert fit(panel, tmp_path / "killed").encoder.hash == whole.hash


def test_a_pretraining_cut_by_the_budget_is_not_handed_out(panel, tmp_path, monkeypatch):
    monkeypatch.setattr(Training, "_seconds_per_step", lambda self: 1.0)
    cut = fit(panel, tmp_path, pretrain_steps=200, max_steps=100, max_seconds=160.0)
    assert 0 < cut.report.parameters["steps_pretrain"] < 200
    assert cut.report.parameters["encoder"] == "its own"
    assert cut.encoder is None


@pytest.mark.parametrize("whose", ["its own", "stored"])
def test_a_loss_that_is_not_a_number_at_the_start_leaves_the_encoder_pretrained(panel, tmp_path, monkeypatch, whose):
    stored = fit(panel, tmp_path / "stored", pretrain_steps=5).encoder if whose == "stored" else None
    left, seen = [1], {}
    step, recover = Training._train_step, Training._recover

    def sometimes(self, phase, number, rate):
        if rate and phase == "validate" and left[0]:
            left[0] = 0
            return math.nan
        return step(self, phase, number, rate)

    def watched(self, phase, loss):
        seen["before"], pretrained = weights_hash(self.network), encoder_weights(self.network)
        recover(self, phase, loss)
        seen["after"], seen["encoder"] = weights_hash(self.network), encoder_weights(self.network)
        assert all(torch.equal(value, seen["encoder"][name]) for name, value in pretrained.items())

    monkeypatch.setattr(Training, "_train_step", sometimes)
    monkeypatch.setattr(Training, "_recover", watched)
    fitted = fit(panel, tmp_path / "fit", encoder=stored, pretrain_steps=5)
    assert fitted.report.parameters["recoveries"] == 1
    assert seen["before"] != seen["after"], "the other weights are drawn anew"
    told = stored or fitted.encoder
    assert all(torch.equal(value, seen["encoder"][name]) for name, value in told.weights.items())


def test_held_back_days_are_not_pretrained_on(panel, tmp_path):
    units = panel.units.copy()
    units[:, -7:] = 99
    later = replace(panel, units=units, units_winsorised=units)
    one, two = (fit(which, tmp_path / name).encoder for which, name in ((panel, "a"), (later, "b")))
    assert one.hash == two.hash


def test_an_ensemble_hands_encoders_to_its_networks(panel, tmp_path):
    encoder = fit(panel, tmp_path, "quantile_mlp").encoder
    made = start_from(make("ensemble", settings_with(training=small())), {"quantile_mlp": encoder})
    assert made.members["quantile_mlp"].encoder is encoder


def test_a_damaged_encoder_is_named(panel, tmp_path):
    fit(panel, tmp_path / "a").encoder.save(tmp_path / "stored")
    (tmp_path / "stored" / "encoder.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="stored encoder cannot be read"):
        load_encoder(tmp_path / "stored")


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_encoder_is_what_reads_the_history_and_nothing_else(kind):
    network = architecture(kind)(NetworkSizes(encoder=6, step=9, text=0, categories=2, hidden=8, history_days=28))
    history = torch.randn(2, 28, 6)
    before = network.eval().states(history)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name not in encoder_weights(network):
                value.add_(1.0)
    assert torch.equal(network.states(history), before)
    assert len(encoder_weights(network)) > 0
