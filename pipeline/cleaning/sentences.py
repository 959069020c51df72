"""A review's text cut into what a language model reads at once: sentences, in the form of item texts.

A model reads the first tokens of a text only, and a review is longer than an item's description: read whole, it would
be known by its greeting. Sentences also recur ("fits well"), and each is encoded once.
"""

import re
import unicodedata

import duckdb
import pyarrow as pa

from pipeline.cleaning.texts import normalise_text, readable

MOST_SENTENCES = 8
"""Sentences of a review that are read: what is not said by then is hardly its point."""
MOST_WORDS = 16
"""Words, or Chinese characters, of a sentence; a longer one is cut. Below the tokens that a model reads by default."""
_MOST_LETTERS = 60
"""Letters of a word that count as words: a 10,000-letter cry is one word otherwise."""

_BREAK = re.compile(r"</?(?:br|p|div|li|ul|ol|tr|td|h[1-6])\b[^<>]*>", re.IGNORECASE)
_END = re.compile(r"[.](?!\d)|[!?;。！？；…\n\r]+")
_PIECE = re.compile(r"[぀-ヿ㐀-鿿豈-﫿가-힯]|[^\s぀-ヿ㐀-鿿豈-﫿가-힯]+")


def sentences_of(text: str | None) -> tuple[str, ...]:
    """The first sentences of a text, each normalised (see `normalise_text`); none where no letter stands in it.

    >>> sentences_of("Love it! <b>Fits</b> well.<br>1.5 kg &amp; sturdy 👍")
    ('love it', 'fits well', '1.5 kg & sturdy')
    """
    found: list[str] = []
    # a bound on what is looked at: far more than the sentences that are kept
    plain = _BREAK.sub("\n", readable((text or "")[:20_000]))
    for sentence in _END.split(unicodedata.normalize("NFC", plain)):
        words = normalise_text(sentence)
        for piece in _cut(words) if words else ():
            found.append(piece)
            if len(found) == MOST_SENTENCES:
                return tuple(found)
    return tuple(found)


def _cut(words: str) -> list[str]:
    """A normalised sentence in pieces of at most so many words or Chinese characters."""
    places = list(_PIECE.finditer(words))
    pieces = []
    for first in range(0, len(places), MOST_WORDS):
        last = places[min(first + MOST_WORDS, len(places)) - 1]
        pieces.append(words[places[first].start() : last.end()][: MOST_WORDS * _MOST_LETTERS])
    return pieces


def make_sentence_table(con: duckdb.DuckDBPyConnection, name: str, texts: str) -> None:
    """Make a temporary table (delivered, sentences) of all distinct texts of a query.

    Args:
        con: connection that `texts` runs on.
        name: name of the table.
        texts: a SELECT of one text column.
    """
    delivered = con.sql(f"SELECT DISTINCT * FROM ({texts}) AS all_texts(delivered) WHERE delivered IS NOT NULL")
    column = delivered.to_arrow_table().column("delivered")
    cut = pa.array([sentences_of(text) for text in column.to_pylist()], pa.list_(pa.string()))
    con.register("_cut", pa.table({"delivered": column, "sentences": cut}))
    con.execute(f'CREATE OR REPLACE TEMP TABLE "{name}" AS FROM _cut')
    con.unregister("_cut")
