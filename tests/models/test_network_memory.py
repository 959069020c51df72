"""A GPU's memory that does not suffice: steps and forecasts in parts, the same but for rounding, until one series does not fit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.errors import ModelError
from pipeline.models.base import Compute
from pipeline.models.mlp import Mlp
from pipeline.models.networks.architectures import ARCHITECTURES, architecture
from pipeline.models.networks.features import Windows
from pipeline.models.networks.forecaster import NetworkForecaster
from pipeline.models.networks.memory import slices
from pipeline.models.networks.network import NetworkSizes
from pipeline.models.networks.schedule import Course
from pipeline.models.networks.spec import FeatureSpec
from pipeline.models.networks.steps import Steps
from tests.models.network_panels import shop_panel, small

CPU = Compute(threads=1)


@pytest.fixture(scope="module")
def panel():
    return shop_panel(series=24, days=140)


@pytest.fixture(scope="module")
def fitted(panel, tmp_path_factory):
    return NetworkForecaster(small(), "mlp").fit(panel, folder=tmp_path_factory.mktemp("fit"), compute=CPU)


@pytest.fixture
def tight(monkeypatch):
    """A GPU on which so many windows do not fit, in steps of training or in forecasts."""
    real = Mlp.states

    def within(most: int, *, training: bool) -> None:
        def states(self, encoder):
            if len(encoder) > most and self.training == training:
                raise torch.OutOfMemoryError("as a GPU would")
            return real(self, encoder)

        monkeypatch.setattr(Mlp, "states", states)

    return within


@pytest.mark.parametrize("adversarial", [0.0, 0.1], ids=["plain", "adversarial"])
@pytest.mark.parametrize("phase", ["pretrain", "validate"])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_gradients_of_the_parts_are_those_of_the_whole(panel, kind, phase, adversarial):
    settings = small(adversarial=adversarial, augmentation={"jitter": 0.2, "warping": 0.5})
    windows = Windows(panel, FeatureSpec.learn(panel, panel.history, 28))
    torch.manual_seed(1)
    network = architecture(kind)(replace(NetworkSizes.of(windows.spec, 8, 0.0), text_dropout=0.0))
    steps = Steps(network, windows, settings, CPU, Course.full(settings, panel))
    found = []
    for parts in (1, 3, 64):
        loss = steps.gradients(phase, 4, 126, parts)
        found.append((loss, {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}))
    (whole, gradients), *parted = found
    assert max(float(g.abs().max()) for g in gradients.values()) > 1e-3
    for loss, others in parted:
        assert loss == pytest.approx(whole, rel=1e-5)
        assert others.keys() == gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(others[name], gradient, rtol=1e-3, atol=2e-6)


def test_a_step_that_does_not_fit_is_halved_until_it_does_and_stays_so(panel, tmp_path, tight):
    tight(8, training=True)
    told = []
    fitted = NetworkForecaster(small(), "mlp").fit(
        panel, folder=tmp_path, compute=CPU, progress=lambda what, *_: told.append(what)
    )
    assert [what for what in told if "memory" in what] == [
        "train, out of memory: batches in 2 parts",
        "train, out of memory: batches in 4 parts",
    ]
    assert fitted.report.parameters["halved"] == 2
    assert fitted.forecast(panel, 14).mean.sum() > 0


def test_a_resumed_training_goes_on_in_as_many_parts(panel, tmp_path, tight, monkeypatch):
    from pipeline.models.networks import training

    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)
    tight(8, training=True)
    real = training.Training._train_step

    def killed(self, phase, step, rate):
        if rate and (phase, step) == ("validate", 3):
            raise KeyboardInterrupt
        return real(self, phase, step, rate)

    with monkeypatch.context() as patch:
        patch.setattr(training.Training, "_train_step", killed)
        with pytest.raises(KeyboardInterrupt):
            NetworkForecaster(small(), "mlp").fit(panel, folder=tmp_path, compute=CPU)
    told = []
    fitted = NetworkForecaster(small(), "mlp").fit(
        panel, folder=tmp_path, compute=CPU, progress=lambda what, *_: told.append(what)
    )
    assert fitted.report.parameters["halved"] == 2
    assert not [what for what in told if "memory" in what]


def test_what_fits_is_not_halved(fitted):
    assert fitted.report.parameters["halved"] == 0


def test_a_training_of_which_no_series_fits_is_refused_by_name(panel, tmp_path, tight):
    tight(0, training=True)
    with pytest.raises(
        ModelError, match=r"train the mlp on a single series; lower training\.hidden .*compute\.device: cpu"
    ):
        NetworkForecaster(small(), "mlp").fit(panel, folder=tmp_path, compute=CPU)


def test_validation_and_forecasts_that_do_not_fit_are_made_in_smaller_parts(panel, tmp_path, fitted, tight):
    whole = fitted.forecast(panel, 14, grid=True)
    tight(64, training=False)
    told = []
    parted = fitted.forecast(panel, 14, grid=True, progress=lambda what, *_: told.append(what))
    for name in ("mean", "quantiles", "grid"):
        np.testing.assert_allclose(getattr(parted, name), getattr(whole, name), rtol=1e-6)
    assert told == [
        "forecast, out of memory: 128 series at once",
        "forecast, out of memory: 64 series at once",
        "forecast",
    ]
    tight(16, training=False)
    again = NetworkForecaster(small(), "mlp").fit(panel, folder=tmp_path, compute=CPU)
    assert again.report.parameters["halved"] == 5
    assert again.report.parameters["best_validation_wql"] == pytest.approx(
        fitted.report.parameters["best_validation_wql"], rel=1e-3
    )


def test_a_forecast_of_which_no_series_fits_is_refused_by_name(panel, fitted, tight):
    tight(0, training=False)
    with pytest.raises(ModelError, match=r"the mlp to forecast a single series; set compute\.device: cpu"):
        fitted.forecast(panel, 14)


@pytest.mark.parametrize(("size", "parts"), [(32, 1), (32, 3), (5, 8), (1, 1)])
def test_slices_hold_each_row_once(size, parts):
    found = slices(size, parts)
    assert [row for some in found for row in range(size)[some]] == list(range(size))
    assert len(found) == min(size, parts)
