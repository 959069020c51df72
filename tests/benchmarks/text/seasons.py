"""Seasons: which items sell in November and December, and how the year is shared, read from words alone."""

import re
from dataclasses import dataclass, replace

import numpy as np
from sklearn.metrics import roc_auc_score

from pipeline.models.launches.facts import LEAST_SALES, Facts
from pipeline.models.seasons.belief import LEAST_LIFT
from pipeline.models.seasons.library import SeasonLibrary
from pipeline.models.seasons.sums import MONTH, SeasonSums
from tests.benchmarks.accuracy.scores import Bar, table
from tests.benchmarks.text.shop import TextShop

SEEDS = (0, 1)
FOLDS = 5
LATE = ("november", "december")
_LOOKS = frozenset(
    {"pink", "blue", "red", "white", "green", "black", "ivory", "small", "large", "set", "design", "assorted"}
)
"""Words that say how an item looks, not what it is."""
_PRIOR = 6.0


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        items: items with seasons.
        late: share of them that sell in November and December.
        auc: per way to part the items ("random", "families") and what is read ("text", "shuffled"): one figure per seed.
        nearer: the same of the total variation from the item's month shares, against that of the shop's own shares.
    """

    items: int
    late: float
    auc: dict[str, list[float]]
    nearer: dict[str, list[float]]


def run(shop: TextShop) -> Measured:
    """Read the seasons of a fifth of the items from the words of the others, for each fifth."""
    panel = shop.truth
    assert panel.item_text is not None
    sums = SeasonSums.of(Facts(panel))
    months = np.array([number for number, season in enumerate(sums.seasons) if season.kind == MONTH])
    late = np.array([number for number in months if sums.seasons[number].name in LATE])
    rows = np.flatnonzero((sums.total >= LEAST_SALES) & sums.known()[:, months].all(axis=1) & panel.text.any(axis=1))
    base = sums.usual()[rows][:, months] / sums.total[rows, None]
    came = sums.came[rows]
    shares = (came[:, months] + _PRIOR * base) / (sums.total[rows, None] + _PRIOR)
    usual_late = sums.usual()[rows][:, late].sum(axis=1)
    label = (came[:, late].sum(axis=1) + 1) / (usual_late + 1) >= LEAST_LIFT
    families = np.unique([family(str(text)) for text in panel.item_text[rows]], return_inverse=True)[1]
    auc: dict[str, list[float]] = {}
    nearer: dict[str, list[float]] = {}
    for seed in SEEDS:
        random = np.random.default_rng(seed)
        folds = {
            "random": random.permutation(np.arange(len(rows)) % FOLDS),
            "families": random.integers(FOLDS, size=families.max() + 1)[families],
        }
        order = random.permutation(panel.series)
        for kind, fold in folds.items():
            for words, dealt in (("text", panel.text), ("shuffled", panel.text[order])):
                vectors = dealt[rows]
                told = np.ones((len(rows), len(sums.seasons)))
                for held in range(FOLDS):
                    mine = np.flatnonzero(fold != held)
                    library = SeasonLibrary.of(sums, rows[mine], replace(panel, text=dealt), seed)
                    barred = np.full((fold == held).sum(), -1)
                    told[fold == held] = library.told(vectors[mine], vectors[fold == held], barred)
                read = base * told[:, months]
                read /= read.sum(axis=1, keepdims=True)
                found, usual = (np.abs(one - shares).sum(axis=1).mean() / 2 for one in (read, base))
                nearer.setdefault(f"{kind}, {words}", []).append(float(found / usual - 1))
                at = np.isin(months, late)
                score = read[:, at].sum(axis=1) / base[:, at].sum(axis=1)
                auc.setdefault(f"{kind}, {words}", []).append(float(roc_auc_score(label, score)))
    return Measured(len(rows), float(label.mean()), auc, nearer)


def family(text: str) -> str:
    """What an item is, by the last word that says so: a new family has no item of that word among those read from."""
    words = [word for word in re.findall(r"[a-z]+", text.lower()) if len(word) > 2 and word not in _LOOKS]
    return (words[-1] if words else text).removesuffix("s")


def bars(measured: Measured) -> list[Bar]:
    """The bars of the measure, each for the worse of both seeds."""
    found = []
    for kind, least, nearer in (("random", 0.80, 0.15), ("families", 0.74, 0.08)):
        auc, distance = min(measured.auc[f"{kind}, text"]), max(measured.nearer[f"{kind}, text"])
        items = "random items" if kind == "random" else "families never seen"
        found.append(
            Bar(f"November and December or not, {items}: AUC at least {least:.2f}", f"{auc:.3f}", auc >= least)
        )
        found.append(
            Bar(
                f"month shares, {items}: at least {nearer:.0%} nearer than the shop's own (total variation)",
                f"{distance:+.1%}",
                distance <= -nearer,
            )
        )
    return found


def markdown(measured: Measured) -> str:
    """The table of the README."""
    rows = [
        [name, *(f"{value:.3f}" for value in measured.auc[name]), *(f"{value:+.1%}" for value in measured.nearer[name])]
        for name in measured.auc
    ]
    header = ["items held out, read from"]
    header += [f"AUC, seed {seed}" for seed in SEEDS] + [f"month shares, seed {seed}" for seed in SEEDS]
    return table(header, rows)
