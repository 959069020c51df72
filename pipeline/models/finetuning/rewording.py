"""Other wordings of the items' texts while a language model learns: `text_augmentation.py` with the model at hand.

A word's vector is the mean of the input embeddings of its tokens, as the model has them before the training. Words that the
tokenizer reads as the same, as `Red` and `RED` where case does not count, are one word.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.model_settings import FineTuningSettings
from pipeline.models.finetuning.backbone import Backbone
from pipeline.models.finetuning.text_augmentation import (
    Neighbours,
    dropped,
    neighbours_of,
    replaced,
    text_of,
    vocabulary_of,
    words_of,
)


@dataclass(frozen=True)
class Rewording:
    """How texts are reworded.

    Attributes:
        dropout: chance of each word to be left out.
        replacement: chance of each word to be replaced.
        neighbours: words that may stand in the place of others.
    """

    dropout: float
    replacement: float
    neighbours: Neighbours = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, texts: Sequence[str], backbone: Backbone, settings: FineTuningSettings) -> "Rewording | None":
        """What the settings ask for; None where texts stay as they are.

        Args:
            texts: the shop's texts, of which replacements are words.
            backbone: the language model, with the weights that the training starts from.
            settings: both chances.

        Raises:
            ModelError: words are to be replaced, and the model does not name its word embeddings.
        """
        if not settings.word_dropout and not settings.word_replacement:
            return None
        near = near_words(vocabulary_of(texts), backbone) if settings.word_replacement else {}
        return cls(settings.word_dropout, settings.word_replacement, near)

    def reworded(self, text: str, generator: np.random.Generator) -> str:
        """Another wording of a text; an empty one stays empty."""
        words = replaced(words_of(text), self.replacement, self.neighbours, generator)
        return text_of(dropped(words, self.dropout, generator))


def near_words(vocabulary: Sequence[str], backbone: Backbone) -> dict[str, tuple[str, ...]]:
    """Near neighbours of words by what a language model embeds of them; none of a word that it does not know.

    Args:
        vocabulary: distinct words.
        backbone: the language model.

    Raises:
        ModelError: the model does not name its word embeddings.
    """
    read = _tokens(vocabulary, backbone)
    known = {word: ids for word, ids in zip(vocabulary, read, strict=True) if ids}
    first: dict[tuple[int, ...], str] = {}
    for word, ids in known.items():
        first.setdefault(ids, word)
    if not first:
        return {}
    table = _table(backbone)
    vectors = np.stack([table[list(ids)].mean(axis=0) for ids in first])
    found = neighbours_of(list(first.values()), vectors)
    return {word: found[first[ids]] for word, ids in known.items() if first[ids] in found}


def _tokens(words: Sequence[str], backbone: Backbone) -> list[tuple[int, ...]]:
    """Tokens of each word alone, as it is read within a text; none where one of them stands for the unknown."""
    if not words:
        return []
    plain, spaced = (
        backbone.tokenizer([space + word for word in words], add_special_tokens=False)["input_ids"]
        for space in ("", " ")
    )
    # some tokenizers read a word behind a space as one token, and at the beginning of a text as several
    chosen = [min(behind, alone, key=len) for alone, behind in zip(plain, spaced, strict=True)]
    unknown = backbone.tokenizer.unk_token_id
    return [() if unknown in ids else tuple(ids) for ids in chosen]


def _table(backbone: Backbone) -> NDArray[Any]:
    """(tokens, D) input embeddings."""
    try:
        network: Any = backbone.network
        weight = network.get_input_embeddings().weight
    except (AttributeError, NotImplementedError) as error:
        raise ModelError(
            f"{type(backbone.network).__name__} does not name its word embeddings, by which words are replaced; set "
            "fine_tuning.word_replacement in almanac.yaml to 0"
        ) from error
    return np.asarray(weight.detach().float().cpu().numpy())
