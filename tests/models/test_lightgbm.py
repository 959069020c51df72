"""LightGBM on windows: what it answers, what it reads, what it learns, and sums learned straight."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.errors import HistoryError, ModelError
from pipeline.models import registry
from pipeline.models.base import Compute
from pipeline.models.gradient_boosting.boosters import grid_of
from pipeline.models.gradient_boosting.features import Features
from pipeline.models.gradient_boosting.forecaster import STRETCH, LightgbmQuantiles
from pipeline.models.gradient_boosting.windows import Demand, Sampler, Windows
from pipeline.models.quantiles import GRID_LEVELS, LEVELS
from pipeline.settings import QUANTILES, Settings
from tests.models.contract import answer_of
from tests.models.demand_panels import panel_of
from tests.models.network_panels import WEEK, changed_after, shop_panel, small

CPU = Compute(threads=1)
SHORT = small(max_steps=8, batch_size=128)
"""Eight rounds over a thousand windows."""


@pytest.fixture(scope="module")
def panel():
    return shop_panel()


def trained(panel, tmp_path, settings=SHORT, max_seconds=600.0):
    return LightgbmQuantiles(settings, max_seconds).fit(panel, folder=tmp_path, compute=CPU)


@pytest.fixture(scope="module")
def fitted(panel, tmp_path_factory):
    return trained(panel, tmp_path_factory.mktemp("fit"))


@pytest.fixture(scope="module")
def learned(panel, tmp_path_factory):
    """Long enough to have learned what there is."""
    return trained(panel, tmp_path_factory.mktemp("learned"), small(max_steps=60, batch_size=128))


def as_bytes(forecast) -> bytes:
    return b"".join(array.tobytes() for array in (forecast.mean, forecast.quantiles, forecast.grid))


def table_of(panel, windows, **changed):
    features = replace(Features.learn(panel, panel.history), **changed)
    return features.table(panel, windows, CPU)


def column(table, name):
    return table.values[:, table.names.index(name)]


def on_night(panel, row, night, leads):
    return Windows.ahead(panel, np.array([row]), leads, night)


# --- what it answers --------------------------------------------------------------------------------------------------


def test_quantiles_are_whole_units_that_never_cross(fitted, panel):
    forecast = answer_of(fitted, panel, 14)
    assert (forecast.grid != np.rint(forecast.grid)).any()


def test_nothing_is_sold_on_closed_days(fitted, panel):
    forecast = fitted.forecast(panel, 14, grid=True)
    shut = panel.closed[panel.history :]
    assert shut.any()
    assert not forecast.mean[:, shut].any()
    assert not forecast.quantiles[:, shut].any()
    assert not forecast.grid[:, shut].any()


def test_the_grid_holds_the_quantiles_and_its_tail_has_the_mean_of_the_mean_booster():
    quantiles = -np.log1p(-LEVELS)[None, :] * np.array([[3.0], [0.5]])
    grid = grid_of(np.array([3.0, 0.5]), quantiles)
    places = [GRID_LEVELS.index(level) for level in QUANTILES]
    np.testing.assert_array_equal(grid[:, places], quantiles)
    # an exponential distribution's tail is exponential: the highest quantile is known
    np.testing.assert_allclose(grid[:, -1], -np.log1p(-0.995) * np.array([3.0, 0.5]), rtol=0.1)


def test_a_mean_that_contradicts_the_quantiles_cannot_blow_up_the_tail():
    quantiles = np.tile(np.arange(11.0), (3, 1))
    grid = grid_of(np.array([0.0, 5.5, 1e9]), quantiles)
    assert np.isfinite(grid).all()
    assert (np.diff(grid) >= 0).all()
    assert grid.max() < 30


def test_slices_of_rows_give_the_bytes_of_the_whole(fitted, panel):
    whole = fitted.forecast(panel, 14, grid=True)
    for rows in (slice(0, 1), slice(7, 20), np.array([3, 30, 5])):
        part = fitted.forecast(panel.rows(rows), 14, grid=True)
        for name in ("mean", "quantiles", "grid"):
            assert getattr(part, name).tobytes() == getattr(whole, name)[rows].tobytes(), name


def test_a_shorter_horizon_is_the_beginning_of_a_longer_one(fitted, panel):
    np.testing.assert_array_equal(fitted.forecast(panel, 5).mean, fitted.forecast(panel, 14).mean[:, :5])


def test_a_horizon_beyond_the_calendar_is_refused(fitted, panel):
    with pytest.raises(ModelError, match="15 days"):
        fitted.forecast(panel, 15)


# --- what it reads ----------------------------------------------------------------------------------------------------


def test_the_future_changes_no_forecast(fitted, panel):
    night = 120
    units = panel.units.copy()
    units[:, night:] = 999.0
    other = replace(panel, units=units, units_winsorised=units)
    before, after = (fitted.forecast(some.until(night), 14, grid=True) for some in (panel, other))
    assert as_bytes(before) == as_bytes(after)


def test_features_of_past_windows_read_no_demand_and_no_price_after_their_night(panel):
    night = 120
    windows = Windows.ahead(panel, np.arange(panel.series), [(1, 1), (9, 9), (1, 7)], night)
    changed = changed_after(panel, night + 1, units=999.0, units_winsorised=999.0, price=77.0)
    features = Features.learn(panel, panel.history)
    before, after = (features.table(some, windows, CPU) for some in (panel, changed))
    assert before.values.tobytes() == after.values.tobytes()
    assert before.level.tobytes() == after.level.tobytes()


def test_a_training_without_the_last_days_does_not_know_them(panel, tmp_path):
    """The boosters held back are the same whatever was sold on the days that validate, but for where they stopped."""
    known = panel.history - 14
    other = changed_after(panel, known, units=999.0, units_winsorised=999.0)
    one, two = (
        LightgbmQuantiles(SHORT, 600.0).fit(some, folder=tmp_path, compute=CPU).validated for some in (panel, other)
    )
    assert one.boosters.texts == two.boosters.texts


def test_means_rates_and_level_are_those_of_the_open_days_up_to_the_night():
    row = np.tile([4, 0, 2, 0, 6, 0, 0], 30)
    panel = panel_of([row], closed=np.tile([0, 0, 0, 0, 0, 0, 1], 34))
    table = table_of(panel, on_night(panel, 0, 209, [(1, 1), (3, 3), (1, 7)]))
    assert table.level[0] == pytest.approx(12 / 6 + 0.1)
    np.testing.assert_allclose(column(table, "mean_7"), 2 / 2.1, rtol=1e-6)
    np.testing.assert_allclose(column(table, "rate_28"), 0.5)
    np.testing.assert_allclose(column(table, "weekday_mean_8"), [4 / 2.1, 2 / 2.1, np.nan], rtol=1e-6)
    np.testing.assert_allclose(column(table, "weekday"), [0, 2, 3])
    np.testing.assert_array_equal(table.open_days, [1, 1, 6])
    np.testing.assert_array_equal(column(table, "since_sale"), 2)


def test_the_year_ago_window_is_of_the_same_days_and_masked_where_nobody_could_know_it():
    units = np.zeros((2, 500))
    units[0], units[1, 300:] = 1.0, 1.0
    units[0, 440 + 10 - 364] = 50.0
    panel = panel_of(units)
    windows = Windows.ahead(panel, np.arange(2), [(10, 10)], 440)
    table = table_of(panel, windows, year_ago=True)
    np.testing.assert_allclose(column(table, "year_ago_near") * table.level, [56 / 7, np.nan], rtol=1e-5)
    np.testing.assert_allclose(column(table, "year_ago_wide") * table.level, [78 / 29, np.nan], rtol=1e-5)
    np.testing.assert_array_equal(column(table, "year_ago_near_known"), [1, 0])
    masked = table_of(panel, windows, year_ago=False)
    assert np.isnan(column(masked, "year_ago_near")).all()
    assert not Features.learn(panel, 364 + 55).year_ago
    assert Features.learn(panel, 364 + 56).year_ago


def test_a_promotion_counts_from_the_night_it_was_announced(panel):
    lead = np.full(panel.promotion.shape, 3, np.uint8)
    promotion = np.zeros_like(panel.promotion)
    promotion[0, 125] = 0.8
    announced = replace(panel, promotion=promotion, promotion_lead=lead)
    seen = [
        column(table_of(announced, on_night(panel, 0, night, [(125 - night, 125 - night)])), "promotion_discount")[0]
        for night in (120, 121, 122, 124)
    ]
    np.testing.assert_allclose(seen, [0, 0, 0.8, 0.8])
    week = table_of(announced, on_night(panel, 0, 122, [(1, 7)]))
    assert column(week, "promotion_discount")[0] == pytest.approx(0.8 / 7)


def test_a_category_and_a_promotion_nobody_taught_are_unknown(fitted, panel):
    strange = replace(panel, category_names=("x", "y", "z"), promotion_kinds=("voucher",))
    table = fitted.features.table(strange, on_night(panel, 0, 100, [(1, 1)]), CPU)
    assert np.isnan(column(table, "category")).all()
    assert not column(table, "promotion_discount").any()


def test_training_windows_lie_in_the_days_that_are_known(panel):
    for length in (28, 1):
        sampler = Sampler.of(panel, 150, length)
        windows = sampler.draw(np.random.default_rng(0), 4000)
        assert len(windows) >= 3500
        assert windows.last_day.max() == 149
        assert (windows.first_day > windows.night).all()
        assert (windows.night >= panel.first_sold[windows.series]).all()
        assert set(windows.last_day - windows.first_day + 1) == {length}
        assert not (panel.closed[windows.first_day] & (windows.first_day == windows.last_day)).any()
    near = windows.first_day - windows.night
    assert (near <= 3).mean() > (near > 7).mean()


def test_closed_days_count_as_zero():
    panel = panel_of([np.ones(14)], closed=np.tile([0, 0, 0, 0, 0, 0, 1], 6))
    windows = Windows(*(np.array(days) for days in ([0, 0], [3, 3], [4, 6], [10, 6])))
    np.testing.assert_array_equal(Demand(panel).of(windows), [6, 0])


# --- what it learns ---------------------------------------------------------------------------------------------------


def test_it_learns_the_week(learned, panel):
    forecast = learned.forecast(panel, 14)
    without = panel.promotion[:, panel.history :, 0] == 0
    by_day = [forecast.mean[without[:, day], day].sum() / without[:, day].sum() for day in range(14)]
    week = (np.array(by_day[:7]) + np.array(by_day[7:])) / 2
    expected = np.roll(WEEK, -(panel.history % 7))
    assert np.corrcoef(week, expected)[0, 1] > 0.95


def test_it_learns_the_promotion(learned, panel):
    promotion = np.zeros_like(panel.promotion)
    nothing = learned.forecast(replace(panel, promotion=promotion), 14)
    promoted = learned.forecast(replace(panel, promotion=promotion + 1), 14)
    assert 1.4 < promoted.mean.sum() / nothing.mean.sum() < 2.4
    assert promoted.quantiles.sum() > 1.3 * nothing.quantiles.sum()


def test_its_mean_is_right_over_all(learned, panel):
    held = learned.validated.forecast(panel.until(panel.history - 14), 14)
    truth = panel.units[:, -14:]
    assert abs(held.mean.sum() / truth.sum() - 1) < 0.15
    above = (truth[:, :, None] <= held.quantiles)[:, panel.closed[panel.history - 14 : panel.history] == 0]
    assert above[:, :, QUANTILES.index(0.9)].mean() > 0.8
    assert above[:, :, QUANTILES.index(0.1)].mean() < 0.5


# --- how it is trained ------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(fitted, panel, tmp_path):
    assert trained(panel, tmp_path).boosters.texts == fitted.boosters.texts
    assert trained(panel, tmp_path, SHORT.model_copy(update={"seed": 8})).boosters.texts != fitted.boosters.texts


def test_what_is_saved_forecasts_the_same_bytes(fitted, panel, tmp_path):
    fitted.save(tmp_path / "model")
    again = registry.load(tmp_path / "model", CPU)
    assert as_bytes(again.forecast(panel, 14, grid=True)) == as_bytes(fitted.forecast(panel, 14, grid=True))
    assert again.describe() == fitted.describe()
    assert again.validated is None
    assert {path.suffix for path in (tmp_path / "model").rglob("*") if path.is_file()} == {".txt", ".json"}


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_model_is_refused(fitted, tmp_path, damage):
    fitted.save(tmp_path)
    file = tmp_path / "booster-q50.txt"
    if damage == "missing":
        file.unlink()
    else:
        file.write_text(file.read_text()[:300])
    with pytest.raises(ModelError, match="train again"):
        registry.load(tmp_path, CPU)


def test_the_report_says_what_was_planned(fitted):
    report = fitted.report
    assert report.parameters["budget"] == "steps"
    assert report.parameters["max_rounds"] == 8
    assert report.parameters["windows"] == pytest.approx(1024, rel=0.1)
    assert report.stopped in {"steps", "early stopping"}


def test_two_months_are_enough_and_one_is_not(tmp_path):
    panel = shop_panel(days=60)
    forecast = trained(panel, tmp_path).forecast(panel, 14)
    assert forecast.mean.sum() > 0
    with pytest.raises(HistoryError, match=r"40 days.*56 are needed.*training\.min_history_days"):
        trained(shop_panel(days=40), tmp_path)


def test_nothing_sold_is_no_history(tmp_path):
    with pytest.raises(HistoryError, match="nothing was sold"):
        trained(panel_of(np.zeros((3, 100))), tmp_path)


def test_items_launched_yesterday_only_are_no_history(tmp_path):
    units = np.zeros((3, 100))
    units[:, 99] = 1
    with pytest.raises(HistoryError, match="no item was sold long enough"):
        trained(panel_of(units), tmp_path)


def test_the_registry_knows_it():
    made = registry.make("lightgbm", Settings.model_construct(**_settings()))
    assert (made.name, made.max_seconds) == ("lightgbm", 240.0)


def _settings():
    from pipeline.model_settings import MembersSettings, TrainingSettings

    return {"training": TrainingSettings(), "members": MembersSettings()}


# --- sums of 28 days ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_panel():
    return shop_panel(series=40, days=196, ahead=63)


@pytest.fixture(scope="module")
def with_sums(long_panel, tmp_path_factory):
    return trained(long_panel, tmp_path_factory.mktemp("sums"), small(max_steps=40, batch_size=64))


def test_sums_are_those_of_the_stretches_that_fit_into_the_horizon(with_sums, long_panel):
    stretches = with_sums.forecast(long_panel, 63, grid=True).stretches
    assert stretches.days == STRETCH
    assert stretches.spread.shape == (40, 2, len(QUANTILES))
    assert (np.diff(stretches.spread) >= 0).all()
    assert with_sums.forecast(long_panel, 27, grid=True).stretches is None
    assert with_sums.forecast(long_panel, 63).stretches is None


def test_sums_held_back_are_spread_as_what_came(with_sums, long_panel):
    cut = long_panel.until(long_panel.history - STRETCH)
    answer = with_sums.validated.forecast(cut, STRETCH, grid=True)
    truth = long_panel.units[:, -STRETCH:].sum(axis=1)
    quantiles = answer.stretches.spread[:, 0] * answer.mean.sum(axis=1, keepdims=True)
    inside = (truth >= quantiles[:, 0]) & (truth <= quantiles[:, -1])
    assert inside.mean() > 0.6
    assert np.abs(quantiles[:, LEVELS.tolist().index(0.5)] - truth).sum() / truth.sum() < 0.35


def test_an_item_that_nothing_is_expected_of_has_no_spread(with_sums, long_panel):
    closed = replace(long_panel, closed=np.ones_like(long_panel.closed))
    assert np.isnan(with_sums.forecast(closed, STRETCH, grid=True).stretches.spread).all()


def test_a_short_history_has_days_alone(tmp_path):
    fitted = trained(shop_panel(series=20, days=100, ahead=28), tmp_path)
    assert fitted.sums is None
    assert fitted.report.parameters["sums"] == "left out, 100 days of history, 112 are needed"
    assert fitted.forecast(shop_panel(series=20, days=100, ahead=28), 28, grid=True).stretches is None


def test_items_too_young_for_sums_have_days_alone(tmp_path):
    units = np.zeros((3, 140))
    units[:, 90:] = 1 + np.arange(50) % 3
    fitted = trained(panel_of(units), tmp_path)
    assert fitted.sums is None
    assert "no item was sold long enough" in fitted.report.parameters["sums"]


def test_stored_sums_and_slices_of_rows_give_the_same_bytes(with_sums, long_panel, tmp_path):
    with_sums.save(tmp_path)
    whole = with_sums.forecast(long_panel, 63, grid=True)
    again = registry.load(tmp_path, CPU).forecast(long_panel.rows(slice(5, 9)), 63, grid=True)
    assert whole.stretches.spread[5:9].tobytes() == again.stretches.spread.tobytes()
    assert whole.grid[5:9].tobytes() == again.grid.tobytes()
