import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from pipeline.errors import HistoryError, ModelError
from pipeline.model_settings import TrainingSettings
from pipeline.models import registry
from pipeline.models.base import Compute
from pipeline.models.history import validation_days
from pipeline.models.networks.features import Windows
from pipeline.models.networks.forecaster import NetworkForecaster, load_network
from pipeline.models.networks.schedule import Course, dependence_of, steps_for
from pipeline.models.networks.spec import FeatureSpec
from tests.models.contract import answer_of
from tests.models.demand_panels import panel_of
from tests.models.network_panels import WEEK, changed_after, shop_panel, small

CPU = Compute(threads=1)


@pytest.fixture(scope="module")
def panel():
    return shop_panel()


@pytest.fixture(scope="module")
def fitted(panel, tmp_path_factory):
    return NetworkForecaster(small(), "lstm").fit(panel, folder=tmp_path_factory.mktemp("fit"), compute=CPU)


def as_bytes(forecast) -> bytes:
    return (
        forecast.mean.tobytes()
        + forecast.quantiles.tobytes()
        + (b"" if forecast.grid is None else forecast.grid.tobytes())
    )


def weights_of(fitted) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in fitted.network.state_dict().items()}


# --- what it answers --------------------------------------------------------------------------------------------------


def test_quantiles_are_whole_units_that_never_cross(fitted, panel):
    answer_of(fitted, panel, 14)


def test_nothing_is_sold_on_closed_days(fitted, panel):
    forecast = fitted.forecast(panel, 14, grid=True)
    closed = panel.closed[panel.history : panel.history + 14]
    assert closed.sum() == 2
    for values in (forecast.mean, forecast.quantiles, forecast.grid):
        assert (values[:, closed] == 0).all()
    assert (forecast.mean[:, ~closed] > 0).all()


@pytest.mark.parametrize("cuts", [[1], [7, 8, 30], list(range(1, 40))], ids=["two", "uneven", "single rows"])
def test_slices_of_rows_give_the_bytes_of_the_whole(fitted, panel, cuts):
    whole = fitted.forecast(panel, 14, grid=True)
    bounds = [0, *cuts, panel.series]
    parts = [fitted.forecast(panel.rows(slice(a, b)), 14, grid=True) for a, b in pairwise(bounds)]
    for name in ("mean", "quantiles", "grid"):
        assert np.concatenate([getattr(part, name) for part in parts]).tobytes() == getattr(whole, name).tobytes()


def test_a_longer_horizon_begins_with_the_shorter_one(fitted, panel):
    assert fitted.forecast(panel, 14).quantiles[:, :5].tobytes() == fitted.forecast(panel, 5).quantiles.tobytes()


def test_the_horizon_ends_where_the_calendar_ends(fitted, panel):
    with pytest.raises(ModelError, match="15 days, but the panel knows the calendar of 14"):
        fitted.forecast(panel, 15)


def test_items_without_any_sale_get_a_forecast(fitted, panel):
    unsold = replace(
        panel,
        units=panel.units * 0,
        units_winsorised=panel.units * 0,
        price=panel.price * np.nan,
        first_sold=np.full(panel.series, panel.history),
    )
    assert np.isfinite(fitted.forecast(unsold, 14, grid=True).mean).all()


def test_unknown_categories_promotions_and_calendar_are_matched_by_name(fitted, panel):
    turned = replace(
        panel,
        calendar=np.concatenate([panel.calendar[:, ::-1], panel.calendar[:, :1]], 1),
        calendar_names=("mood", "weather", "new"),
        promotion=np.concatenate([panel.promotion * 0.3, panel.promotion], 2),
        promotion_kinds=("new", "discount"),
        category=np.array([2, 1, 0])[panel.category],
        category_names=("b", "a", ""),
    )
    assert as_bytes(fitted.forecast(turned, 14)) == as_bytes(fitted.forecast(panel, 14))
    assert np.isfinite(fitted.forecast(replace(panel, category_names=("x", "y", "z")), 14).mean).all()


def test_text_vectors_of_another_language_model_are_refused(fitted, panel):
    with pytest.raises(ModelError, match=r"text vectors of 4 numbers, but the items carry 9.*almanac\.yaml"):
        fitted.forecast(replace(panel, text=np.zeros((panel.series, 9), np.float32)), 14)


# --- what it learns ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_learns_the_week_and_the_promotion(tmp_path):
    panel = shop_panel(80, 224, 14, seed=5)
    coming = shop_panel(80, 238, 0, seed=5)
    settings = small(hidden=24, max_steps=200, batch_size=64, learning_rate=5e-3)
    fitted = NetworkForecaster(settings, "lstm").fit(panel, folder=tmp_path, compute=CPU)
    forecast = fitted.forecast(panel, 14)
    assert coming.series == panel.series
    old = panel.first_sold < 28
    level = panel.units[:, -56:].sum(1, keepdims=True) / WEEK[np.arange(168, 224) % 7].sum()
    truth = level * WEEK[np.arange(224, 238) % 7] * (1 + panel.promotion[:, 224:, 0])
    flat = np.repeat(panel.units[:, -56:].mean(1, keepdims=True), 14, axis=1)

    def error(mean):
        return np.abs(mean - truth)[old].sum() / truth[old].sum()

    assert error(forecast.mean) < 0.5 * error(flat)
    promoted, plain = panel.promotion[:, 224:, 0] > 0, panel.promotion[:, 224:, 0] == 0
    lift = [
        (forecast.mean / np.maximum(truth, 1e-9))[old][(mask & (truth > 0))[old]].mean() for mask in (promoted, plain)
    ]
    assert lift[0] == pytest.approx(lift[1], rel=0.25)  # without the promotion it would be about half


def test_year_ago_and_the_phase_of_the_year_are_masked_under_a_year():
    panel = replace(shop_panel(days=300), calendar_names=("year_sin_1", "mood"))
    spec = FeatureSpec.learn(panel, 280, 28)
    assert (spec.year_ago, spec.calendar_names) == (False, ("mood",))
    longer = replace(shop_panel(days=500), calendar_names=("year_sin_1", "mood"))
    spec = FeatureSpec.learn(longer, 480, 28)
    assert (spec.year_ago, spec.calendar_names) == (True, ("year_sin_1", "mood"))


def test_a_calendar_flag_that_training_never_saw_is_left_out():
    panel = shop_panel()
    calendar = panel.calendar.copy()
    calendar[:, 0] = 0
    calendar[-3:, 0] = 1
    assert FeatureSpec.learn(replace(panel, calendar=calendar), panel.history, 28).calendar_names == ("mood",)


# --- never the future -------------------------------------------------------------------------------------------------


def test_scalers_see_training_days_only(panel):
    """Validation days are not training data: whatever happens in them, the scalers stay."""
    known = panel.history - validation_days(panel.history, 14, panel.horizon)
    other = changed_after(panel, known, units=900, units_winsorised=900, price=77.0, calendar=5.0)
    settings = small()
    before, after = NetworkForecaster(settings, "lstm")._spec(panel), NetworkForecaster(settings, "lstm")._spec(other)
    assert before.levels.to_json() == after.levels.to_json()
    assert before.calendar.to_json() == after.calendar.to_json()


def test_windows_read_nothing_after_their_night(panel):
    spec = NetworkForecaster(small(), "lstm")._spec(panel)
    night = 100
    other = changed_after(panel, night + 1, units=500, units_winsorised=500)
    late = panel.first_sold > night
    rows = torch.as_tensor(np.flatnonzero(~late))
    nights = torch.full_like(rows, night)
    before, after = ((w := Windows(which, spec)).cut(rows, nights, w.leads(14)) for which in (panel, other))
    for name in before.__dataclass_fields__:
        assert torch.equal(getattr(before, name), getattr(after, name)), name


def test_year_ago_windows_are_those_of_the_same_weekday():
    panel = shop_panel(days=460)
    spec = replace(NetworkForecaster(small(), "lstm")._spec(panel), year_ago=True)
    windows = Windows(panel, spec)
    old = int(np.flatnonzero(panel.first_sold == panel.first_sold.min())[0])
    mean, known = windows._year_ago_mean(
        torch.tensor([old]), torch.tensor([[459 + 5 - 364]]), 4, 3, torch.tensor([459])
    )
    open_days = ~panel.closed[97:104]
    assert known.item() == 1
    assert mean.item() == pytest.approx(panel.units[old, 97:104].sum() / open_days.sum(), rel=1e-5)


# --- stored and read back ---------------------------------------------------------------------------------------------


def test_saved_and_loaded_it_gives_the_same_bytes(fitted, panel, tmp_path):
    fitted.save(tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"model.safetensors", "model.json"}
    again = registry.load(tmp_path / "model")
    assert as_bytes(again.forecast(panel, 14, grid=True)) == as_bytes(fitted.forecast(panel, 14, grid=True))
    assert again.dependence == fitted.dependence
    assert again.report.parameters == json.loads(json.dumps(dict(fitted.report.parameters)))
    assert again.describe()["scalers"] == fitted.describe()["scalers"]


@pytest.mark.parametrize("damage", ["truncate", "remove", "format"])
def test_a_damaged_model_is_named(fitted, tmp_path, damage):
    fitted.save(tmp_path)
    if damage == "truncate":
        weights = tmp_path / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:100])
    elif damage == "remove":
        (tmp_path / "model.safetensors").unlink()
    else:
        (tmp_path / "model.json").write_text('{"kind": "lstm", "format": 99}')
    with pytest.raises(ModelError, match="train again"):
        load_network(tmp_path)


def test_the_registry_names_what_it_does_not_know(tmp_path):
    with pytest.raises(ModelError, match=r"no forecaster 'lstn'; there are ensemble, lstm"):
        registry.make("lstn", None)
    with pytest.raises(ModelError, match="no stored forecaster"):
        registry.load(tmp_path)


# --- too little, and rules --------------------------------------------------------------------------------------------


def test_too_little_history_says_how_much_there_is(tmp_path):
    with pytest.raises(HistoryError, match=r"40 days of orders .*56 are needed.*training\.min_history_days"):
        NetworkForecaster(small(), "lstm").fit(shop_panel(days=40), folder=tmp_path, compute=CPU)


def test_the_shortest_history_allowed_trains(tmp_path):
    panel = shop_panel(days=56)
    fitted = NetworkForecaster(small(min_history_days=56), "lstm").fit(panel, folder=tmp_path, compute=CPU)
    assert np.isfinite(fitted.forecast(panel, 14).mean).all()


def test_demand_alone_is_enough(tmp_path):
    """No calendar, no promotion, no text, no price: a served model or a shop's first source may have nothing else."""
    bare = panel_of(shop_panel().units)
    fitted = NetworkForecaster(small(), "lstm").fit(bare, folder=tmp_path, compute=CPU)
    assert np.isfinite(fitted.forecast(bare, 28).mean).all()


def test_steps_grow_with_the_history():
    steps = [steps_for(days, 5000) for days in (60, 340, 365, 500, 730, 3000)]
    assert steps == sorted(steps)
    assert steps[0] >= 250
    assert 400 <= steps[1] <= 600
    assert steps_for(3000, 700) == 700


@pytest.mark.parametrize(("series", "steps"), [(1, 50), (30, 189), (300, 450)])
def test_a_few_series_are_no_reason_for_many_steps(series, steps):
    panel = shop_panel(series=series, days=404)
    course = Course.full(TrainingSettings(batch_size=256, max_steps=450), panel)
    assert course.steps["validate"] == steps


def test_dependence_is_that_of_a_three_factor_copula():
    random = np.random.default_rng(2)
    item, market = 0.2, 0.1
    scores = (
        np.sqrt(item) * random.normal(size=(1500, 1))
        + np.sqrt(market) * random.normal(size=(1, 400))
        + np.sqrt(1 - item - market) * random.normal(size=(1500, 400))
    )
    known = random.random(scores.shape) < 0.8
    found = dependence_of(scores, known)
    assert found.item == pytest.approx(item, abs=0.03)
    assert found.market == pytest.approx(market, abs=0.03)
