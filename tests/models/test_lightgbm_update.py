"""An update of LightGBM: the trees grown anew on all days, as many as before, validated by those that have not seen the last."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.models.base import Compute
from pipeline.models.gradient_boosting.forecaster import LightgbmQuantiles, load_lightgbm
from tests.models.contract import check_refused_starts
from tests.models.network_panels import shop_panel, small

CPU = Compute(threads=1)
LIGHTGBM = LightgbmQuantiles(small(max_steps=8, batch_size=128), 600.0)
NEW_DAYS = 10


@pytest.fixture(scope="module")
def tonight():
    return shop_panel(days=196, ahead=28)


@pytest.fixture(scope="module")
def champion(tonight, tmp_path_factory):
    before = tonight.until(tonight.history - NEW_DAYS)
    return LIGHTGBM.fit(before, folder=tmp_path_factory.mktemp("champion"), compute=CPU)


def updated(panel, start, folder):
    return LIGHTGBM.fit(panel, folder=folder, compute=CPU, start=start)


def as_bytes(fitted, panel) -> bytes:
    answer = fitted.forecast(panel, panel.horizon, grid=True)
    return answer.mean.tobytes() + answer.quantiles.tobytes() + answer.stretches.spread.tobytes()


def test_an_update_keeps_rounds_and_features_and_says_what_it_did(champion, tonight, tmp_path):
    update = updated(tonight, champion, tmp_path)
    assert update.boosters.rounds == champion.boosters.rounds
    assert update.sums.rounds == champion.sums.rounds
    assert update.features == champion.features
    assert update.report.parameters["validation_days"] == NEW_DAYS
    assert update.report.parameters["sums"] == "learned"
    assert update.trained_on["as_of"] == tonight.as_of.isoformat()


def test_the_start_is_what_validates(champion, tonight, tmp_path):
    update = updated(tonight, champion, tmp_path)
    assert as_bytes(update.validated, tonight) == as_bytes(champion, tonight) != as_bytes(update, tonight)
    assert update.validated.validated is None


def test_a_stored_start_and_a_second_time_give_the_same_bytes(champion, tonight, tmp_path):
    champion.save(tmp_path / "stored")
    stored = load_lightgbm(tmp_path / "stored", CPU)
    first, second = (updated(tonight, start, tmp_path) for start in (champion, stored))
    assert as_bytes(first, tonight) == as_bytes(second, tonight)


def test_an_update_can_be_updated(champion, tonight, tmp_path):
    between = updated(tonight.until(tonight.history - 3), champion, tmp_path)
    update = updated(tonight, between, tmp_path)
    assert update.report.parameters["validation_days"] == 3
    assert update.boosters.rounds == champion.boosters.rounds


def test_an_update_learns_the_new_days(tmp_path):
    known, panel = 112, shop_panel(days=196)
    # no promotion was told of in the days that the start has seen
    panel = replace(panel, promotion=np.where(np.arange(210)[None, :, None] < known, 0, panel.promotion))
    lightgbm = LightgbmQuantiles(small(max_steps=60, batch_size=128), 600.0)
    start = lightgbm.fit(panel.until(known), folder=tmp_path, compute=CPU)
    update = lightgbm.fit(panel, folder=tmp_path, compute=CPU, start=start)
    assert lift(start, panel) == pytest.approx(1.0)
    assert 1.2 < lift(update, panel) < 2.4


def lift(fitted, panel) -> float:
    """Sales on promotion ÷ sales without."""
    none = np.zeros_like(panel.promotion)
    without, with_it = (fitted.forecast(replace(panel, promotion=plan), 14).mean.sum() for plan in (none, none + 1))
    return with_it / without


def test_what_the_seconds_allowed_binds_updates_too(champion, tonight, tmp_path):
    bound = {"budget": "seconds", "max_series": 5, "sums_budget": "seconds", "sums_max_series": 4}
    told = champion.report.parameters | bound | {"windows": 90, "sums_windows": 50}
    update = updated(tonight, replace(champion, report=replace(champion.report, parameters=told)), tmp_path)
    again = updated(tonight, replace(update, trained_on=champion.trained_on), tmp_path)
    for one in (update, again):
        assert {name: one.report.parameters[name] for name in bound} == bound
        assert one.report.parameters["windows"] <= 90
        assert one.report.parameters["sums_windows"] <= 50


def test_sums_are_learned_once_the_history_allows_them(tonight, tmp_path):
    start = LIGHTGBM.fit(tonight.until(100), folder=tmp_path, compute=CPU)
    assert start.sums is None
    still_short = updated(tonight.until(108), start, tmp_path)
    assert still_short.sums is None
    assert still_short.boosters.rounds == start.boosters.rounds
    assert updated(tonight, still_short, tmp_path).sums is not None


def test_what_cannot_be_gone_on_from_is_refused(tonight, champion, tmp_path):
    check_refused_starts(lambda start: updated(tonight, start, tmp_path), champion, tonight, tmp_path)
