"""Two recipes at past origins, on forecasters whose worth a setting decides: `training.dropout` is how far they are off."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from pipeline.backtesting.challenge import challenge
from pipeline.enrichment.calendar import build_calendar
from pipeline.errors import ModelError
from pipeline.lake import Lake
from pipeline.models.base import Compute, Dependence, Forecast, TrainingReport, silent
from pipeline.models.panel import Panel
from pipeline.settings import QUANTILES, Settings
from pipeline.training.gate import judge_challenge
from pipeline.training.recipe import Recipe, recipe_of
from tests.forecasting.fakes import some_settings, write_demand

NIGHT = date(2017, 11, 26)
FIRST = NIGHT - timedelta(days=139)
FITTED: list[tuple[date, date]] = []
"""(origin, last day that the panel of the training knew) of every fit."""


@dataclass(frozen=True)
class Level:
    """Forecasts a Poisson variable around each item's mean of the last four weeks, times 1 + `off`."""

    off: float
    name: str = "lstm"
    dependence: Dependence = field(default_factory=Dependence)
    report: TrainingReport = field(default_factory=TrainingReport)

    def fit(self, panel: Panel, *, folder: Path, compute: Compute, progress: Any = silent) -> "Level":
        FITTED.append((panel.as_of, panel.first_day + timedelta(days=panel.history - 1)))
        return self

    def forecast(self, panel: Panel, horizon: int, *, grid: bool = False, progress: Any = silent) -> Forecast:
        rate = panel.units[:, -28:].mean(axis=1, dtype=np.float64) * (1 + self.off)
        mean = np.repeat(rate[:, None], horizon, axis=1)
        return Forecast(mean, stats.poisson.ppf(QUANTILES, mean[..., None]))


def make(name: str, settings: Settings, home: Path) -> Any:
    if name == "forgotten":
        raise ModelError("no forecaster 'forgotten'")
    return Level(settings.training.dropout)


def settings_with(off: float = 0.0, **backtest: Any) -> Settings:
    content = some_settings().model_dump()
    content["training"] |= {"dropout": off}
    content["backtest"] |= {"origins": 3, "every_days": 14, "horizon_days": 14, "min_sale_days": 20} | backtest
    return Settings.model_validate(content)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake(tmp_path_factory.mktemp("home"))
    random = np.random.default_rng(3)
    sold = random.poisson(6, (30, 140))
    write_demand(
        lake,
        [
            (f"item {item:02d}", "", FIRST + timedelta(days=day), int(units))
            for item, row in enumerate(sold)
            for day, units in enumerate(row)
            if units
        ],
    )
    build_calendar(lake, some_settings(), FIRST, NIGHT)
    return lake


@pytest.fixture
def against(lake: Lake, tmp_path: Path) -> Callable[..., Any]:
    """Sets a recipe that is `off` against one that is `theirs` off."""
    FITTED.clear()

    def set_side_by_side(off: float, theirs: float, champion: Recipe | None = None, **backtest: Any) -> Any:
        settings = settings_with(off, **backtest)
        mine = recipe_of(lake, settings, NIGHT)
        return challenge(
            lake,
            settings,
            mine,
            champion or recipe_of(lake, settings_with(theirs), NIGHT),
            NIGHT,
            compute=Compute(threads=1),
            workdir=tmp_path / "work",
            make=make,
        )

    return set_side_by_side


def test_a_better_recipe_wins_at_every_origin_and_a_worse_one_loses(against: Callable[..., Any]) -> None:
    evidence = against(0.0, 0.4)
    assert [one.origin for one in evidence.origins] == [NIGHT - timedelta(days=14 * k) for k in (3, 2, 1)]
    assert all(one.challenger_wql < one.champion_wql for one in evidence.origins)
    assert [one.series for one in evidence.origins] == [30, 30, 30]
    pooled = evidence.pooled
    assert pooled.change_low < pooled.challenger_wql / pooled.champion_wql - 1 < pooled.change_high < 0
    assert pooled.champion_bias == pytest.approx(0.4, abs=0.06)
    assert (pooled.first_day, pooled.last_day) == (NIGHT - timedelta(days=41), NIGHT)
    verdict = judge_challenge(evidence)
    assert (verdict.promoted, verdict.rule, len(verdict.origins)) == (True, "challenge", 3)

    lost = judge_challenge(against(0.4, 0.0))
    assert not lost.promoted
    assert "significantly worse" in lost.reason
    assert lost.comparison is not None
    assert lost.comparison.change_low > 0


def test_pooled_scores_are_over_all_forecasts(against: Callable[..., Any]) -> None:
    """Equal numbers of forecasts at each origin: pooled losses by pooled units lie between the origins' scores."""
    evidence = against(0.1, 0.2)
    for name in ("challenger_wql", "champion_wql", "challenger_bias", "champion_bias"):
        each = [getattr(one, name) for one in evidence.origins]
        assert min(each) <= getattr(evidence.pooled, name) <= max(each)


def test_recipes_that_are_trained_the_same_at_past_origins_judge_nobody(
    lake: Lake, against: Callable[..., Any]
) -> None:
    shorter = recipe_of(lake, settings_with(0.2), NIGHT)
    shorter = replace(shorter, sections={"training": dict(shorter.sections["training"]) | {"max_seconds": 5.0}})
    evidence = against(0.2, 0.2, shorter, max_seconds=1.0)
    assert "both are trained the same" in evidence.unjudged
    assert FITTED == []


def test_an_origin_at_which_a_recipe_lacks_a_member_is_no_evidence(
    against: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = NIGHT - timedelta(days=42)
    forecast = Level.forecast

    def without_a_member(self: Level, panel: Panel, horizon: int, **options: Any) -> Forecast:
        answer = forecast(self, panel, horizon, **options)
        return replace(answer, failed={"chronos": "no such folder"} if panel.as_of == first and self.off else {})

    monkeypatch.setattr(Level, "forecast", without_a_member)
    evidence = against(0.0, 0.4)
    assert [one.origin for one in evidence.origins] == [NIGHT - timedelta(days=14 * k) for k in (2, 1)]
    assert f"{first}: " in evidence.missing
    assert "chronos: no such folder" in evidence.missing
    monkeypatch.undo()
    assert len(against(0.0, 0.4).origins) == 3, "it is asked again, not answered for by the cache"


def test_an_origin_at_which_a_recipe_cannot_be_fitted_does_not_stop_the_night(
    against: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(self: Level, panel: Panel, **_: Any) -> Level:
        raise ModelError("no member of the ensemble could be fitted")

    monkeypatch.setattr(Level, "fit", refuses)
    evidence = against(0.0, 0.4)
    assert evidence.origins == ()
    assert "could be fitted" in judge_challenge(evidence).reason


def test_every_origin_trains_on_what_it_knew_and_once_only(against: Callable[..., Any]) -> None:
    first = against(0.0, 0.3)
    origins = [one.origin for one in first.origins]
    assert sorted(FITTED) == sorted((origin, origin) for origin in [*origins, *origins])
    FITTED.clear()
    assert against(0.0, 0.3) == first
    assert against(0.3, 0.0).pooled.challenger_wql == first.pooled.champion_wql
    assert FITTED == [], "the cache answers for both recipes, whichever is the challenger"


def test_a_backtest_that_has_run_costs_nothing(lake: Lake, against: Callable[..., Any], tmp_path: Path) -> None:
    from pipeline.backtesting.backtest import run_backtest

    home = Lake(Path(shutil.copytree(lake.home, tmp_path / "home")))
    settings = settings_with(0.3, baselines=())
    run_backtest(home, settings, NIGHT, compute=Compute(threads=1), workdir=tmp_path / "work", make=make)
    FITTED.clear()
    against(0.0, 0.3, baselines=())
    assert len(FITTED) == 3, "the champion's recipe was backtested by an earlier night"


def test_fewer_than_three_origins_train_nothing(against: Callable[..., Any]) -> None:
    evidence = against(0.0, 0.4, every_days=56)
    assert (evidence.origins, evidence.pooled) == ((), None)
    assert FITTED == []
    verdict = judge_challenge(evidence)
    assert not verdict.promoted
    assert "0 of 3 past origins" in verdict.reason
    assert "training.min_history_days" in verdict.reason


def test_the_gate_asks_for_three_origins_whatever_a_backtest_asks_for(against: Callable[..., Any]) -> None:
    assert len(against(0.0, 0.4, origins=1).origins) == 3
    own = tuple(NIGHT - timedelta(days=days) for days in (20, 25, 30, 35))
    assert [one.origin for one in against(0.0, 0.4, on=own).origins] == sorted(own)
    assert len(against(0.0, 0.4, on=own[:1]).origins) == 3


def test_an_origin_of_which_too_little_was_known_is_left_out_for_both(
    against: Callable[..., Any],
) -> None:
    evidence = against(0.0, 0.4, min_sale_days=115)
    assert [one.origin for one in evidence.origins] == [NIGHT - timedelta(days=14)]
    assert "min_sale_days" in evidence.missing
    assert "not enough evidence: 1 of 3" in judge_challenge(evidence).reason


def test_a_recipe_that_cannot_be_tried_any_more_judges_nobody(lake: Lake, against: Callable[..., Any]) -> None:
    known = recipe_of(lake, settings_with(0.4), NIGHT)
    for broken, why in (
        (replace(known, model="forgotten"), "no forecaster 'forgotten'"),
        (replace(known, sections={"training": dict(known.sections["training"]) | {"cells": 3}}), "training.cells"),
        (replace(known, language_model={"model": "/nowhere/at/all"}, text="gone"), "/nowhere/at/all"),
        (replace(known, text="minilm-l6-v2-of-another-hash"), "is not the minilm-l6-v2-of-another-hash"),
    ):
        evidence = against(0.0, 0.4, broken)
        assert evidence.unjudged.startswith("the recipe of the champion cannot be tried any more")
        assert why in evidence.unjudged
    assert FITTED == []


def test_a_recipe_survives_its_artefact_and_knows_what_it_shapes(lake: Lake) -> None:
    settings = settings_with(0.3)
    recipe = recipe_of(lake, settings, NIGHT)
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe
    assert again.hash == recipe.hash
    assert again.applied_to(settings_with(0.9)).training.dropout == 0.3
    assert again.applied_to(settings) == settings

    rarer = settings.model_copy(update={"training": settings.training.model_copy(update={"retrain_every_days": 30})})
    assert recipe_of(lake, rarer, NIGHT).hash == recipe.hash
    assert recipe.applied_to(rarer).training.retrain_every_days == 30, "the cadence is today's"
    farther = settings.model_copy(update={"forecast": settings.forecast.model_copy(update={"horizon_days": 50})})
    asked_more = recipe_of(lake, farther, NIGHT)
    assert asked_more.hash != recipe.hash
    assert asked_more.makes_the_model_of(recipe)
    assert not recipe_of(lake, settings_with(0.4), NIGHT).makes_the_model_of(recipe)
