"""What sentences of reviews speak of."""

import numpy as np
import pytest

from pipeline.enrichment.language_model import load_language_model
from pipeline.enrichment.topics import EXAMPLES, TopicReader, example_texts
from pipeline.settings import LanguageModelSettings
from pipeline.tables.reviews import TOPICS


def vectors_that_know(*languages: str) -> dict[str, np.ndarray]:
    """Vectors of the examples: one direction per topic for the languages known, noise for the others."""
    random = np.random.default_rng(1)
    found = {}
    for language, topics in EXAMPLES.items():
        for topic, texts in topics.items():
            for text in texts:
                vector = random.normal(0, 0.2, 64)
                if language in languages:
                    vector[list(topics).index(topic)] += 2
                found[text] = (vector / np.linalg.norm(vector)).astype(np.float32)
    assert set(found) == set(example_texts())
    return found


def told(reader: TopicReader, sentences: list[str], vectors: np.ndarray) -> list[set[str] | None]:
    spoken, read = reader.topics(sentences, vectors)
    names = np.array(list(TOPICS))
    return [set(names[row].tolist()) if is_read else None for row, is_read in zip(spoken, read, strict=True)]


def test_each_language_has_examples_of_each_topic_and_of_none() -> None:
    for topics in EXAMPLES.values():
        assert list(topics) == [*TOPICS, ""]


def test_a_sentence_has_the_topic_whose_examples_it_is_near_to() -> None:
    vectors = vectors_that_know("en", "zh")
    reader = TopicReader.of(vectors)
    size, gift, none = (vectors[EXAMPLES["en"][topic][0]] for topic in ("size", "gift", ""))
    asked = np.stack([v / np.linalg.norm(v) for v in (size, gift, size + gift, none, -size)])
    assert told(reader, ["a"] * 5, asked) == [{"size"}, {"gift"}, {"size", "gift"}, set(), set()]


def test_a_model_that_cannot_tell_a_languages_examples_apart_has_no_topics_in_it() -> None:
    vectors = vectors_that_know("en")
    reader = TopicReader.of(vectors)
    assert set(reader.languages) == {"en"}
    english, chinese = vectors["it fits well"], vectors["尺寸合适"]
    assert told(reader, ["it fits well", "尺寸合适"], np.stack([english, chinese])) == [{"size"}, None]


def test_without_all_examples_nothing_is_told() -> None:
    vectors = vectors_that_know("en", "zh")
    vectors.pop("it fits well")
    assert not TopicReader.of(vectors).languages


def test_no_sentences() -> None:
    spoken, read = TopicReader.of(vectors_that_know("en")).topics([], np.zeros((0, 64), np.float32))
    assert spoken.shape == (0, len(TOPICS))
    assert read.shape == (0,)


@pytest.mark.slow
def test_the_default_model_reads_english_and_says_that_it_does_not_read_chinese() -> None:
    model = load_language_model(LanguageModelSettings())
    examples = list(example_texts())
    reader = TopicReader.of(dict(zip(examples, model.encode(examples).vectors, strict=True)))
    sentences = {
        "fits perfectly on my shelf": {"size"},
        "took three weeks to get here": {"delivery"},
        "box crushed when it came": {"packaging"},
        "great price": {"price"},
        "gorgeous vintage style": {"looks"},
        "made a lovely gift": {"gift"},
        "the fabric is thick and durable": {"quality"},
        "we hung it in the kitchen": set(),
        "物美价廉": None,
    }
    assert told(reader, list(sentences), model.encode(list(sentences)).vectors) == list(sentences.values())
