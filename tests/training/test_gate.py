"""The gate on forecasters whose worth is known."""

import json
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from scipy import stats

from pipeline.errors import ModelError
from pipeline.models.base import Dependence, Forecast, TrainingReport, silent
from pipeline.models.panel import Panel
from pipeline.settings import QUANTILES
from pipeline.training.gate import compare, gate, judge, judge_challenge
from pipeline.training.verdict import Comparison, Evidence, OriginScores, Verdict
from tests.models.network_panels import shop_panel

DAYS = 14


@dataclass(frozen=True)
class Poisson:
    """Forecasts a Poisson variable around the known level of each item, times `off`; on past seasons times `past`."""

    level: dict[str, float]
    off: float = 1.0
    past: float = 1.0
    tonight: date | None = None
    validated: "Poisson | None" = None
    refuses: bool = False
    name: str = "poisson"
    dependence: Dependence = field(default_factory=Dependence)
    report: TrainingReport = field(default_factory=TrainingReport)
    lookback_days: int = 730

    def forecast(self, panel: Panel, horizon: int, *, grid: bool = False, progress: Any = silent) -> Forecast:
        if self.refuses:
            raise ModelError("reads text vectors of another size")
        long_ago = self.tonight is not None and panel.as_of < self.tonight - timedelta(days=100)
        rate = np.array([self.level[item] for item in panel.item_id.tolist()]) * (self.past if long_ago else self.off)
        mean = np.repeat(rate[:, None], horizon, axis=1)
        return Forecast(mean, stats.poisson.ppf(QUANTILES, mean[..., None]))


@pytest.fixture(scope="module")
def panel() -> Panel:
    random = np.random.default_rng(1)
    made = shop_panel(series=200, days=480, seed=2)
    level = np.exp(random.normal(1.5, 0.5, made.series))
    units = random.poisson(level[:, None], made.units.shape).astype(np.float32)
    return replace(made, units=units, units_winsorised=units, first_sold=np.zeros(made.series, np.int64))


@pytest.fixture(scope="module")
def truth(panel: Panel) -> Poisson:
    level = dict(zip(panel.item_id.tolist(), panel.units.mean(axis=1).tolist(), strict=True))
    return Poisson(level, tonight=panel.as_of)


def judged(
    panel: Panel, challenger: Poisson, champion: Poisson | None, *, kind: str = "update", ago: int = 30
) -> Verdict:
    scored = replace(challenger, validated=challenger.validated or challenger)
    then = panel.as_of - timedelta(days=ago)
    return gate(panel, scored, champion, kind=kind, champion_as_of=then if champion else None, days=DAYS, seed=7)


def test_the_first_is_promoted(panel: Panel, truth: Poisson) -> None:
    verdict = judged(panel, truth, None, kind="full")
    assert (verdict.promoted, verdict.rule) == (True, "first")
    assert verdict.comparison is None


@pytest.mark.parametrize("kind", ["update", "full"])
def test_a_better_one_is_promoted_and_a_worse_one_refused(panel: Panel, truth: Poisson, kind: str) -> None:
    worse = replace(truth, off=1.5, past=1.5)
    better = judged(panel, truth, worse, kind=kind)
    assert better.promoted
    assert better.comparison is not None
    assert better.comparison.change_high < 0
    refused = judged(panel, worse, truth, kind=kind)
    assert not refused.promoted
    assert "significantly worse" in refused.reason
    assert refused.comparison is not None
    assert refused.comparison.change_low > 0
    assert refused.comparison.challenger_bias == pytest.approx(0.5, abs=0.05)


def test_equals_are_told_apart_by_nothing(panel: Panel, truth: Poisson) -> None:
    verdict = judged(panel, truth, truth)
    assert verdict.promoted
    assert verdict.comparison is not None
    assert (verdict.comparison.change_low, verdict.comparison.change_high) == (0, 0)
    assert verdict.comparison.forgetting == 0


def test_the_weights_that_held_the_days_back_are_judged_not_the_final_ones(panel: Panel, truth: Poisson) -> None:
    cheat = replace(truth, off=1.0, validated=replace(truth, off=1.5))
    assert not judged(panel, cheat, truth).promoted


def test_only_days_that_the_champion_has_not_seen_count(panel: Panel, truth: Poisson) -> None:
    verdict = judged(panel, truth, truth, ago=5)
    assert verdict.comparison is not None
    assert verdict.comparison.last_day == panel.as_of
    assert verdict.comparison.first_day == panel.as_of - timedelta(days=4)
    assert judged(panel, truth, truth, ago=0).comparison is None
    assert judged(panel, replace(truth, off=3.0), truth, ago=0).promoted, "nothing to judge it by"


def test_an_update_that_forgets_past_seasons_is_refused_and_a_new_network_is_not(panel: Panel, truth: Poisson) -> None:
    forgetful = replace(truth, past=1.4)
    assert "forgets" in judged(panel, forgetful, truth).reason
    assert not judged(panel, forgetful, truth).promoted
    assert judged(panel, forgetful, truth, kind="full").promoted


def test_without_past_seasons_nothing_can_be_forgotten(panel: Panel, truth: Poisson) -> None:
    young = replace(panel.until(150), calendar=panel.calendar[:164], closed=panel.closed[:164])
    compared = compare(young, replace(truth, validated=truth), truth, DAYS, 7)
    assert compared is not None
    assert compared.forgetting is None


def test_a_champion_that_cannot_serve_any_more_gives_way(panel: Panel, truth: Poisson) -> None:
    verdict = judged(panel, replace(truth, off=2.0), replace(truth, refuses=True), kind="full")
    assert (verdict.promoted, verdict.rule) == (True, "served-out")
    assert "cannot serve" in verdict.reason
    with pytest.raises(ModelError):
        judged(panel, replace(truth, refuses=True), truth)


def test_days_without_a_sale_judge_nobody(panel: Panel, truth: Poisson) -> None:
    units = panel.units.copy()
    units[:, -DAYS:] = 0
    verdict = judged(replace(panel, units=units), truth, truth)
    assert verdict.promoted
    assert "nothing was sold" in verdict.reason


COMPARED = Comparison(date(2024, 1, 1), date(2024, 1, 14), 100, 0.7, 0.7, -0.01, 0.01, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("changes", "update", "full"),
    [
        ({}, True, True),
        ({"change_low": 0.001}, False, False),
        ({"challenger_bias": 0.06}, False, True),
        ({"challenger_bias": -0.06}, False, True),
        ({"challenger_bias": 0.06, "champion_bias": -0.05}, True, True),
        ({"challenger_bias": 0.04}, True, True),
        ({"forgetting": 0.03}, False, True),
        ({"forgetting": None}, True, True),
    ],
    ids=["equal", "worse", "bias", "bias below", "bias as before", "small bias", "forgets", "no past"],
)
def test_the_rule(changes: dict[str, Any], update: bool, full: bool) -> None:
    compared = replace(COMPARED, **changes)
    assert judge("update", compared).promoted is update
    assert judge("full", compared).promoted is full


BETTER = replace(COMPARED, challenger_wql=0.65, change_low=-0.1, change_high=-0.02, forgetting=None)
ORIGINS = tuple(OriginScores(date(2023, month, 1), 0.65, 0.7, 0.01, 0.02, 100) for month in (9, 10, 11))


@pytest.mark.parametrize(
    ("changes", "promoted", "told"),
    [
        ({}, True, "better than the champion's recipe"),
        ({"change_high": 0.0}, False, "not significantly better"),
        ({"change_high": 0.001}, False, "not significantly better"),
        ({"change_high": float("nan")}, False, "not significantly better"),
        ({"change_low": 0.01, "change_high": 0.03}, False, "significantly worse"),
        ({"challenger_bias": 0.06}, False, "bias grew"),
        ({"challenger_bias": -0.06}, False, "bias grew"),
        ({"challenger_bias": 0.06, "champion_bias": -0.05}, True, "better"),
        ({"challenger_bias": 0.049}, True, "better"),
    ],
    ids=[
        "better", "up to equal", "within chance", "nothing to divide by", "worse", "bias", "bias below",
        "biased as before", "small bias",
    ],
)  # fmt: skip
def test_the_rule_of_a_challenge(changes: dict[str, Any], promoted: bool, told: str) -> None:
    verdict = judge_challenge(Evidence(ORIGINS, replace(BETTER, **changes)))
    assert (verdict.promoted, verdict.rule) == (promoted, "challenge")
    assert told in verdict.reason
    assert verdict.origins == ORIGINS


@pytest.mark.parametrize(
    ("changes", "promoted"),
    [
        ({"change_high": 0.03}, True),
        ({"change_low": 0.01, "change_high": 0.03}, False),
        ({"change_low": float("nan"), "change_high": float("nan")}, False),
        ({"change_high": 0.03, "challenger_bias": 0.06}, False),
    ],
    ids=["within chance", "worse", "nothing to divide by", "bias"],
)
def test_a_champion_that_is_due_for_a_new_network_gives_way_to_what_is_not_worse(
    changes: dict[str, Any], promoted: bool
) -> None:
    evidence = Evidence(ORIGINS, replace(BETTER, **changes))
    assert judge_challenge(evidence, is_due=True).promoted is promoted
    assert not judge_challenge(evidence).promoted


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_origins_are_not_enough_however_good_they_look(count: int) -> None:
    verdict = judge_challenge(Evidence(ORIGINS[:count], BETTER if count else None, "2023-08-01: only 40 days"))
    assert not verdict.promoted
    assert verdict.reason == f"not enough evidence: {count} of 3 past origins; 2023-08-01: only 40 days"


def challenged(panel: Panel, challenger: Poisson, champion: Poisson | None, evidence: Evidence) -> Verdict:
    scored, then = replace(challenger, validated=challenger), panel.as_of - timedelta(days=30)
    return gate(
        panel, scored, champion, kind="full", champion_as_of=then, days=DAYS, seed=7, challenge=lambda: evidence
    )


def test_a_challenge_is_judged_by_past_origins_and_not_by_the_last_days(panel: Panel, truth: Poisson) -> None:
    worse = replace(truth, off=1.5)
    assert challenged(panel, worse, truth, Evidence(ORIGINS, BETTER)).promoted
    assert not challenged(panel, truth, worse, Evidence(ORIGINS, COMPARED)).promoted
    assert not challenged(panel, truth, worse, Evidence(missing="too young")).promoted


def test_any_challenger_is_better_than_no_champion_and_than_one_that_cannot_serve(panel: Panel, truth: Poisson) -> None:
    lost = Evidence(ORIGINS, replace(COMPARED, change_low=0.1, change_high=0.2))
    for champion, rule in ((None, "first"), (replace(truth, refuses=True), "served-out")):
        verdict = challenged(panel, truth, champion, lost)
        assert (verdict.promoted, verdict.rule, verdict.origins) == (True, rule, ())


def test_without_the_champions_recipe_a_challenge_is_judged_like_a_renewal_and_says_so(
    panel: Panel, truth: Poisson
) -> None:
    untold = Evidence(unjudged="no recipe is kept with shop/1")
    won = challenged(panel, truth, replace(truth, off=1.5), untold)
    assert (won.promoted, won.rule) == (True, "renewal")
    assert won.reason.startswith("judged like a renewal, for no recipe is kept with shop/1: not worse")
    assert not challenged(panel, replace(truth, off=1.5), truth, untold).promoted


def test_a_verdict_survives_its_tag() -> None:
    for verdict in (
        Verdict(True, "first"),
        Verdict(False, "worse", COMPARED),
        judge("full", replace(COMPARED, forgetting=None)),
        judge_challenge(Evidence(ORIGINS, BETTER)),
    ):
        assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict
    assert (
        Verdict.from_json({"promoted": True, "reason": "of before there were rules", "comparison": None}).origins == ()
    )
