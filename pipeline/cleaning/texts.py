"""Item texts made comparable: one form for what people typed in many.

What belongs here: how a text is normalised, and the same for every distinct text of a query. Not here: which of an
item's texts is its canonical one (`pipeline/as_of.sql`).
"""

import html
import re
import unicodedata
from contextlib import suppress

import duckdb
import pyarrow as pa

_HIDDEN = re.compile(r"<!--.*?-->|<(script|style)\b[^<>]*>.*?</\1\s*>", re.DOTALL | re.IGNORECASE)
"""What a page holds and nobody reads."""
_TAG = re.compile(r"</?[a-zA-Z!][^<>]*>")
_INVISIBLE = re.compile("[\u00ad\u180e\u200c-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff]")
"""Soft hyphens, joiners, directions, byte order marks, variants: within words, and no part of them."""
_BETWEEN_DIGITS = re.compile(r"(?<=\d)[.,](?=\d)")
_NOT_TEXT = re.compile(r"[^\w&/.%]|_|(?<!\d)\.|\.(?!\d)|(?<!\d)%")
_SPACES = re.compile(r"\s+")
_MARKS = {"Mn", "Mc"}
_TURNS = 5
_LONGEST = 50_000
"""Characters of a text that are looked at: what is longer was a page, or a mishap, and would take its time."""


def normalise_text(text: str | None) -> str:
    """One form of a description: NFKC, no HTML, lower case; letters, digits, `&`, `/`, spaces, and `1.5`, `20%`.

    Letters of every script stay (Chinese among them); punctuation, emoji and what could not be decoded become a space. A
    text without a letter or digit is no text: ''.

    >>> normalise_text("  WHITE&nbsp;<b>HANGING</b> HEART T-LIGHT HOLDER!")
    'white hanging heart t light holder'
    """
    plain = (text or "")[:_LONGEST]
    # what was escaped twice, or spelled so that it comes out as HTML, takes more than one turn
    for _ in range(_TURNS):
        before, plain = plain, _normalised(plain)
        if plain == before:
            break
    return plain if any(character.isalnum() for character in plain) else ""


def _normalised(text: str) -> str:
    plain = _INVISIBLE.sub("", _TAG.sub(" ", readable(_decoded(text))))
    # lower-casing may leave combining marks apart: put them together again
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", plain).lower())
    return _SPACES.sub(" ", _NOT_TEXT.sub(_in_place_of, _BETWEEN_DIGITS.sub(".", plain))).strip()


def _in_place_of(found: re.Match[str]) -> str:
    """A space for what is no text, but for the vowel signs of Hindi or Thai, which are marks upon the letter before them."""
    mark, before = found[0], found.string[max(found.start() - 1, 0) : found.start()]
    is_part = unicodedata.category(mark) in _MARKS and (
        before.isalpha() or unicodedata.category(before or " ") in _MARKS
    )
    return mark if is_part else " "


def _decoded(text: str) -> str:
    """A text as it was meant, where somebody read its UTF-8 as Western European ("cafÃ©"); hardly any other text could be."""
    if text.isascii():
        return text
    for encoding in ("cp1252", "latin-1"):
        with suppress(UnicodeError):
            return text.encode(encoding).decode("utf-8")
    return text


def readable(text: str) -> str:
    """A text with its tags, and without entities, scripts, styles and comments."""
    for _ in range(_TURNS):
        before, text = text, html.unescape(text)
        if text == before:
            break
    return _HIDDEN.sub(" ", text)


def make_text_table(con: duckdb.DuckDBPyConnection, name: str, texts: str) -> int:
    """Make a temporary table (delivered, item_text) of all distinct texts of a query, each normalised once.

    Millions of lines carry thousands of texts: SQL joins on the text as delivered.

    Args:
        con: connection that `texts` runs on.
        name: name of the table.
        texts: a SELECT of one text column.

    Returns:
        The number of distinct texts.
    """
    delivered = con.sql(f"SELECT DISTINCT * FROM ({texts}) AS all_texts(delivered) WHERE delivered IS NOT NULL")
    column = delivered.to_arrow_table().column("delivered")
    table = pa.table(
        {"delivered": column, "item_text": pa.array([normalise_text(text) for text in column.to_pylist()], pa.string())}
    )
    con.register("_normalised", table)
    con.execute(f'CREATE OR REPLACE TEMP TABLE "{name}" AS FROM _normalised')
    con.unregister("_normalised")
    return len(table)
