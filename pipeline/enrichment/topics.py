"""What a sentence of a review speaks of: the topic whose examples its vector is near to.

Topics are a short fixed list, each with a few example sentences in English and in Chinese, read by the language model that
reads the reviews; nothing is learned, so a topic means the same in every shop and on every night. How near is near, the
examples say themselves, for every model has cosines of its own. A model that cannot tell the examples of a language apart
cannot read it: its sentences in that language then have no topics, rather than any.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.cleaning.texts import normalise_text
from pipeline.tables.reviews import TOPICS

Floats = NDArray[np.float32]

EXAMPLES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "en": {
        "quality": ("the quality is good", "it broke after a week", "cheap poor material", "well made and sturdy"),
        "size": ("it fits well", "the size is too small", "too big for me", "smaller than expected", "runs small"),
        "delivery": ("fast delivery", "it arrived late", "shipping took weeks", "it never arrived"),
        "packaging": (
            "nicely packaged",
            "the box was damaged",
            "it came broken because of bad packaging",
            "well wrapped",
        ),
        "price": ("good value for money", "great price", "too expensive", "a bargain", "overpriced for what it is"),
        "looks": ("it looks beautiful", "the colour is not as in the picture", "lovely design", "it is ugly"),
        "gift": (
            "bought as a gift",
            "my mother loved her present",
            "a perfect birthday present for my friend",
            "i gave it to my father for christmas",
        ),
        "": (
            "i love it",
            "would not recommend",
            "i bought this last month",
            "i use it every day",
            "very happy",
            "a great buy",
            "i returned it",
            "i had problems",
        ),
    },
    "zh": {
        "quality": ("质量很好", "质量很差 用几天就坏了", "做工精细 结实", "材料不好"),
        "size": ("尺寸合适", "尺码偏小", "太大了 不合身", "大小刚好"),
        "delivery": ("物流很快", "发货太慢", "快递迟迟没到", "送货及时"),
        "packaging": ("包装精美", "包装破损", "盒子坏了", "包装很严实"),
        "price": ("性价比高", "价格太贵", "很便宜 划算", "不值这个价"),
        "looks": ("很漂亮", "颜色和图片不一样", "款式好看", "太丑了"),
        "gift": ("送朋友的礼物", "妈妈收到礼物很喜欢", "生日礼物"),
        "": ("很喜欢", "不推荐", "上个月买的", "每天都用", "非常满意", "值得购买", "退货了", "有问题"),
    },
}
"""Examples by language and topic; those of '' speak of none."""

_TOLD_APART = 0.6
"""Share of a language's examples whose nearest other example is of their own topic, from which on a model reads it: the
English default has 0.8 in English and 0.1 in Chinese, as much as chance."""
_CLEARLY = 0.25
"""How much nearer is clearly nearer, as a share of what sets a topic's own examples apart from those of others. With the
default model 30 of 33 sentences about a topic, written for this, were told so, and 1 of 17 about none. Of sentences of
real reviews of electronics, looked through by eye, most of those told to be about price, looks, quality, size and gifts
were; of delivery half, of packaging, of which hardly anybody spoke, few."""
_CHINESE = re.compile(r"[㐀-鿿]")


def example_texts() -> tuple[str, ...]:
    """All examples as a language model reads them."""
    return tuple(
        sorted({normalise_text(text) for topics in EXAMPLES.values() for ones in topics.values() for text in ones})
    )


@dataclass(frozen=True)
class _Language:
    """The examples of a language.

    Attributes:
        vectors: one array of vectors per topic, those that speak of none last.
        near: cosine from which on a sentence is near to a topic.
        clearly: how much nearer it must be than to what speaks of none, and how much less near a second topic may be.
    """

    vectors: tuple[Floats, ...]
    near: float
    clearly: float


@dataclass(frozen=True)
class TopicReader:
    """Tells the topics of sentences from their vectors.

    Attributes:
        languages: what it needs of each language that the model reads.
    """

    languages: Mapping[str, _Language]

    @classmethod
    def of(cls, vectors: Mapping[str, Floats]) -> "TopicReader":
        """The reader by a model's vectors of `example_texts`; one that reads nothing where any is missing."""
        if any(text not in vectors for text in example_texts()):
            return cls({})
        found = {language: _language(topics, vectors) for language, topics in EXAMPLES.items()}
        return cls({language: told for language, told in found.items() if told is not None})

    def topics(self, sentences: Sequence[str], vectors: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Topics of sentences.

        Args:
            sentences: (N,) normalised.
            vectors: (N, D) their vectors.

        Returns:
            (N, K) whether each speaks of each of `TOPICS`, and (N,) whether that could be told.
        """
        spoken = np.zeros((len(sentences), len(TOPICS)), dtype=np.bool_)
        chinese = np.array([bool(_CHINESE.search(sentence)) for sentence in sentences], dtype=np.bool_)
        told = np.zeros(len(sentences), dtype=np.bool_)
        for language, rows in (("zh", chinese), ("en", ~chinese)):
            if (known := self.languages.get(language)) is None or not rows.any():
                continue
            near = np.stack([(vectors[rows] @ examples.T).max(axis=1) for examples in known.vectors], axis=1)
            # the last bits of a product depend on how many rows it has
            near = near.round(4)
            nearest, none = near[:, :-1], near[:, -1:]
            spoken[rows] = (
                (nearest >= known.near)
                & (nearest >= none + known.clearly)
                & (nearest >= nearest.max(axis=1, keepdims=True) - known.clearly)
            )
            told[rows] = True
        return spoken, told


def _language(topics: Mapping[str, tuple[str, ...]], vectors: Mapping[str, Floats]) -> _Language | None:
    """What a model's vectors make of the examples of a language; None when it cannot tell them apart."""
    by_topic = tuple(np.stack([vectors[normalise_text(text)] for text in topics[topic]]) for topic in (*TOPICS, ""))
    about = np.concatenate(by_topic[:-1])
    label = np.repeat(np.arange(len(TOPICS)), [len(ones) for ones in by_topic[:-1]])
    cosine = about @ about.T
    same, other = label[:, None] == label, ~np.eye(len(label), dtype=np.bool_)
    told_apart = (label[np.where(other, cosine, -np.inf).argmax(axis=1)] == label).mean()
    if told_apart < _TOLD_APART:
        return None
    within, between = float(cosine[same & other].mean()), float(cosine[~same].mean())
    return _Language(by_topic, within, _CLEARLY * (within - between))
