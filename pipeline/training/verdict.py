"""What the gate says of a new version, and by what: the words that tables, tags and artefacts share.

What belongs here: the verdict and its evidence, as plain values. What does not: how they come about (`gate.py`,
`pipeline/backtesting/challenge.py`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

FIRST = "first"
RENEWAL = "renewal"
CHALLENGE = "challenge"
SERVED_OUT = "served-out"
ROLLBACK = "rollback"
"""Rules by which a version becomes champion, or does not; the column `rule` of `champion_decisions`."""


@dataclass(frozen=True)
class Comparison:
    """Challenger and champion side by side; the fields are columns of `champion_decisions`.

    Attributes:
        first_day: first of the days that both were scored on.
        last_day: last of them.
        series: series scored; of a challenge the items of all origins, each counted once.
        challenger_wql: WQL of the challenger: of its validated weights, or in a challenge of its recipe.
        champion_wql: WQL of the champion, or of its recipe.
        change_low: lower end of the 95 % bootstrap interval of challenger_wql / champion_wql - 1, over series.
        change_high: upper end.
        challenger_bias: signed bias of the challenger.
        champion_bias: signed bias of the champion.
        forgetting: WQL on past seasons by that of the champion, less 1; None without such seasons, and in a challenge.
    """

    first_day: date
    last_day: date
    series: int
    challenger_wql: float
    champion_wql: float
    change_low: float
    change_high: float
    challenger_bias: float
    champion_bias: float
    forgetting: float | None

    @property
    def bias_grew_by(self) -> float:
        """By how much the challenger's bias is larger than the champion's, whatever their signs."""
        return abs(self.challenger_bias) - abs(self.champion_bias)

    def told(self) -> str:
        """The change of the WQL with its interval, in words."""
        change = self.challenger_wql / self.champion_wql - 1 if self.champion_wql > 0 else 0.0
        return f"WQL {change:+.1%} [{self.change_low:+.1%}, {self.change_high:+.1%}] on {self.series} series"


@dataclass(frozen=True)
class OriginScores:
    """Both recipes at one past origin; the fields are columns of `champion_evidence`.

    Attributes:
        origin: last day that both knew.
        challenger_wql: WQL of the challenger's recipe, trained on what the origin knew.
        champion_wql: WQL of the champion's.
        challenger_bias: signed bias of the challenger's recipe.
        champion_bias: signed bias of the champion's.
        series: series scored.
    """

    origin: date
    challenger_wql: float
    champion_wql: float
    challenger_bias: float
    champion_bias: float
    series: int


@dataclass(frozen=True)
class Evidence:
    """What past origins say of two recipes.

    Attributes:
        origins: scores per origin, earliest first.
        pooled: all origins together; None where there are too few.
        missing: why there are too few origins, in words.
        unjudged: why the champion's recipe could not be tried at all, in words; nothing is judged by such evidence.
    """

    origins: tuple[OriginScores, ...] = ()
    pooled: Comparison | None = None
    missing: str = ""
    unjudged: str = ""


@dataclass(frozen=True)
class Verdict:
    """Whether a new version is promoted, and by what it was judged.

    Attributes:
        promoted: it becomes champion.
        reason: why, in words.
        comparison: challenger and champion side by side; None when there was nothing to compare.
        rule: by which rule it was judged.
        origins: scores per past origin, of a challenge.
    """

    promoted: bool
    reason: str
    comparison: Comparison | None = None
    rule: str = RENEWAL
    origins: tuple[OriginScores, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain values, for a tag or an artefact."""
        compared = _plain(self.comparison) if self.comparison else None
        origins = [_plain(one) for one in self.origins]
        return {
            "promoted": self.promoted,
            "rule": self.rule,
            "reason": self.reason,
            "comparison": compared,
            "origins": origins,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Verdict":
        """Undo `to_json`; verdicts of before there were rules say what they knew."""
        compared = stored["comparison"]
        origins = tuple(OriginScores(**_dated(one, "origin")) for one in stored.get("origins", ()))
        return cls(
            stored["promoted"],
            stored["reason"],
            Comparison(**_dated(compared, "first_day", "last_day")) if compared else None,
            stored.get("rule", RENEWAL),
            origins,
        )


def _plain(one: Comparison | OriginScores) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, date) else value for name, value in asdict(one).items()}


def _dated(stored: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return dict(stored) | {name: date.fromisoformat(stored[name]) for name in names}
