"""Reviews as numbers: sentiments that no later review moves, and what is said of each item by week."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.as_of import as_of_view
from pipeline.enrichment.reading import Reading
from pipeline.enrichment.reviews import LEAST_RATED, encode_reviews, make_reviewed_weeks, score_reviews
from pipeline.enrichment.topics import example_texts
from pipeline.tables import TABLES
from tests.enrichment.conftest import WORDS, Shop
from tests.enrichment.test_topics import vectors_that_know

FIRST = date(2022, 1, 3)
"""A Monday; the second quarter begins on day 88."""
GOOD, BAD = ("red", "christmas", "heart"), ("blue", "box", "small")


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def review(name: str, item: str, at: int, known: int | None = None, **more: Any) -> tuple[object, ...]:
    """A row of the ledger; days by number."""
    row = {"review_id": name, "version": 1, "item_id": item, "rating": None, "sentences": []} | more
    row |= {"reviewed_at": datetime.combine(day(at), datetime.min.time()), "reviewed_on": day(at), "source": "s"}
    row |= {"known_on": day(at if known is None else known), "file_hash": "f"}
    return tuple(row.get(column) for column in TABLES["reviews"].column_names)


def review_shop(shop: Shop, rows: Iterable[tuple[object, ...]], part: str = "part") -> None:
    shop.deliver("reviews", rows, part)


def rated_words(many: int, at: int = 5) -> list[tuple[object, ...]]:
    """Reviews whose words tell their rating."""
    random = np.random.default_rng(3)
    found = []
    for number in range(many):
        words, rating = (GOOD, 5.0) if number % 2 else (BAD, 1.0)
        text = " ".join([*random.choice(words, 2), str(random.choice(["mug", "bag", "tea"]))])
        found.append(review(f"rated {number}", "a", at, rating=rating, sentences=[text]))
    return found


@pytest.fixture
def selling(shop: Shop) -> Shop:
    shop.sell([("a", day(0), 3, 1.0), ("b", day(0), 3, 1.0), ("a", day(200), 1, 1.0)])
    return shop


def scores(shop: Shop, night: int, model: Path | None = None) -> dict[str, int | None]:
    with as_of_view(shop.lake, day(night)) as view:
        score_reviews(view.con, shop.settings(model=model))
        found = view.con.execute("SELECT review_id, sentiment FROM review_scores WHERE replaced_on IS NULL").fetchall()
    return dict(found)


def by_week(shop: Shop, night: int, model: Path | None = None, columns: str = "*") -> list[tuple[Any, ...]]:
    with as_of_view(shop.lake, day(night)) as view:
        make_reviewed_weeks(view.con, shop.settings(model=model))
        return view.con.execute(f"SELECT {columns} FROM reviewed_weeks").fetchall()


def test_the_sentiment_of_a_rated_review_is_its_rating_and_needs_no_model(selling: Shop) -> None:
    review_shop(
        selling, [review(str(stars), "a", 1, rating=stars, sentences=["red"]) for stars in (1.0, 2.5, 3.0, 5.0)]
    )
    assert scores(selling, 1, Path("/nowhere")) == {"1.0": -100, "2.5": -25, "3.0": 0, "5.0": 100}


def test_words_are_read_by_what_the_shops_rated_reviews_taught(selling: Shop, tiny_model: Path) -> None:
    review_shop(selling, rated_words(300))
    unrated = {"good": ["red heart mug"], "bad": ["small blue bag"], "mixed": ["red heart", "small blue"], "silent": []}
    review_shop(selling, [review(name, "a", 90, sentences=words) for name, words in unrated.items()], "second")
    review_shop(selling, [review("too early", "a", 50, sentences=["red heart mug"])], "third")
    encode_reviews(selling.lake, selling.settings(model=tiny_model))
    told = scores(selling, 100, tiny_model)
    assert told["good"] > 30
    assert told["bad"] < -30
    assert told["bad"] < told["mixed"] < told["good"]
    assert told["silent"] is None
    # nothing was learned in the quarter in which it became known
    assert told["too early"] is None


def test_with_too_few_rated_texts_words_say_nothing(selling: Shop, tiny_model: Path) -> None:
    review_shop(selling, rated_words(LEAST_RATED - 1))
    review_shop(selling, [review("good", "a", 90, sentences=["red heart mug"])], "second")
    encode_reviews(selling.lake, selling.settings(model=tiny_model))
    assert scores(selling, 100, tiny_model) == {**scores(selling, 80, tiny_model), "good": None}
    assert by_week(selling, 100, tiny_model, "reviews, rated, sentiment")[-1] == (1, 0, None)


def test_no_later_review_moves_what_a_night_knew(selling: Shop, tiny_model: Path) -> None:
    review_shop(selling, rated_words(200))
    review_shop(selling, [review("good", "b", 90, sentences=["red heart mug"])], "second")
    encode_reviews(selling.lake, selling.settings(model=tiny_model))
    before = scores(selling, 100, tiny_model), by_week(selling, 100, tiny_model)
    with as_of_view(selling.lake, day(100)) as view:
        snapshot = view.snapshot
    # about days that the night looks at: the words mean the contrary, and the reviews themselves are edited
    other = [
        review(f"late {number}", "a", 5, 101, rating=1.0 if number % 2 else 5.0, sentences=["red heart mug"])
        for number in range(300)
    ]
    edited = [review("good", "b", 90, 101, version=2, rating=1.0, sentences=["small blue bag"])]
    review_shop(selling, [*other, *edited], "third")
    encode_reviews(selling.lake, selling.settings(model=tiny_model))
    assert (scores(selling, 100, tiny_model), by_week(selling, 100, tiny_model)) == before
    with as_of_view(selling.lake, day(100)) as view:
        assert view.snapshot == snapshot
    after = scores(selling, 101, tiny_model)
    assert after["good"] == -100
    assert len(after) == len(before[0]) + 300


def test_what_is_said_of_an_item_by_week_in_the_version_of_the_night(selling: Shop, tiny_model: Path) -> None:
    rows = [
        review("1", "a", 0, rating=5.0),
        review("2", "a", 6, rating=2.0, sentences=["red"]),
        review("3", "a", 7, sentences=["tea"]),
        review("4", "b", 1, 20, rating=3.0),
        review("2", "a", 6, 30, version=2, rating=4.0),
    ]
    review_shop(selling, rows)
    encode_reviews(selling.lake, selling.settings(model=tiny_model))
    columns = "item_id, week_start, reviews, rated, mean_rating, sentiment, read"
    first = ("a", day(0), 2, 2, 3.5, 0.25, 0)
    second = ("a", day(7), 1, 0, None, None, 0)
    assert by_week(selling, 10, tiny_model, columns) == [first, second]
    assert by_week(selling, 30, tiny_model, columns) == [
        ("a", day(0), 2, 2, 4.5, 0.75, 0),
        second,
        ("b", day(0), 1, 1, 3.0, 0.0, 0),
    ]


def test_shares_of_topics_are_of_the_reviews_that_could_be_read(
    selling: Shop, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = vectors_that_know("en")

    class Model:
        def encode(self, texts: list[str], progress: object = None) -> Any:
            from types import SimpleNamespace

            vectors = np.stack([known[text] for text in texts])
            return SimpleNamespace(vectors=vectors, reading=Reading(len(texts)))

    monkeypatch.setattr("pipeline.enrichment.texts.load_language_model", lambda *_, **__: Model())
    rows = [
        review("1", "a", 0, rating=5.0, sentences=["it fits well", "a bargain"]),
        review("2", "a", 0, rating=5.0, sentences=["too big for me"]),
        review("3", "a", 0, rating=5.0, sentences=["i love it"]),
        review("4", "a", 0, rating=5.0, sentences=["尺寸合适"]),
        review("5", "a", 0, rating=5.0),
    ]
    review_shop(selling, rows)
    report = encode_reviews(selling.lake, selling.settings(model=tiny_model))
    assert report is not None
    assert (report.what, report.reading.texts) == ("reviews", 0)  # the sentences are examples
    (found,) = by_week(selling, 1, tiny_model, "reviews, read, size_share, price_share, gift_share")
    assert found == (5, 3, pytest.approx(2 / 3), pytest.approx(1 / 3), 0)


def test_only_new_sentences_are_encoded_and_the_texts_of_items_are_shared(selling: Shop, tiny_model: Path) -> None:
    settings = selling.settings(model=tiny_model)
    assert encode_reviews(selling.lake, settings) is None
    review_shop(selling, [review("1", "a", 0, sentences=["red mug", "blue tea"])])
    first = encode_reviews(selling.lake, settings)
    review_shop(selling, [review("2", "a", 1, sentences=["red mug", "small bag"])], "second")
    second = encode_reviews(selling.lake, settings)
    assert first is not None
    assert second is not None
    assert (first.encoded, second.encoded) == (2, 1)
    with selling.lake.connect() as con:
        selling.lake.attach(con, "item_text_features")
        texts = [text for (text,) in con.execute("SELECT item_text FROM item_text_features").fetchall()]
    assert sorted(texts) == sorted([*example_texts(), "red mug", "blue tea", "small bag"])


def test_reviews_in_a_language_that_the_model_does_not_know_are_said_plainly(selling: Shop, tiny_model: Path) -> None:
    review_shop(selling, [review("1", "a", 0, sentences=["质量很不错"])])
    report = encode_reviews(selling.lake, selling.settings(model=tiny_model))
    assert report is not None
    assert "cannot read these reviews" in report.warnings[0]
    review_shop(selling, [review("2", "a", 0, sentences=[" ".join(WORDS[:4])])], "second")
    report = encode_reviews(selling.lake, selling.settings(model=tiny_model))
    assert report is not None
    assert report.warnings == ()


def test_a_shop_without_reviews_has_an_empty_table_and_the_snapshots_it_had(selling: Shop) -> None:
    with as_of_view(selling.lake, day(1)) as view:
        assert not score_reviews(view.con, selling.settings(model=Path("/nowhere")))
    assert by_week(selling, 1, Path("/nowhere")) == []
