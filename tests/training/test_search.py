"""The search for settings: which days judge, what is tried, what a killed search keeps, and what it tells."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml

from pipeline.backtesting.origins import plan_origins
from pipeline.enrichment.calendar import build_calendar
from pipeline.errors import HistoryError, SettingsError
from pipeline.lake import Lake
from pipeline.models import registry
from pipeline.models.base import Compute, Forecast, TrainingReport
from pipeline.models.networks.forecaster import NetworkForecaster
from pipeline.models.panel import Panel
from pipeline.orchestration.tune import cut_cases, last_day_of_search
from pipeline.settings import ComputeSettings, Settings
from pipeline.training.search import Case, Question, networks_on, search, search_origins
from pipeline.training.search_space import applied, changes, snippet, space, values_of
from pipeline.training.search_trials import Found
from tests.enrichment.conftest import Shop
from tests.models.network_panels import shop_panel, small
from tests.models.settings import settings_with

FIRST_DAY, NIGHT = date(2023, 1, 2), date(2023, 4, 30)
HORIZON = 7


def settings_of(**sections: Any) -> Settings:
    """Small settings: an MLP of a moment, weekly origins."""
    training = small(max_steps=4, pretrain_steps=0, hidden=4, **sections.pop("training", {})).model_dump()
    content = {
        "training": training,
        "members": {"lstm": {"on": False}, "mlp": {"on": True}},
        "backtest": {"horizon_days": HORIZON, "every_days": 7, "origins": 3, "min_sale_days": 5},
        "forecast": {"horizon_days": 14},
        **sections,
    }
    return Settings.model_validate(settings_with().model_dump() | content)


def case(panel: Panel, days: int) -> Case:
    """The panel as it stood after some days, and the week that followed."""
    known = panel.until(days)
    known = replace(
        known,
        **{name: getattr(panel, name)[:, : days + 14] for name in ("price", "promotion")},
        calendar=panel.calendar[: days + 14],
        closed=panel.closed[: days + 14],
    )
    rows = np.arange(0, panel.series, 2)
    return Case(known, known.rows(rows), panel.units[rows, days : days + HORIZON].astype(np.float64))


@pytest.fixture(scope="module")
def cases() -> tuple[Case, ...]:
    panel = shop_panel(series=16, days=140)
    return tuple(case(panel, days) for days in (126, 119, 112))


@pytest.fixture
def question(cases: tuple[Case, ...], tmp_path: Path) -> Question:
    return Question(settings_of(), ("mlp",), cases, tmp_path / "search", tmp_path, Compute(threads=1))


@pytest.fixture(scope="module")
def whole(cases: tuple[Case, ...], tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What a search finds that nobody kills."""
    home = tmp_path_factory.mktemp("home")
    question = Question(settings_of(), ("mlp",), cases, home / "search", home, Compute(threads=1))
    return search(fixed(question), minutes=60, trials=14)


def told(found: Found) -> list[tuple[Any, ...]]:
    return [(dict(one.changed), one.wql, one.state, one.losses.tolist()) for one in found.trials]


class Killed(BaseException):
    """What a kill looks like from inside."""


class Fixed:
    """A forecaster whose answers are as good as its learning rate is near to a number, in no time."""

    def __init__(self, settings: Settings, actuals: dict[date, Case], best: float = 0.004) -> None:
        self.rate, self.cases, self.best = settings.training.learning_rate, actuals, best
        self.report, self.name = TrainingReport(), "mlp"

    def fit(self, panel: Panel, **_: Any) -> "Fixed":
        return self

    def forecast(self, scored: Panel, horizon: int) -> Any:
        actual = self.cases[scored.as_of].actual
        off = np.abs(np.log(self.rate / self.best))
        return Forecast(actual, np.repeat((actual * (1 + off))[:, :, None], 11, axis=2))


def fixed(question: Question, **more: Any) -> Question:
    by_origin = {one.panel.as_of: one for one in question.cases}
    return replace(question, make=lambda name, settings, home: Fixed(settings, by_origin), **more)


# which days judge


@pytest.mark.parametrize(
    "backtest",
    [
        {"horizon_days": 7, "every_days": 7, "origins": 4},
        {"horizon_days": 14, "every_days": 7, "origins": 1},
        {"horizon_days": 7, "every_days": 3, "origins": 2, "on": [date(2023, 4, 2)]},
        {"horizon_days": 7, "every_days": 7, "origins": 1, "on": [date(2023, 4, 20), date(2023, 4, 27)]},
    ],
    ids=["rolling", "one origin", "explicit", "explicit and one that is not over"],
)
def test_the_days_that_judge_end_before_those_that_the_backtest_or_the_gate_scores(backtest: dict[str, Any]) -> None:
    from pipeline.backtesting.challenge import _plan

    settings = settings_of(backtest=backtest)
    last_day = last_day_of_search(settings, FIRST_DAY, NIGHT)
    origins = search_origins(settings, FIRST_DAY, last_day)
    assert 2 <= len(origins) <= 3
    assert max(origins) + timedelta(days=settings.backtest.horizon_days) == last_day
    assert [a - b for a, b in itertools.pairwise(origins)] == [timedelta(days=backtest["every_days"])] * (
        len(origins) - 1
    )
    for scored in (plan_origins(settings, FIRST_DAY, NIGHT), _plan(settings, FIRST_DAY, NIGHT)):
        assert last_day <= min(scored.origins), "a day of the search is scored by the backtest or the gate"


def test_too_little_history_for_two_origins_is_named() -> None:
    settings = settings_of()
    last_day = FIRST_DAY + timedelta(days=69)
    assert len(search_origins(settings, FIRST_DAY, last_day)) == 2
    with pytest.raises(HistoryError, match=r"1 of 2 origins .* 2023-02-26, with 56 days .* 57 .*min_history_days"):
        search_origins(settings_of(training={"min_history_days": 57}), FIRST_DAY, last_day)
    young = settings_of(training={"min_history_days": 113})
    with pytest.raises(HistoryError, match="0 of 3 origins fit"):
        last_day_of_search(young, FIRST_DAY, NIGHT)


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Callable[[date | None], Lake]:
    """Homes of the same shop, one of which ends on a day and has other sales afterwards."""

    def make(other_after: date | None) -> Lake:
        lake = Lake(tmp_path_factory.mktemp("home") / "home", ComputeSettings(threads=1))
        random, other = np.random.default_rng(4), np.random.default_rng(5)
        shop = Shop(lake)
        sales, corrections = [], []
        for day in (FIRST_DAY + timedelta(days=k) for k in range((NIGHT - FIRST_DAY).days + 1)):
            known = random.poisson(4, 8)
            if other_after and day > other_after:
                known = other.poisson(40, 8)
                corrections.append((f"item-{day.day % 8}", day - timedelta(days=20), 9, 2.0, day))
            sales += [(f"item-{item}", day, int(units), 2.0 + item) for item, units in enumerate(known) if units]
        shop.sell(sales)
        for number, (*sale, day) in enumerate(corrections):
            shop.sell([tuple(sale)], known_on=day, part=f"late-{number}")
        build_calendar(lake, settings_of(), FIRST_DAY, NIGHT + timedelta(days=90))
        return lake

    return make


def test_nothing_of_the_scored_days_and_no_later_correction_reaches_a_search(shops: Callable[..., Lake]) -> None:
    settings = settings_of()
    last_day = last_day_of_search(settings, FIRST_DAY, NIGHT)
    one, two = (cut_cases(shops(after), settings, NIGHT) for after in (None, last_day))
    assert [each.panel.as_of for each in one] == list(search_origins(settings, FIRST_DAY, last_day))
    for mine, theirs in zip(one, two, strict=True):
        assert mine.panel.fingerprint() == theirs.panel.fingerprint()
        assert np.array_equal(mine.actual, theirs.actual)
        assert mine.actual.shape == (8, HORIZON)
        assert mine.actual.sum() > 0
    with pytest.raises(HistoryError, match=r"no item was sold on 300 days.*backtest\.min_sale_days"):
        cut_cases(shops(None), settings_of(backtest={**settings.backtest.model_dump(), "min_sale_days": 300}), NIGHT)


# what is tried


def test_todays_values_are_always_among_those_tried() -> None:
    odd = {"hidden": 7, "dropout": 0.8, "weight_decay": 0.0, "max_steps": 3, "history_days": 29, "learning_rate": 0.5}
    for training in (small(), small(**odd), small(augmentation={"jitter": 0.33, "warping": 1.0}, adversarial=0.7)):
        tried = space(training, 400, 4000)
        for name, value in values_of(training).items():
            distribution = tried[name]
            assert distribution._contains(distribution.to_internal_repr(value)), (name, value)
            assert not distribution.single(), name


def test_values_become_settings_and_lines_for_the_settings_file() -> None:
    settings = settings_of()
    assert applied(settings, values_of(settings.training)) == settings
    odd = settings_of(training={"learning_rate": 0.00123456})
    assert applied(odd, values_of(odd.training)) == odd, "today's value was rounded"
    tried = applied(settings, {"hidden": 8, "learning_rate": 0.0031415, "augmentation.jitter": 0.1})
    changed = changes(settings.training, tried.training)
    assert changed == {"hidden": 8, "learning_rate": 0.00314, "augmentation.jitter": 0.1}
    lines = yaml.safe_load(snippet(changed))
    assert lines == {"training": {"hidden": 8, "learning_rate": 0.00314, "augmentation": {"jitter": 0.1}}}
    content = settings.model_dump()
    content["training"] |= lines["training"]
    assert Settings.model_validate(content) == tried
    assert snippet({}) == ""


def test_no_network_is_named() -> None:
    assert networks_on(settings_of()) == ("mlp", "quantile_mlp")
    with pytest.raises(SettingsError, match="no network is on"):
        networks_on(settings_of(members={"quantile_mlp": {"on": False}}))


# the search


def test_the_first_trial_is_todays_settings_and_the_best_is_found(question: Question, whole: Found) -> None:
    found = whole
    assert len(found.trials) == found.made == 14
    assert len({str(one.values) for one in found.trials}) > 12, "the same values are tried again and again"
    assert dict(found.today.changed) == {}
    assert found.today.number == 0
    rates = [one.values["learning_rate"] for one in found.trials if one.state == "complete"]
    off = [abs(np.log(rate / 0.004)) for rate in rates]
    assert off == sorted(off), "trials are not in the order of their score"
    assert found.best.wql < found.today.wql
    assert found.best.wql == pytest.approx(found.best.losses.sum() / sum(one.actual.sum() for one in question.cases))


def test_scores_are_those_of_the_registrys_networks_on_the_origins(question: Question, tmp_path: Path) -> None:
    found = search(question, minutes=60, trials=1)
    lost = units = 0.0
    for number, one in enumerate(question.cases):
        forecaster = registry.make("mlp", question.settings)
        fitted = forecaster.fit(one.panel, folder=tmp_path / str(number), compute=question.compute)
        from pipeline.models.quantiles import quantile_loss

        quantiles = fitted.forecast(one.scored, HORIZON).quantiles.reshape(-1, 11)
        lost += quantile_loss(one.actual.reshape(-1), quantiles).sum()
        units += one.actual.sum()
    assert found.today.wql == pytest.approx(lost / units)
    assert [file.name for file in question.folder.iterdir()] == ["search.db"], "trainings of a finished trial are left"


def test_bad_trials_are_given_up_after_an_origin(question: Question) -> None:
    fitted: list[float] = []

    def make(name: str, settings: Settings, home: Path | None) -> Any:
        fitted.append(settings.training.learning_rate)
        return Fixed(settings, {one.panel.as_of: one for one in question.cases})

    found = search(replace(question, make=make), minutes=60, trials=16)
    given_up = [one for one in found.trials if one.state == "given up"]
    assert given_up
    assert len(fitted) < 3 * 16
    for one in given_up:
        assert fitted.count(one.values["learning_rate"]) < 3
        assert one.wql > found.best.wql
        assert not len(one.losses)


def test_a_trial_that_cannot_be_trained_does_not_end_the_search(question: Question) -> None:
    by_origin = {one.panel.as_of: one for one in question.cases}

    def make(name: str, settings: Settings, home: Path | None) -> Any:
        if settings.training.learning_rate > 0.002:
            raise RuntimeError("out of memory")
        return Fixed(settings, by_origin)

    found = search(replace(question, make=make), minutes=60, trials=10)
    failed = [one for one in found.trials if one.state == "failed"]
    assert failed
    assert all(one.why == "RuntimeError: out of memory" and one.values["learning_rate"] > 0.002 for one in failed)
    assert found.trials[-1] in failed

    def never(name: str, settings: Settings, home: Path | None) -> Any:
        raise RuntimeError("never")

    with pytest.raises(RuntimeError, match="never"):
        search(replace(question, make=never, folder=question.folder.with_name("other")), minutes=60)


@pytest.mark.parametrize("calls", [1, 5, 13], ids=["in the first trial", "in the second", "later"])
def test_a_killed_search_goes_on_and_tries_what_it_would_have_tried(
    question: Question, whole: Found, calls: int
) -> None:
    by_origin = {one.panel.as_of: one for one in question.cases}
    left = [calls]

    def make(name: str, settings: Settings, home: Path | None) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return Fixed(settings, by_origin)

    with pytest.raises(Killed):
        search(replace(question, make=make), minutes=60, trials=14)
    resumed = search(fixed(question), minutes=60, trials=14)
    assert told(resumed) == told(whole)
    assert 0 < resumed.made <= 14
    again = search(fixed(question), minutes=60, trials=14)
    assert again.made == 0
    assert told(again) == told(whole)


def test_a_search_killed_while_it_asked_for_its_first_trial_begins_with_todays_settings(
    question: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = optuna.Study.ask

    def killed(study: optuna.Study, *given: Any, **named: Any) -> Any:
        asked(study)  # no value of it stands yet
        raise Killed

    monkeypatch.setattr(optuna.Study, "ask", killed)
    with pytest.raises(Killed):
        search(fixed(question), minutes=60, trials=1)
    monkeypatch.setattr(optuna.Study, "ask", asked)
    found = search(fixed(question), minutes=60, trials=1)
    assert [one.is_today for one in found.trials] == [True]


def test_trainings_of_a_killed_trial_are_used_again(question: Question, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.models.networks.training import Training

    real, fits, steps = NetworkForecaster.fit, [0], [0]

    def fit(self: NetworkForecaster, *given: Any, **named: Any) -> Any:
        fits[0] += 1
        if fits[0] == 3:
            raise Killed
        return real(self, *given, **named)

    monkeypatch.setattr(NetworkForecaster, "fit", fit)
    with pytest.raises(Killed):
        search(question, minutes=60, trials=1)
    step = Training._step
    monkeypatch.setattr(Training, "_step", lambda *given: (steps.__setitem__(0, steps[0] + 1), step(*given))[1])
    search(question, minutes=60, trials=1)
    one_training = 4 + 1
    assert steps[0] <= one_training, "trained anew what stood in a checkpoint"


def test_other_facts_settings_or_a_machine_are_another_study(question: Question) -> None:
    other = [
        replace(question, settings=settings_of(training={"seed": 8})),
        replace(question, cases=question.cases[:2]),
        replace(question, cases=(replace(question.cases[0], actual=question.cases[0].actual + 1), *question.cases[1:])),
        replace(question, compute=Compute(device="cuda", threads=1)),
        replace(question, networks=("mlp", "quantile_mlp")),
    ]
    assert len({question.name, *(one.name for one in other)}) == 1 + len(other)
    assert replace(question).name == question.name


def test_several_networks_are_judged_together(question: Question) -> None:
    question = replace(question, cases=question.cases[:2])
    both = search(replace(question, networks=("mlp", "quantile_mlp")), minutes=60, trials=1).today
    one, two = (
        search(replace(question, networks=(name,), folder=question.folder.with_name(name)), minutes=60, trials=1).today
        for name in ("mlp", "quantile_mlp")
    )
    assert both.wql == pytest.approx((one.wql + two.wql) / 2)


# the minutes


def ticking(seconds: float) -> Callable[[], float]:
    """A clock by which each look at it takes some seconds."""
    now = itertools.count(0, seconds)
    return lambda: float(next(now))


def test_minutes_too_few_for_one_trial_are_refused(question: Question) -> None:
    with pytest.raises(SettingsError, match=r"--minutes: too few for one trial, which takes about .* give at least"):
        search(fixed(question, clock=ticking(60)), minutes=1.5)


def test_no_trial_is_begun_that_would_not_end_in_time(question: Question) -> None:
    found = search(fixed(question, clock=ticking(10)), minutes=6)
    assert 1 < len(found.trials) < 12
    took = sum(one.seconds for one in found.trials)
    assert took < 6 * 60
    alone = search(fixed(question, clock=ticking(10), folder=question.folder.with_name("b")), minutes=1.4)
    assert len(alone.trials) == 1
    assert alone.best.is_today
