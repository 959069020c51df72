"""Other wordings of a text for training: words dropped, words replaced by their neighbours among the shop's own words.

Pure functions over words. A word is what stands between spaces, or one Chinese or Japanese character: such texts have no
spaces, and the shop's language model reads them character by character too. A word with a digit (`60cm`) is never replaced:
it is what tells one item from another.

Neighbours come from the vectors that the caller gives (those of the model's own input embedding are at hand), and only from
the shop's own words: a replacement is never a word that no text of the shop could hold. After word dropout (Iyyer et al. 2015)
and the synonym replacement of EDA (Wei and Zou 2019), whose thesaurus knows no trade names and no Chinese.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEAREST = 5
"""Neighbours that a word may be replaced by, at most."""
LEAST_COSINE = 0.45
"""Cosine below which words are no neighbours: a word without any is never replaced.

Seen on 144 words of English gift items, in the input embeddings of MiniLM: above .6 there are only forms of one word (card,
cards); above .45 also colours, materials and the like (silver and gold, pendant and necklace, vintage and antique), of which
small and large are the worst; below, chance pieces of words come in (teacup and cupid, heart and card).
"""

_CHARACTERS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_WORD = re.compile(rf"[{_CHARACTERS}]|[^\s{_CHARACTERS}]+")
_CHARACTER = re.compile(f"[{_CHARACTERS}]")
_AT_ONCE = 2048

Neighbours = Mapping[str, Sequence[str]]
"""Word → words that may stand in its place, nearest first."""


def words_of(text: str) -> list[str]:
    """Words of a text: between spaces, and each Chinese or Japanese character alone."""
    return _WORD.findall(text)


def text_of(words: Sequence[str]) -> str:
    """A text of words; no space on either side of a Chinese or Japanese character."""
    text = ""
    for word in words:
        apart = text and not (_CHARACTER.match(text[-1]) or _CHARACTER.match(word[0]))
        text += f" {word}" if apart else word
    return text


def dropped(words: Sequence[str], chance: float, generator: np.random.Generator) -> list[str]:
    """The words without some of them, each left out by chance, but never all.

    Args:
        words: words of one text.
        chance: chance of each word to be left out, 0 … 1.
        generator: that of the step; one number is drawn per word, and one more where none would be left.
    """
    if not chance or not words:
        return list(words)
    kept = generator.random(len(words)) >= chance
    if not kept.any():
        kept[int(generator.integers(len(words)))] = True
    return [word for word, is_kept in zip(words, kept.tolist(), strict=True) if is_kept]


def replaced(words: Sequence[str], chance: float, neighbours: Neighbours, generator: np.random.Generator) -> list[str]:
    """The words, each by chance replaced by one of its neighbours; a word without any stays.

    Args:
        words: words of one text.
        chance: chance of each word to be replaced, 0 … 1.
        neighbours: see `neighbours_of`.
        generator: that of the step; two numbers are drawn per word.
    """
    if not chance or not words:
        return list(words)
    which, place = generator.random((2, len(words)))
    out = []
    for word, is_chosen, at in zip(words, (which < chance).tolist(), place.tolist(), strict=True):
        near = neighbours.get(word, ()) if is_chosen else ()
        out.append(near[int(at * len(near))] if near else word)
    return out


def vocabulary_of(texts: Sequence[str]) -> list[str]:
    """The distinct words of texts that a neighbour may replace, in order: those with a letter and without a digit."""
    found = {word for text in texts for word in words_of(text)}
    return sorted(word for word in found if _is_wording(word))


def neighbours_of(
    vocabulary: Sequence[str], vectors: NDArray[Any], *, nearest: int = NEAREST, least_cosine: float = LEAST_COSINE
) -> dict[str, tuple[str, ...]]:
    """Near neighbours of each word by the cosine of their vectors; words without any are left out.

    Args:
        vocabulary: V words, each once.
        vectors: (V, D) their vectors; a word with a vector of zeros has no neighbour.
        nearest: most neighbours of a word.
        least_cosine: cosine that a neighbour has at least.

    Raises:
        ValueError: not one finite vector per word, or a word twice.
    """
    real = np.asarray(vectors, dtype=np.float64)
    if real.ndim != 2 or len(real) != len(vocabulary) or not np.isfinite(real).all():
        raise ValueError(f"{len(vocabulary)} words need as many finite vectors, given an array of shape {real.shape}")
    if len(set(vocabulary)) != len(vocabulary):
        raise ValueError("a word stands twice in the vocabulary")
    length = np.linalg.norm(real, axis=1, keepdims=True)
    unit = np.divide(real, length, out=np.zeros_like(real), where=length > 0)
    found: dict[str, tuple[str, ...]] = {}
    for first in range(0, len(vocabulary), _AT_ONCE):
        cosine = unit[first : first + _AT_ONCE] @ unit.T
        for row, values in enumerate(cosine, start=first):
            values[row] = -np.inf
            # equally near words keep the order of the vocabulary, whatever machine sorts them
            best = np.argsort(-np.round(values, 9), kind="stable")[:nearest]
            near = tuple(vocabulary[at] for at in best.tolist() if values[at] >= least_cosine)
            if near:
                found[vocabulary[row]] = near
    return found


def _is_wording(word: str) -> bool:
    return any(character.isalpha() for character in word) and not any(character.isdigit() for character in word)
