"""How well a language model reads texts: what its vocabulary does not know, said for each script apart.

An English model takes one Chinese letter in two for unknown, and spells Greek or kana out letter by letter, where no token is
unknown and no word is read either. Counted over all texts, a few Chinese ones in an English shop would not show.
What belongs here: the measure, and what to say of it. Not here: the vectors (`language_model.py`).
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

MULTILINGUAL = (
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2 (50 languages, 0.5 GB)",
    "sentence-transformers/paraphrase-multilingual-mpnet-base-v2 (50 languages, slower, 1.1 GB)",
    "shibing624/text2vec-base-chinese (Chinese alone, 0.4 GB)",
)
"""Encoders whose vectors are the mean over tokens, of bare texts, with safetensors: as texts are read here. Left out are those
read at their first token (BAAI/bge-…-zh, LaBSE) and those that want a prefix (intfloat/multilingual-e5-…)."""
_MANY = 0.2
"""Share of unknown tokens, or of unread letters of a script, from which vectors say little; of texts cut, to be worth a word."""
_SPELLED = 3
"""Tokens of one letter in a row that are a word spelled out."""
_HAN = "Chinese"
_SCRIPTS = {
    "CJK": _HAN,
    "IDEOGRAPHIC": _HAN,
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    "KATAKANA-HIRAGANA": "Japanese",
    "HANGUL": "Korean",
}
"""Scripts that people call by another name than Unicode does."""


@dataclass(frozen=True)
class Script:
    """How letters of one script were read.

    Attributes:
        name: script, Latin aside.
        texts: texts with such letters.
        letters: such letters in the part of the texts that is read.
        unread: of them, those that the model does not know, takes apart, or spells out letter by letter.
    """

    name: str
    texts: int
    letters: int
    unread: int

    @property
    def unread_share(self) -> float:
        """Share of the letters that say nothing to the model."""
        return self.unread / self.letters if self.letters else 0.0


@dataclass(frozen=True)
class Reading:
    """How a model read texts.

    Attributes:
        texts: texts read.
        tokens: their tokens, without the special ones.
        unknown_tokens: how many of those the model does not know.
        cut: texts with more tokens than are read.
        scripts: the scripts beside Latin, by name.
    """

    texts: int = 0
    tokens: int = 0
    unknown_tokens: int = 0
    cut: int = 0
    scripts: tuple[Script, ...] = ()

    @property
    def unknown_share(self) -> float:
        """Share of the tokens that the model does not know."""
        return self.unknown_tokens / self.tokens if self.tokens else 0.0

    def __add__(self, other: "Reading") -> "Reading":
        """Both readings as one, of different texts."""
        sums: dict[str, Counter[str]] = {}
        for one in (*self.scripts, *other.scripts):
            counts = {"texts": one.texts, "letters": one.letters, "unread": one.unread}
            sums.setdefault(one.name, Counter()).update(counts)
        return Reading(
            self.texts + other.texts,
            self.tokens + other.tokens,
            self.unknown_tokens + other.unknown_tokens,
            self.cut + other.cut,
            tuple(Script(name, **counts) for name, counts in sorted(sums.items())),
        )

    def warnings(self, model_id: str, what: str = "item texts") -> tuple[str, ...]:
        """What to say of it: a language that the model cannot read, texts that are cut.

        Args:
            model_id: the model, for the message.
            what: what texts they are.
        """
        said = []
        found = [f"{one.unread_share:.0%} of the {one.name} letters, in {one.texts:,} texts" for one in self._unread]
        if self.unknown_share > _MANY:
            found.insert(0, f"{self.unknown_share:.0%} of the tokens")
        if found:
            said.append(
                f"the language model {model_id} cannot read these {what}: of {self.texts:,}, it does not know "
                f"{' and '.join(found)}; vectors of such texts say little. Name one that can in language_model.model of "
                f"almanac.yaml, a folder or, with allow_download: true, a Hugging Face id: {', '.join(MULTILINGUAL)}"
            )
        if self.cut > _MANY * self.texts:
            said.append(
                f"{self.cut:,} of {self.texts:,} {what} are longer than what is read of a text; "
                "language_model.max_tokens in almanac.yaml says how many tokens are"
            )
        return tuple(said)

    @property
    def _unread(self) -> list[Script]:
        return [one for one in self.scripts if one.unread_share > _MANY]


def reading_of(tokenizer: Any, texts: Sequence[str], tokens: Any) -> Reading:
    """How texts were read.

    Args:
        tokenizer: transformers tokenizer.
        texts: the texts.
        tokens: what the tokenizer made of them, cut to what is read. Scripts, and what was cut, are told of tokenizers
            that say where in a text a token stands (the fast ones, all but a few).
    """
    unknown = tokenizer.unk_token_id
    special = set(tokenizer.all_special_ids) - {unknown}
    plain = [token for ids in tokens["input_ids"] for token in ids if token not in special]
    whole = Reading(len(texts), len(plain), plain.count(unknown))
    if not tokenizer.is_fast:
        return whole
    counts: dict[str, Counter[str]] = {}
    cut = 0
    for text, encoding in zip(texts, tokens.encodings, strict=True):
        cut += bool(encoding.overflowing)
        if text.isascii():
            continue
        placed = [
            (token == unknown, *span)
            for token, piece, span in zip(encoding.ids, encoding.tokens, encoding.offsets, strict=True)
            # a mere mark of a word's begin stands for no letter, though it claims the first
            if token not in special and piece.strip("▁")
        ]
        scripts = [script_of(letter) for letter in text[: max((end for *_, end in placed), default=0)]]
        unread = _unread(placed, scripts)
        for name in set(scripts) - {""}:
            mine = [index for index, script in enumerate(scripts) if script == name]
            count = {"texts": 1, "letters": len(mine), "unread": len(unread.intersection(mine))}
            counts.setdefault(name, Counter()).update(count)
    found = tuple(Script(name, **count) for name, count in sorted(counts.items()))
    return whole + Reading(cut=cut, scripts=found)


def script_of(letter: str) -> str:
    """Script of a letter as people call it; '' for Latin, and for what is no letter."""
    if letter.isascii() or not letter.isalpha():
        return ""
    first = unicodedata.name(letter, "LATIN").split()[0]
    return _SCRIPTS.get(first, "" if first == "LATIN" else first.capitalize())


def _unread(placed: Iterable[tuple[bool, int, int]], scripts: Sequence[str]) -> set[int]:
    """Places of letters that a model does not know, takes apart (into bytes), or spells out.

    Args:
        placed: unknown or not, begin and end of each token.
        scripts: script of each character.
    """
    covered: Counter[int] = Counter()
    unread: set[int] = set()
    row: list[int] = []
    for is_unknown, begin, end in placed:
        covered.update(range(begin, end))
        if is_unknown:
            unread.update(range(begin, end))
        # a Chinese letter is a word by itself
        alone = end - begin == 1 and scripts[begin] not in {"", _HAN} and not is_unknown
        row = ([*row, begin] if row and row[-1] == begin - 1 else [begin]) if alone else []
        if len(row) >= _SPELLED:
            unread.update(row)
    return unread | {place for place, times in covered.items() if times > 1}
