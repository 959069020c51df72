"""Adversarial training: where a history is moved to, that the loss rises there, and that it counts in the step."""

from dataclasses import replace

import pytest
import torch

from pipeline.models.base import Compute
from pipeline.models.lstm import Seq2Seq
from pipeline.models.mlp import Mlp
from pipeline.models.networks import steps
from pipeline.models.networks.adversarial import attentive, moved
from pipeline.models.networks.checkpoint import weights_hash
from pipeline.models.networks.features import OWN_UNITS, Batch, Windows
from pipeline.models.networks.forecaster import NetworkForecaster
from pipeline.models.networks.network import Network, NetworkSizes
from pipeline.models.networks.spec import FeatureSpec
from tests.models.network_panels import shop_panel, small

CPU = Compute(threads=1)
EPSILON = 0.1
MOVABLE = [OWN_UNITS.units, OWN_UNITS.price]


@pytest.fixture(scope="module")
def panel():
    return shop_panel(series=24, days=140)


@pytest.fixture(scope="module")
def windows(panel) -> Windows:
    return Windows(panel, FeatureSpec.learn(panel, panel.history, 28))


@pytest.fixture(params=[Seq2Seq, Mlp], ids=["lstm", "mlp"])
def network(request, windows) -> Network:
    torch.manual_seed(1)
    network = request.param(NetworkSizes.of(windows.spec, 8, 0.0))
    with torch.no_grad():  # an untrained head hardly listens
        network.head.weight.mul_(40)
    return network.eval()  # without dropout


@pytest.fixture
def batch(windows) -> Batch:
    rows = torch.arange(24)
    return windows.cut(rows, torch.full_like(rows, 120), windows.leads(7))


def losses(network: Network, batch: Batch) -> torch.Tensor:
    """Loss of each window for what seven days brought: twice the scale."""
    return network(batch).loss(torch.ceil(2 * batch.scale).expand(-1, 7)).mean(1)


def after_a_backward_pass(network: Network, batch: Batch) -> Batch:
    heard = attentive(batch)
    losses(network, heard).sum().backward()
    return heard


def test_each_history_moves_by_its_share_of_its_own_length(network, batch):
    heard = after_a_backward_pass(network, batch)
    step = moved(heard, EPSILON).encoder - batch.encoder
    alive = batch.encoder[..., OWN_UNITS.alive] > 0
    length = batch.encoder[..., MOVABLE].flatten(1).norm(dim=1)
    torch.testing.assert_close(step.flatten(1).norm(dim=1), EPSILON * length, rtol=1e-3, atol=1e-5)
    others = [n for n in range(step.shape[2]) if n not in MOVABLE]
    assert not step[..., others].any(), "flags, weekdays and promotions moved"
    assert not step[~alive].any(), "days before the first sale moved"
    gradient = heard.encoder.grad[..., MOVABLE] * alive.unsqueeze(2)
    along = (step[..., MOVABLE] * gradient).flatten(1).sum(1)
    torch.testing.assert_close(along, EPSILON * length * gradient.flatten(1).norm(dim=1), rtol=1e-3, atol=1e-6)


def test_the_loss_rises_there_more_than_anywhere_else_as_far_away(network, batch):
    heard = after_a_backward_pass(network, batch)
    there = moved(heard, 0.02)
    step = there.encoder - batch.encoder
    torch.manual_seed(3)
    anywhere = torch.randn_like(step) * (step != 0)
    anywhere *= step.flatten(1).norm(dim=1)[:, None, None] / anywhere.flatten(1).norm(dim=1)[:, None, None]
    with torch.no_grad():
        before, worst, other = (
            losses(network, replace(batch, encoder=encoder))
            for encoder in (batch.encoder, there.encoder, batch.encoder + anywhere)
        )
    assert bool((worst > before).all())
    assert bool((worst - before > other - before).all())


def test_a_window_without_history_stays_where_it_is(network, batch):
    empty = replace(batch, encoder=batch.encoder * (torch.arange(24) > 0)[:, None, None])
    there = moved(after_a_backward_pass(network, empty), EPSILON)
    assert torch.equal(there.encoder[0], empty.encoder[0])
    assert bool(there.encoder.isfinite().all())


def test_without_a_backward_pass_there_is_no_direction(batch):
    with pytest.raises(ValueError, match="no backward pass"):
        moved(attentive(batch), EPSILON)


def test_off_is_what_it_was_and_on_is_another_training_each_time_the_same(panel, tmp_path):
    plain, off, on, again = (
        weights_hash(NetworkForecaster(small(**more), "mlp").fit(panel, folder=tmp_path / name, compute=CPU).network)
        for name, more in {
            "a": {}, "b": {"adversarial": 0.0}, "c": {"adversarial": EPSILON}, "d": {"adversarial": EPSILON},
        }.items()
    )  # fmt: skip
    assert plain == off != on == again


def test_the_gradient_of_a_step_is_the_sum_of_both(panel, tmp_path, monkeypatch):
    """With a step of length zero both losses are the same but for dropout, and the gradient is twice that of one."""
    gradients = {}
    real = torch.nn.utils.clip_grad_norm_

    def noted(parameters, limit):
        parameters = list(parameters)
        gradients.setdefault(name, [p.grad.clone() for p in parameters if p.grad is not None])
        return real(parameters, limit)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", noted)
    monkeypatch.setattr(steps, "moved", lambda batch, epsilon: batch)
    for name, epsilon in {"plain": 0.0, "both": EPSILON}.items():
        settings = small(adversarial=epsilon, dropout=0.0, pretrain_steps=0, max_steps=1)
        forecaster = NetworkForecaster(settings, "mlp")
        monkeypatch.setattr(NetworkSizes, "of", _without_text_dropout)
        forecaster.fit(panel, folder=tmp_path / name, compute=CPU)
    assert len(gradients["plain"]) == len(gradients["both"]) > 4
    for one, both in zip(gradients["plain"], gradients["both"], strict=True):
        torch.testing.assert_close(both, 2 * one)


def _without_text_dropout(spec: FeatureSpec, hidden: int, dropout: float) -> NetworkSizes:
    return NetworkSizes(
        encoder=spec.encoder_size,
        step=spec.step_size,
        text=spec.text_size,
        categories=len(spec.category_names) + 1,
        hidden=hidden,
        history_days=spec.history_days,
        dropout=dropout,
        text_dropout=0.0,
    )
