"""The gate: whether a new version becomes champion. There are two rules, for two kinds of new versions.

A *renewal* has the champion's recipe (the settings that shape a model, `recipe.py`) and newer data: it becomes champion unless
days that neither has trained on speak against it. A *challenge* has another recipe, and the burden of proof: both recipes
are trained at past origins with what each origin knew, and it becomes champion only when it is better there, beyond chance
and not at the cost of bias. Once the champion is so old that a new network is due, it is enough not to be worse: settings
that change nothing would else keep a champion that no longer learns. Where there is no champion, or it cannot serve any more, any version is better than none.

Of a renewal, what is scored is not what is registered. A training holds back its last days, chooses its weights by them, and
then learns them too, so that the version forecasts with all that was known. Only the weights from before that last step can
be asked about those days (`Fitted.validated`): they are set against the champion, and they speak for the version that comes
of them. Even so the days held back chose between the challenger's checkpoints, which favours it a little; the champion, where
it learned some of them, is asked about the others only.

Forgetting is asked of the version itself, on seasons that both have learned: it says what an update has overwritten.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.models.base import Array, Fitted
from pipeline.models.panel import Panel
from pipeline.models.quantiles import quantile_loss
from pipeline.training.cadence import UPDATE
from pipeline.training.verdict import CHALLENGE, FIRST, SERVED_OUT, Comparison, Evidence, Verdict

MIN_ORIGINS = 3
"""Past origins that a challenge is judged by, at least."""
MAX_BIAS = 0.05
MAX_BIAS_GROWTH = 0.02
MAX_FORGETTING = 0.02

_SERIES = 1000
_DRAWS = 1000
_SEASON_DAYS = 28
_SEASONS_AGO = (364, 182)
_YEAR = 365
_LEAST_HISTORY = 56


def gate(
    panel: Panel,
    challenger: Fitted,
    champion: Fitted | None,
    *,
    kind: str,
    champion_as_of: date | None,
    days: int,
    seed: int,
    challenge: Callable[[], Evidence] | None = None,
    is_due: bool = False,
) -> Verdict:
    """Judge a challenger.

    Args:
        panel: what the challenger was trained on.
        challenger: the new version, as fitted just now.
        champion: what it would replace; None on the first training.
        kind: full or update.
        champion_as_of: night whose knowledge the champion was trained on.
        days: days that the challenger's training held back.
        seed: of the bootstrap.
        challenge: sets both recipes side by side at past origins; None where they are the same: a renewal.
        is_due: the champion is so old that a new network is due.
    """
    if champion is None or champion_as_of is None:
        return Verdict(True, "the first of its home", rule=FIRST)
    try:
        champion.forecast(panel.rows(slice(0, 1)), 1)
    except ModelError as error:
        return served_out(error)
    evidence = challenge() if challenge else None
    if evidence and not evidence.unjudged:
        return judge_challenge(evidence, is_due=is_due)
    unseen = min(days, (panel.as_of - champion_as_of).days)
    if challenger.validated is None or unseen < 1:
        verdict = Verdict(True, "no day that neither has trained on")
    elif (comparison := compare(panel, challenger, champion, unseen, seed)) is None:
        verdict = Verdict(True, f"nothing was sold on the {unseen} days that neither has trained on")
    else:
        verdict = judge(kind, comparison)
    if evidence is None:
        return verdict
    return replace(verdict, reason=f"judged like a renewal, for {evidence.unjudged}: {verdict.reason}")


def served_out(error: ModelError) -> Verdict:
    """The verdict on whatever replaces a champion that can be asked no more."""
    return Verdict(True, f"the champion cannot serve any more: {error}", rule=SERVED_OUT)


def judge_challenge(evidence: Evidence, *, is_due: bool = False) -> Verdict:
    """The rule for another recipe: better at past origins, beyond chance, and not at the cost of bias.

    Args:
        evidence: both recipes at past origins.
        is_due: the champion is so old that a new network is due: then it is enough not to be worse, or more biased.
    """
    origins, one = evidence.origins, evidence.pooled
    if one is None or len(origins) < MIN_ORIGINS:
        reason = f"not enough evidence: {len(origins)} of {MIN_ORIGINS} past origins; {evidence.missing}"
        return Verdict(False, reason.removesuffix("; "), one, CHALLENGE, origins)
    told = f"{one.told()} at {len(origins)} origins"
    if one.change_low > 0:
        return Verdict(False, f"significantly worse than the champion's recipe: {told}", one, CHALLENGE, origins)
    is_better = one.change_high < 0
    if not is_better and not (is_due and one.change_low <= 0):
        return Verdict(False, f"not significantly better than the champion's recipe: {told}", one, CHALLENGE, origins)
    if _more_biased(one):
        return Verdict(False, f"{_bias_told(one)}; {told}", one, CHALLENGE, origins)
    how = "better than" if is_better else "a new network is due, and it is not worse than"
    return Verdict(True, f"{how} the champion's recipe: {told}", one, CHALLENGE, origins)


def judge(kind: str, comparison: Comparison) -> Verdict:
    """The rule for a renewal: significantly worse is refused; of an update also a bias that grew, and forgetting."""
    one = comparison
    if one.change_low > 0:
        return Verdict(False, f"significantly worse than the champion: {one.told()}", one)
    if kind == UPDATE:
        if _more_biased(one):
            return Verdict(False, f"{_bias_told(one)}; {one.told()}", one)
        if one.forgetting is not None and one.forgetting > MAX_FORGETTING:
            return Verdict(False, f"forgets: {one.forgetting:+.1%} WQL on past seasons; {one.told()}", one)
    return Verdict(True, f"not worse than the champion: {one.told()}", one)


def _more_biased(one: Comparison) -> bool:
    return abs(one.challenger_bias) > MAX_BIAS and one.bias_grew_by > MAX_BIAS_GROWTH


def _bias_told(one: Comparison) -> str:
    return f"bias grew from {one.champion_bias:+.1%} to {one.challenger_bias:+.1%}"


def compare(panel: Panel, challenger: Fitted, champion: Fitted, days: int, seed: int) -> Comparison | None:
    """Score both on the last days of a panel, and on past seasons; None when nothing was sold on those days.

    Args:
        panel: the panel of tonight.
        challenger: the version, with its validated weights.
        champion: the one that serves.
        days: last days of the panel, which neither has trained on.
        seed: of the bootstrap.
    """
    validated = challenger.validated or challenger
    origin = panel.history - days
    rows = _best_sellers(panel, origin)
    if origin < 1 or not len(rows):
        return None
    actual = panel.units[rows, origin:].astype(np.float64)
    units = float(actual.sum())
    if units <= 0:
        return None
    cut = panel.rows(rows).until(origin)
    (new, new_bias), (old, old_bias) = (_losses(one, cut, actual) for one in (validated, champion))
    low, high = _interval(new, old, seed)
    return Comparison(
        first_day=panel.first_day + timedelta(days=origin),
        last_day=panel.as_of,
        series=len(rows),
        challenger_wql=float(new.sum()) / units,
        champion_wql=float(old.sum()) / units,
        change_low=low,
        change_high=high,
        challenger_bias=new_bias,
        champion_bias=old_bias,
        forgetting=_forgetting(panel, challenger, champion),
    )


def _forgetting(panel: Panel, challenger: Fitted, champion: Fitted) -> float | None:
    """WQL on the weeks one year and half a year ago by that of the champion, less 1."""
    new = old = 0.0
    for ago in _SEASONS_AGO:
        origin = panel.history - ago
        if origin < _LEAST_HISTORY:
            continue
        rows = _best_sellers(panel, origin)
        if len(rows):
            actual = panel.units[rows, origin : origin + _SEASON_DAYS].astype(np.float64)
            cut = panel.rows(rows).until(origin)
            new += float(_losses(challenger, cut, actual)[0].sum())
            old += float(_losses(champion, cut, actual)[0].sum())
    return new / old - 1 if old > 0 else None


def _best_sellers(panel: Panel, origin: int) -> NDArray[np.int64]:
    """Rows of the series that sold most in the year up to a column, those with any sale, in order."""
    sold = panel.units[:, max(0, origin - _YEAR) : origin].sum(axis=1, dtype=np.float64)
    best = np.argsort(-sold, kind="stable")[:_SERIES]
    return np.sort(best[sold[best] > 0]).astype(np.int64)


def _losses(fitted: Fitted, cut: Panel, actual: Array) -> tuple[Array, float]:
    """Quantile loss of each series over the days, and the bias over all."""
    series, days = actual.shape
    forecast = fitted.forecast(cut, days)
    quantiles = forecast.quantiles.reshape(series * days, -1)
    loss = quantile_loss(actual.reshape(-1), quantiles).reshape(series, days).sum(axis=1)
    return loss, float((forecast.mean - actual).sum() / max(actual.sum(), 1.0))


def _interval(new: Array, old: Array, seed: int) -> tuple[float, float]:
    """95 % interval of Σnew / Σold − 1 under redrawn series: both models meet the same series in every draw."""
    generator = np.random.default_rng([seed, 97])
    counts = generator.multinomial(len(new), np.full(len(new), 1 / len(new)), size=_DRAWS)
    drawn_new, drawn_old = counts @ new, counts @ old
    known = drawn_old > 0
    if not known.any():
        return 0.0, 0.0
    low, high = np.quantile(drawn_new[known] / drawn_old[known] - 1, [0.025, 0.975])
    return float(low), float(high)
