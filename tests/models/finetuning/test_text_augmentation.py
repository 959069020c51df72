"""Other wordings of a text: words dropped and replaced, in English and in Chinese, each time the same."""

import numpy as np
import pytest

from pipeline.models.finetuning.text_augmentation import (
    dropped,
    neighbours_of,
    replaced,
    text_of,
    vocabulary_of,
    words_of,
)

WORDS = ["red", "scarlet", "blue", "mug", "cup", "lamp"]
VECTORS = np.array([[1, 0.0, 0], [0.9, 0.1, 0], [0.6, 0.8, 0], [0, 0, 2.0], [0, 0.1, 3.0], [0, 0, 0]])


def generator(seed: int = 4) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("red  LED lamp 60cm ", ["red", "LED", "lamp", "60cm"]),
        ("红色圣诞灯", ["红", "色", "圣", "诞", "灯"]),
        ("不锈钢kettle 2件", ["不", "锈", "钢", "kettle", "2", "件"]),
        ("", []),
    ],
    ids=["English", "Chinese", "both", "nothing"],
)
def test_a_text_is_words_or_chinese_characters_and_back(text, words):
    assert words_of(text) == words
    assert words_of(text_of(words)) == words


def test_texts_are_joined_with_spaces_between_words_only():
    assert text_of(["red", "mug"]) == "red mug"
    assert text_of(["红", "色", "mug", "set"]) == "红色mug set"


def test_words_are_dropped_by_chance_in_order_and_never_all():
    words = [f"word{k}" for k in range(40)]
    counts = [len(dropped(words, 0.3, generator(seed))) for seed in range(100)]
    assert np.mean(counts) == pytest.approx(28, abs=1)
    left = dropped(words, 0.5, generator())
    assert left == [word for word in words if word in set(left)]
    for chance in (0.9, 1.0):
        assert all(len(dropped(list("红色灯"), chance, generator(seed))) >= 1 for seed in range(60))
    survivors = {dropped(["a", "b", "c"], 1.0, generator(seed))[0] for seed in range(40)}
    assert survivors == {"a", "b", "c"}, "the same word is always the one that is left"


def test_neighbours_are_the_nearest_by_cosine_whatever_the_length_of_the_vectors():
    found = neighbours_of(WORDS, VECTORS, nearest=2, least_cosine=0.6)
    assert found == {
        "red": ("scarlet", "blue"),
        "scarlet": ("red", "blue"),
        "blue": ("scarlet", "red"),
        "mug": ("cup",),
        "cup": ("mug",),
    }
    assert neighbours_of(WORDS, VECTORS, nearest=1, least_cosine=0.95) == {
        "red": ("scarlet",), "scarlet": ("red",), "mug": ("cup",), "cup": ("mug",),
    }  # fmt: skip


def test_many_words_have_the_same_neighbours_in_slices(monkeypatch):
    vectors = generator().normal(size=(50, 4))
    words = [f"w{k:02d}" for k in range(50)]
    whole = neighbours_of(words, vectors)
    monkeypatch.setattr("pipeline.models.finetuning.text_augmentation._AT_ONCE", 7)
    assert neighbours_of(words, vectors) == whole
    assert whole


@pytest.mark.parametrize(
    ("words", "vectors"),
    [(WORDS, VECTORS[:3]), (["a", "a"], VECTORS[:2]), (["a"], [[np.nan, 1.0]]), (["a"], [1.0])],
    ids=["too few", "twice", "not a number", "no matrix"],
)
def test_vectors_that_do_not_fit_the_words_are_refused(words, vectors):
    with pytest.raises(ValueError, match=r"vectors|twice"):
        neighbours_of(words, np.asarray(vectors))


def test_words_are_replaced_by_their_neighbours_only():
    near = neighbours_of(WORDS, VECTORS, nearest=2)
    text = ["red", "lamp", "mug", "60cm"]
    assert replaced(text, 1.0, near, generator())[1::2] == ["lamp", "60cm"], "no neighbour, no replacement"
    seen = [replaced(text, 1.0, near, generator(seed)) for seed in range(40)]
    assert {one[0] for one in seen} == {"scarlet", "blue"}
    assert {one[2] for one in seen} == {"cup"}
    many = replaced(["red"] * 1000, 0.2, near, generator())
    assert sum(word != "red" for word in many) == pytest.approx(200, abs=40)


def test_chinese_characters_are_replaced_by_characters():
    near = neighbours_of(["红", "赤", "灯"], np.array([[1, 0.1], [1, 0.0], [0, 1.0]]))
    assert text_of(replaced(words_of("红灯"), 1.0, near, generator())) == "赤灯"


def test_the_vocabulary_of_a_shop_has_its_words_without_numbers():
    assert vocabulary_of(["red mug 60cm", "RED - mug", "红灯2件"]) == ["RED", "mug", "red", "件", "灯", "红"]


@pytest.mark.parametrize("act", ["dropped", "replaced"])
def test_by_no_chance_nothing_changes_and_nothing_is_drawn_and_the_same_seed_gives_the_same_words(act):
    near = neighbours_of(WORDS, VECTORS)

    def acted(words, chance, seeded):
        return dropped(words, chance, seeded) if act == "dropped" else replaced(words, chance, near, seeded)

    seeded = generator()
    assert acted(WORDS, 0.0, seeded) == WORDS
    assert acted([], 0.5, seeded) == []
    assert seeded.random() == generator().random()
    many = WORDS * 5
    assert acted(many, 0.5, generator()) == acted(many, 0.5, generator())
    assert acted(many, 0.5, generator()) != acted(many, 0.5, generator(5))
    assert many == WORDS * 5, "the words given were changed"
