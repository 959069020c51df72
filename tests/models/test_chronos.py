"""Pretrained time-series models behind the forecasters' interface, with tiny checkpoints of random weights."""

import importlib.util
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from pipeline.errors import ModelError
from pipeline.model_settings import ChronosSettings
from pipeline.models import registry
from pipeline.models.base import Compute
from pipeline.models.panel import PRICE_CUT
from pipeline.models.pretrained import prediction
from pipeline.models.pretrained.base import find_base
from pipeline.models.pretrained.quantile_function import QuantileFunction
from pipeline.models.pretrained.windows import CalendarEffect, Windows
from pipeline.models.quantiles import GRID_LEVELS
from pipeline.models.seasonal_naive import SeasonalNaive
from pipeline.settings import QUANTILES, Settings
from tests.models.demand_panels import panel_of
from tests.models.network_panels import changed_after, shop_panel
from tests.models.tiny_chronos import FAMILIES, ONE_THREAD, fit, forecaster, some, write_tiny

pytest.importorskip("chronos")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return {family: write_tiny(tmp_path_factory.mktemp(family) / "tiny", family) for family in FAMILIES}


# ---- the quantile function


def test_between_the_levels_it_is_straight_and_beyond_them_exponential():
    values = 10.0 * -np.log(1 - np.array([0.1, 0.5, 0.8, 0.9]))  # an exponential distribution of mean 10
    function = QuantileFunction.of([0.1, 0.5, 0.8, 0.9], values)
    np.testing.assert_allclose(function.at([0.5, 0.65, 0.9]), [values[1], (values[1] + values[2]) / 2, values[3]])
    np.testing.assert_allclose(function.at([0.95, 0.995]), 10.0 * -np.log([0.05, 0.005]))


def test_the_mean_is_the_integral_of_the_quantiles_with_their_tails():
    drawn = np.random.default_rng(0).gamma(1.5, 4.0, (5, 9))
    function = QuantileFunction.of([0.1 * k for k in range(1, 10)], drawn)
    fine = (np.arange(200_000) + 0.5) / 200_000
    np.testing.assert_allclose(function.mean(), function.at(fine).mean(axis=-1), rtol=1e-3)


def test_crossing_and_negative_quantiles_are_mended():
    function = QuantileFunction.of([0.2, 0.5, 0.8], np.array([[-3.0, 4.0, 1.0], [0.0, 0.0, 0.0]]))
    found = function.at(GRID_LEVELS)
    assert (found >= 0).all()
    assert (np.diff(found, axis=1) >= 0).all()
    np.testing.assert_array_equal(found[1], 0.0)
    np.testing.assert_array_equal(function.mean()[1], 0.0)


# ---- what it reads


def test_what_the_calendar_means_is_found_and_closed_days_with_it():
    panel = shop_panel(60, 300, 28, text=0)
    festive = np.zeros(328, np.float32)
    festive[10::23] = 1.0
    units = panel.units * (1 + festive[None, :300])
    panel = replace(
        panel, units_winsorised=units, calendar=festive[:, None], calendar_names=("festive",),
        closed=np.arange(328) % 11 == 5,
    )  # fmt: skip
    panel.units_winsorised[:, panel.closed[:300]] = 0
    effect = CalendarEffect.learn(panel, 300)
    assert 0.2 < effect.weights["festive"] < 1.0
    assert effect.weights["(closed)"] < -2
    days = effect.days(panel)
    assert days.shape == (328,)
    assert not days[(festive == 0) & ~panel.closed].any()
    np.testing.assert_allclose(days[(festive > 0) & ~panel.closed], effect.weights["festive"], rtol=1e-6)


def test_a_window_knows_what_its_night_knew():
    panel = some()
    lead = np.full(panel.promotion.shape, 3, np.uint8)
    price = panel.price.copy()
    price[:, 101:] = 9.0
    panel = replace(panel, promotion=np.ones_like(panel.promotion), promotion_lead=lead, price=price)
    windows = Windows(panel, CalendarEffect.learn(panel, 140), 28)
    series, nights = np.array([0, 0]), np.array([100, 139])
    past, ahead = windows.past(series, nights), windows.ahead(series, nights, 7)
    assert past.shape == (2, 4, 28)
    assert np.isnan(ahead[:, 0]).all()
    np.testing.assert_array_equal(ahead[:, 2], [[1, 1, 1, 0, 0, 0, 0]] * 2)
    np.testing.assert_array_equal(ahead[:, 3], [[2.5] * 7, [9.0] * 7])
    np.testing.assert_array_equal(past[0, 0], panel.units[0, 73:101])


def test_a_planned_price_stands_beside_the_price_of_the_night_and_is_no_promotion():
    panel = some()
    cut = np.zeros((*panel.promotion.shape[:2], 2), np.float32)
    cut[:, 99:101, 1], cut[:, 103:105, 1] = 0.2, 0.5
    lead = np.full(cut.shape, 3, np.uint8)
    panel = replace(panel, promotion=cut, promotion_kinds=("display", PRICE_CUT), promotion_lead=lead)
    windows = Windows(panel, CalendarEffect.learn(panel, 140), 28)
    ahead = windows.ahead(np.array([0, 0]), np.array([100, 101]), 5)
    full = 2.5 / 0.8  # the night of day 100 is itself cut by a fifth
    np.testing.assert_allclose(ahead[0, 3], [full, full, full / 2, full, full], rtol=1e-6)
    np.testing.assert_allclose(ahead[1, 3], [2.5, 1.25, 1.25, 2.5, 2.5], rtol=1e-6)
    assert not ahead[:, 2].any()


# ---- zero-shot


@pytest.mark.parametrize("family", FAMILIES)
def test_zero_shot_keeps_the_contract_beyond_the_model_s_own_horizon(family, checkpoints):
    panel = shop_panel(6, 140, 91)
    fitted = fit(checkpoints[family], panel)
    forecast = fitted.forecast(panel, 91, grid=True)
    assert forecast.quantiles.shape == (6, 91, len(QUANTILES))
    assert forecast.grid.shape == (6, 91, len(GRID_LEVELS))
    assert np.isfinite(forecast.mean).all()
    assert (forecast.mean >= 0).all()
    assert (forecast.quantiles == np.round(forecast.quantiles)).all()
    assert (np.diff(forecast.quantiles, axis=2) >= 0).all()
    assert (np.diff(forecast.grid, axis=2) >= 0).all()
    assert forecast.fallbacks == 0
    closed = panel.closed[140:]
    assert not forecast.mean[:, closed].any()
    assert not forecast.quantiles[:, closed].any()
    assert forecast.mean[:, ~closed].any()
    assert fitted.describe()["mode"] == "zero-shot"


def test_bolt_answers_with_the_library_s_own_quantiles(checkpoints):
    import torch

    panel = panel_of(np.random.default_rng(0).poisson(9, (3, 60)), ahead=8)
    fitted = fit(checkpoints["chronos-bolt"], panel)
    forecast = fitted.forecast(panel, 8, grid=True)
    theirs = fitted.model.pipeline.predict(torch.from_numpy(panel.units), prediction_length=8).numpy()
    own = [GRID_LEVELS.index(level) for level in (0.1, 0.5, 0.9)]
    expected = np.maximum(np.sort(theirs, axis=1)[:, [0, 4, 8]], 0).transpose(0, 2, 1)
    np.testing.assert_allclose(forecast.grid[:, :, own], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("threads", [1, 2])
def test_slices_of_rows_give_the_bytes_of_the_whole(family, threads, checkpoints):
    panel = shop_panel(3, 60, 10)
    fitted = forecaster(checkpoints[family]).fit(panel, folder=None, compute=Compute(threads=threads))
    whole = fitted.forecast(panel, 10, grid=True)
    for rows in (slice(0, 3), slice(1, 3)):
        part = fitted.forecast(panel.rows(rows), 10, grid=True)
        assert whole.grid[rows].tobytes() == part.grid.tobytes()
        assert whole.mean[rows].tobytes() == part.mean.tobytes()
        assert whole.quantiles[rows].tobytes() == part.quantiles.tobytes()


@pytest.mark.parametrize("family", FAMILIES)
def test_filled_up_batches_answer_what_one_series_alone_is_answered(family, checkpoints, monkeypatch):
    panel = some(7)
    fitted = fit(checkpoints[family], panel)
    alone = fitted.forecast(panel, 12, grid=True)
    monkeypatch.setattr(prediction, "ON_CPU", 3)
    told = []
    batched = fitted.forecast(panel, 12, grid=True, progress=lambda *step: told.append(step))
    np.testing.assert_allclose(batched.grid, alone.grid, rtol=1e-4, atol=1e-4)
    assert told == [("forecast", done, 7) for done in (3, 6, 7)]


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_sold_after_the_night_is_read(family, checkpoints):
    panel = shop_panel(5, 160, 21)
    other = changed_after(panel, 120, units=77.0, units_winsorised=77.0)
    fitted = fit(checkpoints[family], panel.until(120))
    answers = [fitted.forecast(some.until(120), 21) for some in (panel, other)]
    assert answers[0].quantiles.tobytes() == answers[1].quantiles.tobytes()
    refitted = fit(checkpoints[family], other.until(120)).forecast(other.until(120), 21)
    assert refitted.mean.tobytes() == answers[0].mean.tobytes()


@pytest.mark.parametrize(("family", "reads"), [("chronos-bolt", False), ("chronos-2", True)])
def test_chronos_2_reads_what_is_known_of_the_days_ahead(family, reads, checkpoints):
    panel = some()
    promoted = changed_after(panel, panel.history, promotion=1.0)
    fitted = fit(checkpoints[family], panel)
    answers = [fitted.forecast(which, 14, grid=True).grid for which in (panel, promoted)]
    assert (not np.array_equal(*answers)) == reads


def test_what_has_not_seen_the_last_days_has_not_learned_the_calendar_of_them_either(checkpoints):
    panel = some()
    other = changed_after(panel, panel.history - 8, units=50.0, units_winsorised=50.0)
    fitted, otherwise = (fit(checkpoints["chronos-2"], which) for which in (panel, other))
    assert fitted.effect != otherwise.effect
    assert fitted.validated.effect == otherwise.validated.effect
    assert fit(checkpoints["chronos-bolt"], panel).validated is None


def test_a_series_that_never_sold_is_left_to_seasonal_naive_and_counted(checkpoints):
    units = np.vstack([np.random.default_rng(1).poisson(4, (2, 60)), np.zeros((1, 60))])
    panel = panel_of(units)
    forecast = fit(checkpoints["chronos-bolt"], panel).forecast(panel, 21, grid=True)
    naive = SeasonalNaive().fit(panel, folder=None, compute=Compute()).forecast(panel, 21, grid=True)
    assert forecast.fallbacks == 1
    np.testing.assert_array_equal(forecast.quantiles[2], naive.quantiles[2])
    np.testing.assert_array_equal(forecast.grid[2], naive.grid[2])


def test_more_days_than_the_calendar_knows_are_refused(checkpoints):
    panel = some()
    with pytest.raises(ModelError, match="asked for 22 days"):
        fit(checkpoints["chronos-bolt"], panel).forecast(panel, 22)


# ---- the pretrained model on disk


def test_zero_shot_comes_back_from_its_folder_without_a_copy_of_the_model(checkpoints, tmp_path):
    panel = some()
    for family in FAMILIES:
        before = fit(checkpoints[family], panel)
        before.save(tmp_path / family)
        assert [file.name for file in (tmp_path / family).iterdir()] == ["forecaster.json"]
        after = registry.load(tmp_path / family, ONE_THREAD)
        assert after.describe() == before.describe()
        assert after.forecast(panel, 14).mean.tobytes() == before.forecast(panel, 14).mean.tobytes()


def test_another_pretrained_model_in_its_place_is_refused_by_name(checkpoints, tmp_path):
    base = shutil.copytree(checkpoints["chronos-bolt"], tmp_path / "base")
    fit(base, some()).save(tmp_path / "saved")
    shutil.rmtree(base)
    with pytest.raises(ModelError, match=r"base: no such folder"):
        registry.load(tmp_path / "saved")
    write_tiny(base, "chronos-bolt", seed=1)
    with pytest.raises(ModelError, match=r"pretrained model base@[0-9a-f]{12}, but .* now holds base@[0-9a-f]{12}"):
        registry.load(tmp_path / "saved")


def test_pickled_weights_are_refused_by_name(checkpoints, tmp_path):
    base = shutil.copytree(checkpoints["chronos-2"], tmp_path / "base")
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"weights only as pytorch_model\.bin, which may run code"):
        fit(base, some())


def test_a_model_of_another_kind_or_with_weights_missing_is_refused(checkpoints, tmp_path):
    from safetensors.torch import load_file, save_file

    base = shutil.copytree(checkpoints["chronos-bolt"], tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    weights.pop("output_patch_embedding.output_layer.weight")
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights .*output_patch_embedding"):
        fit(base, some())
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"chronos_pipeline_class": "ChronosPipeline"}))
    with pytest.raises(ModelError, match="describes ChronosPipeline, not one of Chronos2Pipeline"):
        fit(base, some())
    with pytest.raises(ModelError, match="no such folder"):
        fit(tmp_path / "nowhere", some())


def test_an_id_that_is_not_in_the_cache_is_not_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"members\.chronos\.allow_download: true"):
        find_base(ChronosSettings(on=True, model="nobody/no-such-model"))


def test_without_the_extra_the_way_to_it_is_said(checkpoints, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install chronos-forecasting"):
        fit(checkpoints["chronos-bolt"], some())


def test_the_registry_makes_it_from_the_settings_of_a_home(checkpoints):
    settings = Settings.model_validate(
        {
            "shop": {"name": "Shop", "country": "DE", "timezone": "Europe/Berlin", "currency": "EUR"},
            "sources": [{"mapping": "uci"}],
            "members": {"chronos": {"on": True, "model": "tiny"}},
        }
    )
    made = registry.make("chronos", settings, checkpoints["chronos-2"].parent)
    panel = some()
    assert made.fit(panel, folder=None, compute=ONE_THREAD).forecast(panel, 7).mean.shape == (6, 7)


def test_what_is_read_beside_a_panel_has_an_id_that_follows_its_files(checkpoints, tmp_path):
    settings = Settings.model_validate(
        {
            "shop": {"name": "Shop", "country": "DE", "timezone": "Europe/Berlin", "currency": "EUR"},
            "sources": [{"mapping": "uci"}],
            "members": {"chronos": {"on": True, "model": "tiny"}},
        }
    )
    shutil.copytree(checkpoints["chronos-bolt"], tmp_path / "tiny")
    (before,) = registry.pretrained_ids("chronos", settings, tmp_path)
    assert registry.pretrained_ids("ensemble", settings, tmp_path) == (before,)
    assert registry.pretrained_ids("lightgbm", settings, tmp_path) == ()
    (language_model,) = registry.pretrained_ids("fusion", settings, tmp_path)
    assert language_model.startswith("minilm")
    config = tmp_path / "tiny" / "config.json"
    config.write_text(config.read_text() + "\n")
    assert registry.pretrained_ids("chronos", settings, tmp_path) != (before,)
    assert registry.pretrained_ids("chronos", settings, tmp_path / "elsewhere") == ()
