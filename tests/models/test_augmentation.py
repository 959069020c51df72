"""Series augmentation: what it changes of a window, what it leaves alone, and that training with it can be repeated."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from pipeline.model_settings import AugmentationSettings
from pipeline.models.base import Compute
from pipeline.models.networks import steps, training
from pipeline.models.networks.augmentation import augmented, source_days
from pipeline.models.networks.checkpoint import weights_hash
from pipeline.models.networks.features import OWN_UNITS, Batch, Windows
from pipeline.models.networks.forecaster import NetworkForecaster
from pipeline.models.networks.spec import FeatureSpec
from pipeline.models.networks.training import Training
from tests.models.network_panels import shop_panel, small

CPU = Compute(threads=1)
DAYS = 56
OFF = AugmentationSettings()
KINDS = {
    "jitter": AugmentationSettings(jitter=0.3),
    "scaling": AugmentationSettings(scaling=0.3),
    "warping": AugmentationSettings(warping=1.0),
}
CLOSED, WEEKDAYS, PROMOTION = 4, slice(5, 12), 12


class Killed(BaseException):
    """What a kill looks like from inside."""


@pytest.fixture(scope="module")
def panel():
    return shop_panel(series=24, days=140)


@pytest.fixture(scope="module")
def batch(panel) -> Batch:
    # a week closed beside the Sundays: warping must not carry it elsewhere
    closed, units = panel.closed.copy(), panel.units.copy()
    closed[88:95], units[:, 88:95] = True, 0
    panel = replace(panel, closed=closed, units=units, units_winsorised=units)
    windows = Windows(panel, FeatureSpec.learn(panel, panel.history, DAYS))
    rows = torch.arange(panel.series)
    return windows.cut(rows, 100 + rows, windows.leads(14))


def changed(batch: Batch, settings: AugmentationSettings, seed: int = 5) -> Batch:
    return augmented(batch, settings, np.random.default_rng(seed))


def column(batch: Batch, at: int) -> torch.Tensor:
    return batch.encoder[..., at]


def test_off_is_the_same_batch_and_draws_nothing(batch):
    generator = np.random.default_rng(5)
    assert augmented(batch, OFF, generator) is batch
    assert generator.random() == np.random.default_rng(5).random()


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_history_of_the_series_changes(batch, kind):
    kept = batch.encoder.clone()
    after = changed(batch, KINDS[kind])
    assert torch.equal(batch.encoder, kept), "the batch given was changed in place"
    assert [f.name for f in fields(Batch) if not torch.equal(getattr(after, f.name), getattr(batch, f.name))] == [
        "encoder"
    ]
    for of_the_shop in (CLOSED, WEEKDAYS):
        assert torch.equal(column(after, of_the_shop), column(batch, of_the_shop))
    sold = column(after, OWN_UNITS.sold)
    assert torch.equal(sold, (column(after, OWN_UNITS.units) > 0).float()), "a sale's flag contradicts its units"


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_generator_gives_the_same_bytes(batch, kind):
    one, two, other = (changed(batch, KINDS[kind], seed) for seed in (5, 5, 6))
    assert torch.equal(one.encoder, two.encoder)
    assert not torch.equal(one.encoder, other.encoder)


def factors(before: Batch, after: Batch) -> torch.Tensor:
    """Factor of each day's units, NaN on days without."""
    units = torch.expm1(column(before, OWN_UNITS.units))
    ratio = torch.expm1(column(after, OWN_UNITS.units)) / units
    return torch.where(units > 0, ratio, torch.nan)


def test_jitter_multiplies_each_day_and_keeps_the_mean(batch):
    ratio = factors(batch, changed(batch, KINDS["jitter"]))
    known = ratio[~ratio.isnan()]
    assert float(known.log().std()) == pytest.approx(0.3, rel=0.1)
    assert float(known.mean()) == pytest.approx(1.0, abs=0.03)


def test_scaling_multiplies_a_whole_history_by_one_factor(batch):
    ratio = factors(batch, changed(batch, KINDS["scaling"]))
    each = ratio.nanmean(1, keepdim=True)
    close = (ratio - each).abs() < 1e-3 * each
    assert bool((close | ratio.isnan()).all())
    assert len(set(each.flatten().round(decimals=4).tolist())) == len(each)


def test_warping_moves_whole_days_to_the_same_weekday(batch):
    after = changed(batch, KINDS["warping"])
    for window in range(len(batch.encoder)):
        for day in range(DAYS):
            if float(batch.encoder[window, day, CLOSED]):
                assert float(after.encoder[window, day, OWN_UNITS.units]) == 0
                continue
            own = after.encoder[window, day, [*OWN_UNITS, PROMOTION]]
            same_weekday = batch.encoder[window, day % 7 :: 7][:, [*OWN_UNITS, PROMOTION]]
            assert bool((same_weekday == own).all(1).any()), (window, day)
    for week in (slice(-7, None), slice(7)):
        assert torch.equal(after.encoder[:, week], batch.encoder[:, week])


def test_warping_takes_its_share_of_the_windows(panel):
    windows = Windows(panel, FeatureSpec.learn(panel, panel.history, DAYS))
    # a series without its first days, so that hardly any two weeks are alike
    rows = torch.zeros(400, dtype=torch.int64)
    batch = windows.cut(rows, 80 + torch.arange(400) % 60, windows.leads(7))
    after = changed(batch, AugmentationSettings(warping=0.25))
    touched = (after.encoder != batch.encoder).any(2).any(1).float().mean()
    assert 0.12 < float(touched) < 0.32


@pytest.mark.parametrize("days", [7, 10, 28, 31, 112, 115])
def test_weeks_keep_their_order_and_their_ends(days):
    source = source_days(days, 500, np.random.default_rng(1))
    assert source.shape == (500, days)
    assert source.min() >= 0
    assert source.max() == days - 1
    assert bool(((source - np.arange(days)) % 7 == 0).all()), "another weekday"
    for weekday in range(min(7, days)):
        assert bool((np.diff(source[:, weekday::7], axis=1) >= 0).all()), "a later week before an earlier one"
    assert np.array_equal(source[:, -7:], np.tile(np.arange(max(0, days - 7), days), (500, 1)))
    if days >= 112:
        weeks = np.diff(source[:, ::-7], axis=1) // -7
        assert bool(((weeks == 0).any(1) & (weeks > 1).any(1)).all()), "nothing was made longer, or nothing shorter"
        longer_first = ((weeks == 0).argmax(1) < (weeks > 1).argmax(1)).mean()
        assert 0.3 < longer_first < 0.7


ALL = {"jitter": 0.2, "scaling": 0.2, "warping": 0.5}


def test_training_without_it_is_what_it_was_and_with_it_another(panel, tmp_path):
    plain, off, on = (
        weights_hash(NetworkForecaster(small(**more), "mlp").fit(panel, folder=tmp_path / name, compute=CPU).network)
        for name, more in {"a": {}, "b": {"augmentation": dict.fromkeys(ALL, 0.0)}, "c": {"augmentation": ALL}}.items()
    )
    assert plain == off != on


def test_only_training_steps_are_augmented(panel, tmp_path, monkeypatch):
    phases = []
    real = steps.augmented
    monkeypatch.setattr(steps, "augmented", lambda *given: (phases.append(given[1]), real(*given))[1])
    settings = small(augmentation=ALL, max_steps=4)
    fitted = NetworkForecaster(settings, "mlp").fit(panel, folder=tmp_path, compute=CPU)
    planned = fitted.report.parameters
    timing = 6
    assert len(phases) == planned["steps_validate"] + planned["steps_refit"] + timing
    fitted.forecast(panel, 14)
    assert len(phases) == planned["steps_validate"] + planned["steps_refit"] + timing


def test_a_killed_training_with_augmentation_resumes_to_the_same_weights(panel, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)
    forecaster = NetworkForecaster(small(augmentation=ALL, adversarial=0.1), "lstm")
    whole = forecaster.fit(panel, folder=tmp_path / "whole", compute=CPU)
    real = Training._train_step

    def killed(self, at, number, rate):
        if rate and (at, number) == ("validate", 5):
            raise Killed
        return real(self, at, number, rate)

    monkeypatch.setattr(Training, "_train_step", killed)
    with pytest.raises(Killed):
        forecaster.fit(panel, folder=tmp_path / "killed", compute=CPU)
    monkeypatch.setattr(Training, "_train_step", real)
    resumed = forecaster.fit(panel, folder=tmp_path / "killed", compute=CPU)
    assert weights_hash(resumed.network) == weights_hash(whole.network)
