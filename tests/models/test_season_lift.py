"""Season lift: items without a last year follow that of items of like texts, and nothing else is moved."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from pipeline.model_settings import EnsembleSettings
from pipeline.models.base import Compute
from pipeline.models.croston import Croston
from pipeline.models.ensemble import LAUNCHES, Ensemble, FittedEnsemble
from pipeline.models.handover import YOUNG_DAYS
from pipeline.models.launches.forecaster import Launches
from pipeline.models.registry import load
from pipeline.models.season_lift import NAME, USUAL, YEAR, SeasonLift, without_last_year
from pipeline.models.seasonal_naive import SeasonalNaive
from tests.models.contract import answer_of
from tests.models.launching_shop import FIRST_DAY, launching_shop

CPU = Compute(threads=1)
CHRISTMAS = 3
"""The theme that sells five times as much in December."""
BEFORE = (date(2011, 12, 1) - FIRST_DAY).days + 1
"""Days of history on the night before the second December."""


@pytest.fixture(scope="module")
def shop():
    return launching_shop(days=BEFORE)


@pytest.fixture(scope="module")
def panel(shop):
    return shop[0]


@pytest.fixture(scope="module")
def fitted(panel, tmp_path_factory) -> FittedEnsemble:
    return trained(panel, tmp_path_factory.mktemp("lift"))


def trained(panel, folder, *others) -> FittedEnsemble:
    members = {"seasonal_naive": SeasonalNaive(), "croston": Croston(), **dict(others or [(LAUNCHES, Launches())])}
    return Ensemble(members, EnsembleSettings()).fit(panel, folder=folder, compute=CPU)


def plain(fitted):
    return replace(fitted, season_lift=None)


def shuffled(panel):
    return replace(panel, text=panel.text[np.random.default_rng(5).permutation(panel.series)])


def test_items_without_a_last_year_rise_with_their_kind_and_are_forecast_better(shop, fitted):
    panel, theme, rate = shop
    rows = np.flatnonzero(without_last_year(panel))
    expected = rate[rows, BEFORE : BEFORE + 28].sum(axis=1)
    moved = fitted.forecast(panel.rows(rows), 28).mean.sum(axis=1)
    still = plain(fitted).forecast(panel.rows(rows), 28).mean.sum(axis=1)
    christmas = theme[rows] == CHRISTMAS
    assert christmas.sum() > 20
    ratio = moved / np.maximum(still, 1e-9)
    assert np.median(ratio[christmas]) > 1.2
    assert np.median(ratio[~christmas]) < 1.0
    assert np.abs(moved - expected).sum() < 0.95 * np.abs(still - expected).sum()


def test_only_items_without_a_last_year_and_young_no_longer_are_moved(panel, fitted):
    age = panel.history - panel.first_sold
    one, two = (which.forecast(panel, 28, grid=True) for which in (fitted, plain(fitted)))
    still = (age >= YEAR) | (age <= YOUNG_DAYS - 28)
    assert (still == ~without_last_year(panel)).all()
    for name in ("mean", "quantiles", "grid"):
        assert getattr(one, name)[still].tobytes() == getattr(two, name)[still].tobytes()
    assert (one.mean[~still].sum(axis=1) != two.mean[~still].sum(axis=1)).mean() > 0.9


def test_what_is_moved_keeps_the_contract(panel, fitted):
    mine = panel.rows(without_last_year(panel))
    answer = answer_of(fitted, mine, 28)
    still = plain(fitted).forecast(mine, 28)
    up = answer.mean.sum(axis=1) > 1.25 * still.mean.sum(axis=1)
    assert up.any()
    assert answer.quantiles[up].sum() > 1.2 * still.quantiles[up].sum()


def test_the_lift_comes_and_goes_without_a_jump(panel, fitted):
    # one item of Christmas at every age
    row = np.flatnonzero(without_last_year(panel))
    factor = fitted.season_lift.factors(panel, 28)
    best = row[factor[row, 0].argmax()]
    ages = np.arange(30, 400)
    by_age = replace(panel.rows(np.full(len(ages), best)), first_sold=panel.history - ages)
    logs = np.log(fitted.season_lift.factors(by_age, 28)[:, 0])
    assert logs.max() > 0.2
    assert np.abs(np.diff(logs)).max() < logs.max() / 20


def test_in_its_first_year_a_shop_knows_no_season_and_nothing_is_moved(tmp_path):
    panel = launching_shop(days=(date(2010, 11, 1) - FIRST_DAY).days + 1)[0]
    young = trained(panel, tmp_path)
    assert young.season_lift.strength == USUAL
    assert young.season_lift.factors(panel, 91) is None
    assert young.forecast(panel, 28).mean.tobytes() == plain(young).forecast(panel, 28).mean.tobytes()


def test_texts_that_say_nothing_move_nothing(panel):
    mine = panel.rows(without_last_year(panel))
    factors = []
    for which in (panel, shuffled(panel)):
        lift = replace(SeasonLift.fit(which), strength=USUAL)
        found = lift.factors(which.rows(without_last_year(panel)), 28)
        factors.append(0.0 if found is None else np.abs(np.log(found)).mean())
    assert mine.series > 100
    assert factors[1] < factors[0] / 10


@pytest.mark.parametrize("comes_back", [True, False])
def test_how_far_forecasts_follow_is_learned_from_the_last_season(comes_back):
    panel, theme, _ = launching_shop(days=(date(2012, 1, 10) - FIRST_DAY).days + 1)
    if not comes_back:
        # the second December is that of another theme
        month = slice(BEFORE - 1, BEFORE + 30)
        units = panel.units.copy()
        units[theme == CHRISTMAS, month] = np.floor(units[theme == CHRISTMAS, month] / 5)
        units[theme == 2, month] *= 5
        panel = replace(panel, units=units, units_winsorised=units.copy())
    lift = SeasonLift.fit(panel)
    assert lift.nights >= 3
    if comes_back:
        assert lift.strength > 0.6
        assert lift.gain < 0
    else:
        assert lift.strength < 0.3


def test_past_nights_do_not_see_what_came_later(panel):
    lift = SeasonLift.fit(panel)
    units = panel.units.copy()
    units[:, -20:] = 99
    changed = replace(panel, units=units, units_winsorised=units)
    again = replace(SeasonLift.fit(changed), strength=lift.strength)
    assert again.factors(panel, 28).tobytes() == lift.factors(panel, 28).tobytes()


def test_an_item_does_not_hang_on_the_others_of_the_night(panel, fitted):
    rows = np.flatnonzero(without_last_year(panel))[:40]
    whole = fitted.forecast(panel, 28, grid=True)
    units = panel.units.copy()
    others = np.setdiff1d(np.arange(panel.series), rows)
    units[others] = np.roll(units[others], 7, axis=1) * 3
    other = replace(panel, units=units, units_winsorised=units, text=panel.text.copy())
    other.text[others] = np.roll(panel.text[others], 1, axis=0)
    for night in (panel.rows(rows), other):
        at = np.arange(len(rows)) if night.series == len(rows) else rows
        assert fitted.forecast(night, 28, grid=True).grid[at].tobytes() == whole.grid[rows].tobytes()


def test_read_back_it_answers_the_same_bytes(panel, fitted, tmp_path):
    fitted.save(tmp_path)
    again = load(tmp_path, CPU)
    one, two = (which.forecast(panel, 91, grid=True) for which in (fitted, again))
    assert one.grid.tobytes() == two.grid.tobytes()
    assert again.season_lift.to_json() == fitted.season_lift.to_json()
    (tmp_path / f"{NAME}.safetensors").write_bytes(b"not one")
    with pytest.raises(Exception, match="train again"):
        load(tmp_path, CPU)


def test_the_training_says_what_was_chosen(fitted):
    parameters = fitted.report.parameters
    assert parameters["season_lift_strength"] == fitted.season_lift.strength > 0
    assert parameters["season_lift_nights"] >= 3
    assert fitted.describe()[NAME]["gain"] == parameters["season_lift_gain"]


def test_the_model_as_it_was_before_the_last_days_has_a_lift_of_then(panel, fitted):
    for lift, last in (
        (fitted.season_lift, panel.as_of),
        (fitted.validated.season_lift, panel.as_of - timedelta(days=28)),
    ):
        assert lift.first_day + timedelta(days=lift.sold.shape[1] - 1) == last


def test_a_shop_without_texts_or_launches_is_as_it_was(panel, tmp_path):
    wordless = trained(replace(panel, text=np.zeros((panel.series, 0), np.float32)), tmp_path / "wordless")
    alone = trained(panel, tmp_path / "alone", ("more", SeasonalNaive()))
    for fitted in (wordless, alone):
        assert fitted.season_lift is None
        assert not any(name.startswith(NAME) for name in fitted.report.parameters)
        fitted.save(tmp_path / "saved")
        assert not (tmp_path / "saved" / f"{NAME}.safetensors").exists()
        assert NAME not in (tmp_path / "saved" / "ensemble.json").read_text()


def test_another_language_model_is_named_and_nothing_moved(panel, fitted):
    other = replace(panel, text=np.ones((panel.series, 3), np.float32)).rows(without_last_year(panel))
    answer = fitted.forecast(other, 28)
    assert "train again" in answer.failed[NAME]
    assert answer.mean.tobytes() == plain(fitted).forecast(other, 28).mean.tobytes()
