"""What reviews say, as numbers: the sentiment of each, and what is said of each item by week.

The sentiment of a review is its rating. Of one without, its words are read by what the shop's own rated reviews taught: a
ridge regression from the vectors of their texts to their ratings, learned on those known before the quarter in which the
review became known. So the sentiment of a review is a fact of its own day, which later reviews do not move, and the same
on every night. Where too few rated texts were known by then it is unknown.
"""

import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.enrichment.language_model import find_language_model
from pipeline.enrichment.texts import TextReport, encode_texts
from pipeline.enrichment.topics import TopicReader, example_texts
from pipeline.lake import Lake
from pipeline.models.base import Compute, Progress, silent
from pipeline.settings import Settings
from pipeline.tables.reviews import TOPICS

Floats = NDArray[np.float64]

LEAST_RATED = 100
"""Rated texts without which nothing is learned of words."""
_MOST_OF_A_QUARTER = 2000
"""Rated texts of a quarter that are learned from, drawn by their ids: more teach a few hundred weights little."""
_RIDGE = 1.0
"""Added to the sums of squares of the vectors. On 3,708 sentences of product reviews that people rated (Hutto and Gilbert
2014), read by the default model, 100, 300 and 3,000 of them told the others with a correlation of 0.62, 0.65 and 0.70."""
_SENTENCES_AT_ONCE = 8192

_SQL = {path.stem: path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("*review*.sql")}


def encode_reviews(
    lake: Lake, settings: Settings, *, compute: Compute | None = None, progress: Progress = silent
) -> TextReport | None:
    """Encode the sentences of reviews, and the examples of topics, that have no vector of the home's model yet.

    Args:
        lake: the home's lake.
        settings: the home's settings; `language_model` counts.
        compute: where the model runs; default: the CPU.
        progress: called with (what, done, of).

    Returns:
        What was done; None in a shop without reviews.

    Raises:
        ModelError: the model cannot be found or loaded.
    """
    start = time.monotonic()
    if not lake.partitions("reviews"):
        return None
    found = find_language_model(settings.language_model, home=lake.home)
    with lake.connect() as con:
        lake.attach(con, "reviews", "item_text_features")
        con.register("examples", pa.table({"sentence": pa.array(example_texts(), pa.string())}))
        rows = con.execute(_SQL["review_texts"], {"model_id": found.model_id}).fetchall()
    sentences, examples = ([row[:2] for row in rows if row[2] == is_example] for is_example in (False, True))
    # apart: that a model knows only one of the languages of the examples says nothing about the shop's
    encode_texts(lake, settings, found.model_id, examples, compute=compute)
    reading = encode_texts(lake, settings, found.model_id, sentences, compute=compute, progress=progress)
    seconds = time.monotonic() - start
    return TextReport(found.model_id, len(sentences), len(sentences), reading, seconds, "reviews")


def score_reviews(con: duckdb.DuckDBPyConnection, settings: Settings, *, home: Path | None = None) -> bool:
    """Make the table `review_scores` on the connection of an as-of view: every version of a review with its sentiment.

    It is made once for a view. Sentiments are whole hundredths from -100 to 100, so that their sums are the same in any
    order; null where nothing tells.

    Args:
        con: connection of an as-of view.
        settings: the home's settings; the language model is only looked for where texts without a rating are known.
        home: folder that a relative language model is relative to.

    Returns:
        Whether any review was known on the night.

    Raises:
        ModelError: the language model cannot be found.
    """
    made = con.execute("SELECT getvariable('reviews_scored')").fetchall()[0][0]
    if made is not None:
        return bool(made)
    con.execute(_SQL["numbered_reviews"])
    quarters = con.execute(
        "SELECT DISTINCT quarter FROM numbered_reviews WHERE rating IS NULL AND len(sentences) > 0 ORDER BY quarter"
    ).fetchall()
    numbers: list[NDArray[np.int64]] = []
    told: list[NDArray[np.int64]] = []
    if quarters:
        model_id = find_language_model(settings.language_model, home=home).model_id
        learned = _Ridge()
        before = con.execute("SELECT min(quarter) FROM numbered_reviews").fetchall()[0][0]
        for (quarter,) in quarters:
            learned.learn(con, model_id, before, quarter)
            before = quarter
            if learned.count >= LEAST_RATED:
                number, vectors, _ = _texts(con, model_id, quarter, rated=False)
                numbers.append(number)
                told.append(learned.tell(vectors))
    con.register(
        "_told",
        pa.table(
            {
                "number": pa.array(np.concatenate(numbers) if numbers else [], pa.int64()),
                "sentiment": pa.array(np.concatenate(told) if told else [], pa.int64()),
            }
        ),
    )
    con.execute(_SQL["review_scores"])
    con.unregister("_told")
    known = bool(con.execute("SELECT count(*) FROM review_scores").fetchall()[0][0])
    con.execute("SET VARIABLE reviews_scored = $1::BOOLEAN", [known])
    return known


def make_reviewed_weeks(con: duckdb.DuckDBPyConnection, settings: Settings, *, home: Path | None = None) -> None:
    """Make the table `reviewed_weeks` on the connection of an as-of view: the rows of `item_reviews`, see `pipeline/tables`.

    Raises:
        ModelError: the language model cannot be found.
    """
    score_reviews(con, settings, home=home)
    has_texts = con.execute("SELECT 1 FROM review_scores WHERE len(sentences) > 0 LIMIT 1").fetchall()
    hashes: list[str] = []
    topics: list[NDArray[np.int64]] = []
    if has_texts:
        model_id = find_language_model(settings.language_model, home=home).model_id
        reader = _topic_reader(con, model_id)
        sentences = con.sql(_SQL["review_sentences"], params={"model_id": model_id})
        for batch in sentences.to_arrow_reader(_SENTENCES_AT_ONCE) if reader.languages else ():
            text_hash, text, vector = batch.columns
            spoken, read = reader.topics(text.to_pylist(), _matrix(vector))
            hashes += [one for one, is_read in zip(text_hash.to_pylist(), read, strict=True) if is_read]
            topics.append((spoken @ (1 << np.arange(len(TOPICS))))[read].astype(np.int64))
    table = pa.table(
        {
            "text_hash": pa.array(hashes, pa.string()),
            "topics": pa.array(np.concatenate(topics) if topics else [], pa.int64()),
        }
    )
    con.register("_sentence_topics", table)
    shares = ", ".join(
        f"avg((topics >> {place} & 1)::DOUBLE ORDER BY source, review_id) AS {topic}_share"
        for place, topic in enumerate(TOPICS)
    )
    con.execute(f"CREATE OR REPLACE TEMP TABLE reviewed_weeks AS {_SQL['item_reviews'].replace('{shares}', shares)}")
    con.unregister("_sentence_topics")


@dataclass
class _Ridge:
    """Sums of a ridge regression from vectors to sentiments."""

    count: int = 0
    x: Floats | None = None
    y: float = 0.0
    xx: Floats | None = None
    xy: Floats | None = None

    def learn(self, con: duckdb.DuckDBPyConnection, model_id: str, first: date, before: date) -> None:
        """Add the rated texts of some quarters, one after the other."""
        quarters = con.execute(
            "SELECT DISTINCT quarter FROM numbered_reviews WHERE quarter >= $1 AND quarter < $2 ORDER BY quarter",
            [first, before],
        ).fetchall()
        for (quarter,) in quarters:
            _, vectors, sentiment = _texts(con, model_id, quarter, rated=True)
            if not len(vectors):
                continue
            if self.x is None or self.xx is None or self.xy is None:
                width = vectors.shape[1]
                self.x, self.xx, self.xy = np.zeros(width), np.zeros((width, width)), np.zeros(width)
            self.count += len(vectors)
            self.y += float(sentiment.sum())
            self.x += vectors.sum(axis=0)
            self.xx += vectors.T @ vectors
            self.xy += vectors.T @ sentiment

    def tell(self, vectors: Floats) -> NDArray[np.int64]:
        """Sentiments of texts, in hundredths."""
        if self.x is None or self.xx is None or self.xy is None or not len(vectors):
            return np.zeros(0, dtype=np.int64)
        middle, mean = self.x / self.count, self.y / self.count
        spread = self.xx - self.count * np.outer(middle, middle)
        weights = np.linalg.solve(spread + _RIDGE * np.eye(len(middle)), self.xy - self.count * mean * middle)
        return np.rint(100 * np.clip(mean + (vectors - middle) @ weights, -1, 1)).astype(np.int64)


def _texts(
    con: duckdb.DuckDBPyConnection, model_id: str, quarter: date, *, rated: bool
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Numbers of the reviews of a quarter with a text, the mean vectors of their sentences, and the sentiments of their ratings."""
    asked = {"model_id": model_id, "rated": rated, "quarter": quarter, "most": _MOST_OF_A_QUARTER}
    rows = con.sql(_SQL["review_vectors"], params=asked).to_arrow_table()
    if not rows.num_rows:
        return np.zeros(0, dtype=np.int64), np.zeros((0, 0)), np.zeros(0)
    number = rows.column("number").to_numpy()
    starts = np.flatnonzero(np.r_[True, number[1:] != number[:-1]])
    sums = np.add.reduceat(_matrix(rows.column("vector").combine_chunks()).astype(np.float64), starts, axis=0)
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    return number[starts], sums / np.maximum(length, 1e-9), rows.column("sentiment").to_numpy()[starts]


def _topic_reader(con: duckdb.DuckDBPyConnection, model_id: str) -> TopicReader:
    found = con.execute(
        "SELECT item_text, vector FROM lake_item_text_features WHERE model_id = $1 AND list_contains($2::VARCHAR[], item_text)",
        [model_id, list(example_texts())],
    ).fetchall()
    return TopicReader.of({text: np.asarray(vector, dtype=np.float32) for text, vector in found})


def _matrix(column: "pa.ListArray[pa.FloatScalar]") -> NDArray[np.float32]:
    """(N, D) of a column of lists of one length."""
    values: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), -1)
