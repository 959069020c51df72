"""Item texts: many spellings, one form."""

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cleaning.texts import make_text_table, normalise_text


@pytest.mark.parametrize(
    ("delivered", "normalised"),
    [
        ("WHITE HANGING HEART T-LIGHT HOLDER", "white hanging heart t light holder"),
        ("  SET OF 3\tCAKE   TINS ", "set of 3 cake tins"),
        ("Tea &amp; Coffee<br/>Set", "tea & coffee set"),
        ("<p class='x'>Mug</p>", "mug"),
        ("ＡＢＣ　１２３", "abc 123"),
        ("春节红包 10个装", "春节红包 10个装"),
        ("1,5 L / 20% off.", "1.5 l / 20% off"),
        ("SIZE < 5 > 3", "size 5 3"),
        ("Café Crème", "café crème"),
        ("under_score", "under score"),
        ("?", ""),
        ("%& / .", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_a_text_has_one_form(delivered: str | None, normalised: str) -> None:
    assert normalise_text(delivered) == normalised


@given(st.text())
def test_normalising_twice_is_normalising_once(text: str) -> None:
    once = normalise_text(text)

    assert normalise_text(once) == once
    assert once == once.strip()
    assert "  " not in once


def test_every_distinct_text_is_normalised_once() -> None:
    with duckdb.connect() as con:
        made = make_text_table(con, "texts", "SELECT ['A MUG', 'a mug', NULL][1 + i % 3] FROM range(300) AS r(i)")

        assert made == 2
        assert con.execute("SELECT delivered, item_text FROM texts ORDER BY 1").fetchall() == [
            ("A MUG", "a mug"),
            ("a mug", "a mug"),
        ]
