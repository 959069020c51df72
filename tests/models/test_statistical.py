"""AutoETS and dynamic Theta behind the forecasters' interface."""

import numpy as np
import pytest
from statsforecast.models import AutoETS, DynamicOptimizedTheta

from pipeline.errors import HistoryError, ModelError
from pipeline.models import statistical
from pipeline.models.base import Compute
from pipeline.models.quantiles import whole_units
from pipeline.models.seasonal_naive import SeasonalNaive
from pipeline.models.statistical import Statistical, load_statistical
from pipeline.settings import QUANTILES
from tests.models.demand_panels import panel_of

WEEK = np.array([30, 12, 25, 38, 43, 61, 0])
KINDS = ("auto_ets", "dynamic_theta")


def noisy_weeks(weeks=26, series=1, seed=0):
    rng = np.random.default_rng(seed)
    return np.maximum(np.round(np.tile(WEEK, (series, weeks)) + rng.normal(0, 3, (series, 7 * weeks))), 0)


def forecast_of(kind, panel, horizon=28, threads=1, **options):
    fitted = Statistical(kind).fit(panel, folder=None, compute=Compute(threads=threads))
    return fitted.forecast(panel, horizon, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_weekly_pattern_is_found_and_its_spread_is_honest(kind):
    forecast = forecast_of(kind, panel_of(noisy_weeks()))
    np.testing.assert_allclose(forecast.mean[0], np.tile(WEEK, 4), atol=4)
    width = forecast.quantiles[0, :7, QUANTILES.index(0.9)] - forecast.quantiles[0, :7, QUANTILES.index(0.1)]
    if kind == "auto_ets":  # ± 1.28 · 3 units; Theta's intervals are wide by themselves where it deseasonalises
        assert 4 <= np.median(width) <= 12
    assert forecast.fallbacks == 0


@pytest.mark.parametrize(("kind", "model"), [("auto_ets", AutoETS), ("dynamic_theta", DynamicOptimizedTheta)])
def test_quantiles_are_the_library_s_own_intervals_in_whole_units(kind, model):
    units = noisy_weeks()
    own = model(season_length=7).forecast(y=units[0].astype(float), h=14, level=[40, 80])
    theirs = whole_units(np.stack([own["lo-80"], own["lo-40"], own["hi-40"], own["hi-80"]], axis=1))
    forecast = forecast_of(kind, panel_of(units), 14)
    mine = forecast.quantiles[0][:, [QUANTILES.index(q) for q in (0.1, 0.3, 0.7, 0.9)]]
    np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(forecast.mean[0], np.maximum(own["mean"], 0))


@pytest.mark.parametrize("kind", KINDS)
def test_series_that_cannot_be_fitted_fall_back_and_are_counted(kind):
    good = noisy_weeks()[0]
    never = np.zeros_like(good)
    young = np.concatenate([np.zeros(len(good) - 5), [4, 0, 2, 1, 3]])
    panel = panel_of([good, never, young])
    forecast = forecast_of(kind, panel)
    naive = SeasonalNaive().fit(panel, folder=None, compute=Compute()).forecast(panel, 28)
    assert forecast.fallbacks == 2
    np.testing.assert_array_equal(forecast.quantiles[1:], naive.quantiles[1:])
    np.testing.assert_array_equal(forecast.mean[1:], naive.mean[1:])
    assert not forecast.quantiles[1].any()
    np.testing.assert_array_equal(forecast.quantiles[0], forecast_of(kind, panel_of([good])).quantiles[0])


@pytest.mark.parametrize(
    "answer",
    [ZeroDivisionError("optimiser"), {"mean": np.full(28, np.nan)}, {"mean": np.full(28, 1e9)}],
    ids=["raises", "not finite", "exploded"],
)
def test_a_library_that_fails_on_one_series_is_not_hidden(answer, monkeypatch):
    real = AutoETS.forecast

    def sometimes(self, y, h, level):
        found = real(self, y=y, h=h, level=level)
        if y[0] != 77:
            return found
        if isinstance(answer, Exception):
            raise answer
        return {**found, **answer}

    monkeypatch.setattr(AutoETS, "forecast", sometimes)
    units = noisy_weeks(series=3)
    units[1, 0] = 77
    assert forecast_of("auto_ets", panel_of(units)).fallbacks == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "row",
    [[7] * 60, [0, 0, 0, 0, 0, 0, 1] * 12, [0] * 59 + [500], [1, 0] * 8],
    ids=["constant", "once a week", "one sale ever", "sixteen days"],
)
def test_the_contract_holds_on_odd_series(kind, row):
    forecast = forecast_of(kind, panel_of([row]), 91, grid=True)
    assert np.isfinite(forecast.mean).all()
    assert (forecast.mean >= 0).all()
    assert (forecast.quantiles >= 0).all()
    assert (forecast.quantiles == np.round(forecast.quantiles)).all()
    assert (np.diff(forecast.quantiles, axis=2) >= 0).all()
    assert (np.diff(forecast.grid, axis=2) >= 0).all()
    assert forecast.grid.shape[2] == len(forecast.grid_levels)


def test_processes_and_slices_of_rows_give_the_same_bytes(monkeypatch):
    monkeypatch.setattr(statistical, "_WORTH_PROCESSES", 4)
    monkeypatch.setattr(statistical, "_CHUNK", 2)
    panel = panel_of(noisy_weeks(weeks=10, series=5))
    told = []
    alone = forecast_of("dynamic_theta", panel, progress=lambda *step: told.append(step))
    together = forecast_of("dynamic_theta", panel, threads=2)
    part = forecast_of("dynamic_theta", panel.rows(slice(3, 5)))
    assert alone.quantiles.tobytes() == together.quantiles.tobytes()
    assert alone.quantiles[3:5].tobytes() == part.quantiles.tobytes()
    assert told == [("dynamic_theta", done, 5) for done in (2, 4, 5)]


def test_only_the_last_two_years_are_read():
    recent = noisy_weeks(weeks=105)[:, -statistical.MAX_DAYS :]
    other_past = np.concatenate([np.full((1, 70), 900.0), recent], axis=1)
    np.testing.assert_array_equal(
        forecast_of("dynamic_theta", panel_of(recent)).quantiles,
        forecast_of("dynamic_theta", panel_of(other_past)).quantiles,
    )


def test_it_comes_back_from_its_folder(tmp_path):
    panel = panel_of(noisy_weeks(weeks=10))
    before = Statistical("dynamic_theta").fit(panel, folder=tmp_path, compute=Compute(threads=1))
    before.save(tmp_path / "saved")
    after = load_statistical(tmp_path / "saved")
    assert after.describe() == before.describe()
    assert after.forecast(panel, 14).quantiles.tobytes() == before.forecast(panel, 14).quantiles.tobytes()
    with pytest.raises(ModelError, match="cannot be read"):
        load_statistical(tmp_path / "elsewhere")


def test_less_than_two_weeks_is_refused():
    with pytest.raises(HistoryError, match="auto_ets: 13 days"):
        forecast_of("auto_ets", panel_of([[1] * 13]))
