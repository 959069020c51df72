"""Item texts made comparable: one form for what people typed in many.

What belongs here: how a text is normalised, and the same for every distinct text of a query. Not here: which of an
item's texts is its canonical one (`pipeline/as_of.sql`).
"""

import html
import re
import unicodedata

import duckdb
import pyarrow as pa

_TAG = re.compile(r"</?[a-zA-Z!][^<>]*>")
_BETWEEN_DIGITS = re.compile(r"(?<=\d)[.,](?=\d)")
_NOT_TEXT = re.compile(r"[^\w&/.%]|_|(?<!\d)\.|\.(?!\d)|(?<!\d)%")
_SPACES = re.compile(r"\s+")


def normalise_text(text: str | None) -> str:
    """One form of a description: NFKC, no HTML, lower case; letters, digits, `&`, `/`, spaces, and `1.5`, `20%`.

    Letters of every script stay (Chinese among them); punctuation becomes a space. A text without a letter or digit
    is no text: ''.

    >>> normalise_text("  WHITE&nbsp;<b>HANGING</b> HEART T-LIGHT HOLDER!")
    'white hanging heart t light holder'
    """
    if not text:
        return ""
    plain = unicodedata.normalize("NFKC", _TAG.sub(" ", html.unescape(text))).lower()
    # lower-casing may leave combining marks apart (a dotted capital I): put them together again
    plain = unicodedata.normalize("NFKC", plain)
    plain = _SPACES.sub(" ", _NOT_TEXT.sub(" ", _BETWEEN_DIGITS.sub(".", plain))).strip()
    return plain if any(character.isalnum() for character in plain) else ""


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
