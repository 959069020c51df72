"""The seasons of the items that others are set beside, and how well words tell them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import Array
from pipeline.models.controls import category_vectors
from pipeline.models.launches.examples import SEASON_OF, told
from pipeline.models.panel import Panel
from pipeline.models.seasons.belief import LEAST_LIFT, Belief
from pipeline.models.seasons.sums import MONTH, Season, SeasonSums

_FOLDS = 5
_LEAST_OF_CLASS = 10
"""Items that sell for a season, and items that do not, without which a threshold is luck."""


@dataclass(frozen=True)
class SeasonLibrary:
    """Seasons of N items whose texts tell those of others.

    Attributes:
        seasons: the K seasons.
        lifts: (N, K) log of how many times as much each item sold as the shop's seasons say; not a number where unknown.
        thresholds: (K,) probability from which an item is said to sell for a season: that of the highest F1 on items of the
            library, each read from the others.
        scores: per season, how well words tell it: "auc", "f1", "accuracy", the latter two with the thresholds of other items;
            and the AUC of the controls, "auc_shuffle_text" with words of other items and "auc_category_only".
    """

    seasons: tuple[Season, ...]
    lifts: Array
    thresholds: Array
    scores: Mapping[str, Mapping[str, float]]

    @classmethod
    def of(
        cls, sums: SeasonSums, rows: NDArray[np.int64], panel: Panel, seed: int, scored: NDArray[np.bool_] | None = None
    ) -> "SeasonLibrary":
        """Learn from N items.

        Args:
            sums: those of the panel.
            rows: (N,) which of its items.
            panel: the panel.
            seed: of the folds.
            scored: (N,) items that scores and thresholds are of; default: all. A language model that learned the seasons of the others
                would flatter itself.
        """
        from sklearn.metrics import roc_auc_score

        lifts, vectors = sums.lifts()[rows], panel.text[rows]
        dealt = vectors[np.random.default_rng([seed, 53]).permutation(len(vectors))]
        read_from = {
            "": vectors,
            "_shuffle_text": dealt,
            "_category_only": category_vectors(vectors, panel.category[rows], panel.item_id[rows]),
        }
        itself = np.arange(len(vectors))
        certainty = {
            name: Belief.of(np.exp(told(of, lifts, of, itself, SEASON_OF))).certainty for name, of in read_from.items()
        }
        asked = np.ones(len(rows), dtype=np.bool_) if scored is None else scored
        thresholds, scores = np.full(len(sums.seasons), 0.5), {}
        for number, season in enumerate(sums.seasons):
            known = np.flatnonzero(np.isfinite(lifts[:, number]) & vectors.any(axis=1) & asked)
            label = np.exp(lifts[known, number]) >= LEAST_LIFT
            if min(label.sum(), (~label).sum()) < _LEAST_OF_CLASS:
                continue
            mine = certainty[""][known, number]
            thresholds[number] = _threshold(mine, label)
            auc = {f"auc{name}": float(roc_auc_score(label, of[known, number])) for name, of in certainty.items()}
            scores[season.name] = auc | _scores(mine, label, seed)
        return cls(sums.seasons, lifts, thresholds, scores)

    def to_json(self) -> dict[str, Any]:
        """All but the lifts, as JSON."""
        return {
            "seasons": [asdict(season) for season in self.seasons],
            "thresholds": self.thresholds.tolist(),
            "scores": {name: dict(scores) for name, scores in self.scores.items()},
        }

    def summary(self) -> dict[str, float]:
        """The scores of all seasons but the months, under one name each."""
        return {
            f"{season.name}_{score}": round(value, 4)
            for season in self.seasons
            if season.kind != MONTH
            for score, value in self.scores.get(season.name, {}).items()
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], lifts: Array) -> "SeasonLibrary":
        """Undo `to_json`."""
        seasons = tuple(Season(**season) for season in stored["seasons"])
        return cls(seasons, lifts, np.array(stored["thresholds"], dtype=np.float64), stored["scores"])

    def told(self, library: NDArray[Any], vectors: NDArray[Any], barred: NDArray[np.int64]) -> Array:
        """(Q, K) how many times as much as the shop's seasons say items of like texts sell; 1 where nothing is told, as by vectors of another model.

        Args:
            library: (N, D) vectors of this library's items.
            vectors: (Q, D) vectors.
            barred: (Q,) row of the library that is the query itself, −1 for none.
        """
        if library.shape[1] != vectors.shape[1]:
            return np.ones((len(vectors), len(self.seasons)))
        return np.exp(told(library, self.lifts, vectors, barred, SEASON_OF))


def _threshold(probability: Array, label: NDArray[np.bool_]) -> float:
    """The threshold of the highest F1."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, thresholds = precision_recall_curve(label, probability)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
    return float(thresholds[int(f1[:-1].argmax())])


def _scores(probability: Array, label: NDArray[np.bool_], seed: int) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, f1_score

    fold = np.random.default_rng([seed, 43]).permutation(np.arange(len(label)) % _FOLDS)
    said = np.zeros(len(label), dtype=np.bool_)
    for held in range(_FOLDS):
        mine = fold != held
        threshold = _threshold(probability[mine], label[mine]) if label[mine].any() else 0.5
        said[~mine] = probability[~mine] >= threshold
    return {
        "f1": float(f1_score(label, said)),
        "accuracy": float(accuracy_score(label, said)),
    }
