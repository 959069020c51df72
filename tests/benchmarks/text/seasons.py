"""Seasons: which items sell in November and December, and how the year is shared, read from words alone."""

import re
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from pipeline.models.base import Compute
from pipeline.models.launches.facts import LEAST_SALES, Facts
from pipeline.models.seasons.belief import LEAST_LIFT
from pipeline.models.seasons.library import SeasonLibrary
from pipeline.models.seasons.sums import MONTH, SeasonSums
from pipeline.models.seasons.tuned import TunedWords
from tests.benchmarks.accuracy.scores import Bar, table
from tests.benchmarks.accuracy.shop import tell
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
        auc: per way to part the items ("random", "families") and what is read ("text", "tuned", "shuffled"): one figure per seed.
        seconds: what each tuning of the language model took.
        learned: items that it learned from.
        nearer: the same of the total variation from the item's month shares, against that of the shop's own shares.
    """

    items: int
    late: float
    auc: dict[str, list[float]]
    nearer: dict[str, list[float]]
    seconds: list[float]
    learned: list[int]


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
    seconds: list[tuple[float, int]] = []
    for seed in SEEDS:
        random = np.random.default_rng(seed)
        folds = {
            "random": random.permutation(np.arange(len(rows)) % FOLDS),
            "families": random.integers(FOLDS, size=families.max() + 1)[families],
        }
        order = random.permutation(panel.series)
        for kind, fold in folds.items():
            for words, of in (("text", panel), ("shuffled", replace(panel, text=panel.text[order])), ("tuned", None)):
                told = np.ones((len(rows), len(sums.seasons)))
                for held in range(FOLDS):
                    mine, asked = rows[fold != held], rows[fold == held]
                    known = of or _tuned(shop, seed, mine, seconds).told(panel)
                    library = SeasonLibrary.of(sums, mine, known, seed)
                    told[fold == held] = library.told(known.text[mine], known.text[asked], np.full(len(asked), -1))
                    tell(f"seasons: {kind}, seed {seed}, {words}", held + 1, FOLDS)
                read = base * told[:, months]
                read /= read.sum(axis=1, keepdims=True)
                found, usual = (np.abs(one - shares).sum(axis=1).mean() / 2 for one in (read, base))
                nearer.setdefault(f"{kind}, {words}", []).append(float(found / usual - 1))
                at = np.isin(months, late)
                score = read[:, at].sum(axis=1) / base[:, at].sum(axis=1)
                auc.setdefault(f"{kind}, {words}", []).append(float(roc_auc_score(label, score)))
    return Measured(
        len(rows), float(label.mean()), auc, nearer, [took for took, _ in seconds], [of for _, of in seconds]
    )


def _tuned(shop: TextShop, seed: int, rows: np.ndarray, seconds: list[tuple[float, int]]) -> TunedWords:
    """A language model tuned on the seasons of some items."""
    with tempfile.TemporaryDirectory(prefix="almanac-bench-") as folder:
        began = time.perf_counter()
        tuning = replace(shop.tuning, seed=seed)
        words = tuning.fit(shop.truth.rows(np.sort(rows)), folder=Path(folder), compute=Compute())
        seconds.append((time.perf_counter() - began, len(words.learned)))
    return words


def family(text: str) -> str:
    """What an item is, by the last word that says so: a new family has no item of that word among those read from."""
    words = [word for word in re.findall(r"[a-z]+", text.lower()) if len(word) > 2 and word not in _LOOKS]
    return (words[-1] if words else text).removesuffix("s")


def bars(measured: Measured) -> list[Bar]:
    """The bars of the measure, each for the worse of both seeds."""
    found = []
    for kind, least, nearer in (("random", 0.80, 0.15), ("families", 0.74, 0.08)):
        auc, distance = min(measured.auc[f"{kind}, tuned"]), max(measured.nearer[f"{kind}, tuned"])
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
    # as if every item took as long: steps follow items
    longest = max(took / of for took, of in zip(measured.seconds, measured.learned, strict=True)) * 5000 / 60
    found.append(Bar("tuning on 5,000 items takes 5 minutes at most", f"{longest:.1f} minutes", longest <= 5))
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
