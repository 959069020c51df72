"""The ensemble: weights that favour who was right, calibrated sums, members that fail, and the contract."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import HistoryError, ModelError, SettingsError, TransientError
from pipeline.model_settings import EnsembleSettings, MemberSettings, MembersSettings
from pipeline.models.base import Compute
from pipeline.models.calibration import SHARES, item_shares
from pipeline.models.ensemble import Ensemble, FittedEnsemble
from pipeline.models.quantiles import GRID_LEVELS, LEVELS, quantile_loss
from pipeline.models.registry import load, make
from pipeline.models.seasonal_naive import SeasonalNaive
from pipeline.models.weights import VolumeClasses, fit_weights
from tests.models.network_panels import shop_panel, small
from tests.models.settings import settings_with

CPU = Compute(threads=1)


@pytest.fixture(scope="module")
def panel():
    return shop_panel(series=70, days=168, ahead=28)


@pytest.fixture(scope="module")
def fitted(panel, tmp_path_factory):
    return ensemble("seasonal_naive", "mlp").fit(panel, folder=tmp_path_factory.mktemp("ensemble"), compute=CPU)


def ensemble(*names: str, **training) -> Ensemble:
    members = MembersSettings(**{name: {"on": name in names} for name in MembersSettings.model_fields})
    made = make("ensemble", settings_with(training=small(**training), members=members))
    assert isinstance(made, Ensemble)
    return made


@dataclass(frozen=True)
class Broken:
    """A member whose library trips."""

    when: str = "fit"
    name: str = "broken"
    words: str = "no kernel image is available"

    def fit(self, panel, *, folder, compute, progress=None, start=None):
        if self.when == "fit":
            raise RuntimeError(self.words)
        naive = SeasonalNaive().fit(panel, folder=folder, compute=compute)
        return BrokenAnswer(naive.fitted_on, naive.report)


class BrokenAnswer(type(SeasonalNaive().fit(shop_panel(series=2), folder=Path(), compute=CPU))):
    """A fitted member that answers while it is weighed and not afterwards."""

    def forecast(self, panel, horizon, **options):
        if panel.history == 168:
            raise MemoryError("out of memory")
        return super().forecast(panel, horizon, **options)


def random_quantiles(seed: int, actual: np.ndarray, noise: float) -> np.ndarray:
    random = np.random.default_rng(seed)
    centre = actual[..., None] + noise * random.normal(size=(*actual.shape, 1))
    return centre + noise * np.linspace(-1.3, 1.3, len(LEVELS))


def test_weights_go_to_the_member_that_was_right():
    actual = np.random.default_rng(0).gamma(2.0, 5.0, size=(80, 28))
    weights = fit_weights(
        actual, [random_quantiles(k, actual, noise) for k, noise in ((1, 1.0), (2, 8.0))], shrinkage=0.0
    )
    assert weights[0] > 0.9
    assert weights.sum() == pytest.approx(1.0)
    shrunk = fit_weights(
        actual, [random_quantiles(k, actual, noise) for k, noise in ((1, 1.0), (2, 8.0))], shrinkage=0.5
    )
    assert shrunk[1] == pytest.approx(0.25 + 0.5 * weights[1], abs=1e-6)


def test_weighted_members_beat_each_of_them_where_their_errors_are_their_own():
    actual = np.random.default_rng(0).gamma(2.0, 5.0, size=(80, 28))
    members = [random_quantiles(k, actual, 4.0) for k in (1, 2, 3)]
    weights = fit_weights(actual, members, shrinkage=0.0)

    def loss(quantiles):
        return quantile_loss(actual.reshape(-1), quantiles.reshape(-1, len(LEVELS))).sum()

    assert loss(np.tensordot(weights, np.stack(members), axes=1)) < 0.85 * min(map(loss, members))


def test_equal_members_have_equal_weights():
    actual = np.random.default_rng(0).gamma(2.0, 5.0, size=(10, 28))
    one = random_quantiles(1, actual, 1.0)
    assert fit_weights(actual, [one, one], shrinkage=0.0) == pytest.approx([0.5, 0.5])
    assert fit_weights(np.zeros((10, 28)), [one, one + 1], shrinkage=0.0) == pytest.approx([0.5, 0.5])


def test_volume_classes_are_the_same_for_a_slice_of_the_shop(panel):
    classes = VolumeClasses.of(panel)
    whole = classes.index(panel)
    assert set(whole.tolist()) == {0, 1, 2}
    units = panel.units.sum(axis=1)
    assert 0.78 < units[whole == 0].sum() / units.sum() < 0.9
    part = panel.rows(slice(10, 30))
    assert (classes.index(part) == whole[10:30]).all()


@pytest.mark.parametrize("truth", [0.0, 0.3])
def test_the_share_that_days_have_in_common_is_found(panel, truth):
    random = np.random.default_rng(5)
    series, days = 400, 28
    wide = shop_panel(series=series, days=84)
    level = np.sqrt(truth) * random.normal(size=(series, 1)) + np.sqrt(1 - truth) * random.normal(size=(series, days))
    actual = np.floor(40 * np.exp(0.4 * level) + 0.5)
    from scipy import stats

    grid = np.broadcast_to(40 * np.exp(0.4 * stats.norm.ppf(GRID_LEVELS)), (series, days, len(GRID_LEVELS)))
    naive = SeasonalNaive().fit(wide, folder=Path(), compute=CPU)
    answer = replace(naive.forecast(wide, days, grid=True), grid=grid, mean=np.full((series, days), 40 * np.exp(0.08)))
    dependence = replace(naive.dependence, market=0.0, level=0.0)
    found = item_shares(wide, answer, actual, np.zeros(series, dtype=np.int64), dependence, count=2)
    assert found[0] == found[1], "a class without series takes what was found for all"
    assert abs(SHARES.index(found[0]) - SHARES.index(truth)) <= 2


def test_the_answer_keeps_the_contract(panel, fitted):
    answer = fitted.forecast(panel, 14, grid=True)
    assert answer.mean.shape == (panel.series, 14)
    assert np.isfinite(answer.mean).all()
    assert (answer.mean >= 0).all()
    assert (answer.quantiles == np.floor(answer.quantiles)).all()
    assert (np.diff(answer.quantiles, axis=-1) >= 0).all()
    assert (np.diff(answer.grid, axis=-1) >= -1e-9).all()
    assert answer.item_share is not None
    assert answer.item_share.shape == (panel.series,)
    assert not answer.failed


@pytest.mark.parametrize("sparse", [False, True], ids=["sold often", "hardly sold"])
def test_slices_of_rows_give_the_bytes_of_the_whole(panel, fitted, sparse):
    if sparse:  # on one day in 50 to 90, in orders of many sizes
        every = 50 + np.arange(panel.series)[:, None]
        units = np.where(np.arange(panel.history) % every == 7, panel.units + np.arange(panel.series)[:, None], 0)
        panel = replace(panel, units=units.astype(np.float32), units_winsorised=units.astype(np.float32))
    whole = fitted.forecast(panel, 14, grid=True)
    parts = [fitted.forecast(panel.rows(slice(start, start + 9)), 14, grid=True) for start in range(0, panel.series, 9)]
    for name in ("mean", "quantiles", "grid", "item_share"):
        assert np.concatenate([getattr(part, name) for part in parts]).tobytes() == getattr(whole, name).tobytes()


def test_how_sums_are_spread_comes_from_the_member_that_learned_it(panel, fitted, tmp_path):
    assert fitted.forecast(panel, 28, grid=True).stretches is None
    with_sums = ensemble("seasonal_naive", "lightgbm", max_steps=10).fit(panel, folder=tmp_path, compute=CPU)
    of_member = with_sums.members["lightgbm"].forecast(panel, 28, grid=True).stretches
    assert with_sums.forecast(panel, 28, grid=True).stretches.spread.tobytes() == of_member.spread.tobytes()


def test_read_back_it_answers_the_same_bytes(panel, fitted, tmp_path):
    fitted.save(tmp_path)
    again = load(tmp_path, CPU)
    assert isinstance(again, FittedEnsemble)
    one, two = (which.forecast(panel, 14, grid=True) for which in (fitted, again))
    assert one.grid.tobytes() == two.grid.tobytes()
    assert again.describe() == fitted.describe()
    assert again.report == fitted.report
    assert not [path for path in tmp_path.rglob("*") if path.suffix in {".pkl", ".pt", ".bin", ".joblib"}]


def test_a_damaged_folder_is_named(panel, fitted, tmp_path):
    fitted.save(tmp_path)
    content = json.loads((tmp_path / "ensemble.json").read_text())
    del content["weights"]
    (tmp_path / "ensemble.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match="stored ensemble cannot be read"):
        load(tmp_path)


def test_a_member_that_cannot_be_fitted_is_left_out_and_named(panel, tmp_path):
    members = {"broken": Broken(), "seasonal_naive": SeasonalNaive()}
    fitted = Ensemble(members, EnsembleSettings()).fit(panel, folder=tmp_path, compute=CPU)
    assert list(fitted.members) == ["seasonal_naive"]
    assert fitted.failed == {"broken": "RuntimeError: no kernel image is available"}
    assert "broken: RuntimeError" in fitted.report.parameters["degraded"]
    assert np.isfinite(fitted.forecast(panel, 7).mean).all()


def test_a_member_whose_numbers_are_not_finite_is_left_out_and_named(panel, tmp_path, monkeypatch):
    makes = ensemble("seasonal_naive", "croston")
    fitted = makes.fit(panel, folder=tmp_path, compute=CPU)
    forecast = type(fitted.members["croston"]).forecast

    def broken(self, *args, **options):
        answer = forecast(self, *args, **options)
        return replace(answer, mean=np.full_like(answer.mean, np.nan))

    monkeypatch.setattr(type(fitted.members["croston"]), "forecast", broken)
    answer = fitted.forecast(panel, 7)
    assert answer.failed == {"croston": "ModelError: answered with numbers that are not finite"}
    assert np.isfinite(answer.mean).all()
    assert list(makes.fit(panel, folder=tmp_path, compute=CPU).members) == ["seasonal_naive"]


def test_a_stored_member_that_cannot_be_read_is_left_out_and_named(panel, tmp_path):
    fitted = ensemble("seasonal_naive", "croston").fit(panel, folder=tmp_path / "fit", compute=CPU)
    fitted.save(tmp_path / "stored")
    next((tmp_path / "stored" / "croston").glob("*.json")).unlink()
    again = load(tmp_path / "stored", CPU)
    assert list(again.members) == ["seasonal_naive"]
    assert "croston" in again.failed
    answer = again.forecast(panel, 7)
    assert answer.failed.keys() == {"croston"}
    alone = fitted.members["seasonal_naive"].forecast(panel, 7)
    assert (answer.quantiles == alone.quantiles).all()
    next((tmp_path / "stored" / "seasonal_naive").glob("*.json")).unlink()
    with pytest.raises(ModelError, match="no member of the stored ensemble can be read"):
        load(tmp_path / "stored", CPU)


def test_what_may_pass_is_tried_again_and_not_left_out(panel, tmp_path):
    class Unreachable(Broken):
        def fit(self, panel, **options):
            raise TransientError("the Hub could not be reached")

    members = {"unreachable": Unreachable(), "seasonal_naive": SeasonalNaive()}
    with pytest.raises(TransientError):
        Ensemble(members, EnsembleSettings()).fit(panel, folder=tmp_path, compute=CPU)


@pytest.mark.parametrize(
    ("ahead", "seen_until", "days"), [(28, None, 28), (14, None, 14), (28, 10, None)], ids=["long", "short", "update"]
)
def test_weights_come_from_days_that_no_member_has_seen(tmp_path, ahead, seen_until, days):
    makes = ensemble("mlp", "seasonal_naive", validation_days=28, update_steps=4)
    panel = shop_panel(series=70, days=168, ahead=ahead)
    start = None
    if seen_until:
        start = makes.fit(panel.until(panel.history - seen_until), folder=tmp_path / "then", compute=CPU)
    fitted = makes.fit(panel, folder=tmp_path / "now", compute=CPU, start=start)
    held_back = fitted.members["mlp"].report.parameters["validation_days"]
    assert fitted.report.parameters["validation_days"] == held_back
    assert held_back == days if days else held_back <= seen_until


def test_a_member_that_cannot_answer_tonight_is_left_out_and_named(panel, tmp_path):
    members = {"broken": Broken("answer"), "seasonal_naive": SeasonalNaive()}
    fitted = Ensemble(members, EnsembleSettings()).fit(panel, folder=tmp_path, compute=CPU)
    assert list(fitted.members) == ["broken", "seasonal_naive"]
    answer = fitted.forecast(panel, 7)
    assert answer.failed == {"broken": "MemoryError: out of memory"}
    alone = SeasonalNaive().fit(panel, folder=tmp_path, compute=CPU).forecast(panel, 7)
    assert (answer.quantiles == alone.quantiles).all()


def test_without_any_member_left_the_reasons_are_told(panel, tmp_path):
    with pytest.raises(ModelError, match=r"no member .*\n.*broken: RuntimeError: no kernel"):
        Ensemble({"broken": Broken()}, EnsembleSettings()).fit(panel, folder=tmp_path, compute=CPU)


def test_a_signal_during_a_members_query_stops_the_night_and_degrades_nothing(panel, tmp_path):
    members = {"broken": Broken(words="Query interrupted"), "seasonal_naive": SeasonalNaive()}
    with pytest.raises(KeyboardInterrupt):
        Ensemble(members, EnsembleSettings()).fit(panel, folder=tmp_path, compute=CPU)


def test_too_little_history_is_told_as_such(tmp_path):
    short = shop_panel(series=5, days=10)
    with pytest.raises(HistoryError, match="do not make two weeks"):
        ensemble("seasonal_naive").fit(short, folder=tmp_path, compute=CPU)


def test_nothing_on_is_refused():
    with pytest.raises(SettingsError, match="no forecaster is on"):
        ensemble()


def test_a_budget_too_small_leaves_the_others(panel, tmp_path):
    members = MembersSettings(
        seasonal_naive=MemberSettings(on=True), lstm=MemberSettings(on=False),
        mlp=MemberSettings(on=True, max_seconds=0.001), quantile_mlp=MemberSettings(on=False),
        transformer=MemberSettings(on=False), lightgbm=MemberSettings(on=False),
    )  # fmt: skip
    made = make("ensemble", settings_with(training=small(max_steps=400), members=members))
    fitted = made.fit(panel, folder=tmp_path, compute=CPU)
    assert list(fitted.members) == ["seasonal_naive"]
    assert "members.mlp.max_seconds" in fitted.failed["mlp"]


def test_an_update_goes_on_from_each_member(panel, tmp_path):
    earlier = panel.until(150)
    makes = ensemble("mlp", "seasonal_naive", update_steps=4)
    start = makes.fit(earlier, folder=tmp_path / "a", compute=CPU)
    updated = makes.fit(panel, folder=tmp_path / "b", compute=CPU, start=start)
    assert updated.report.parts["mlp"].parameters["unseen_days"] == 18
    with pytest.raises(ModelError, match="cannot go on from"):
        makes.fit(panel, folder=tmp_path / "c", compute=CPU, start=start.members["mlp"])
