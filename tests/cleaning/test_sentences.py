"""Reviews cut into sentences."""

import pytest

from pipeline.cleaning.sentences import MOST_SENTENCES, MOST_WORDS, sentences_of


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (None, ()),
        ("", ()),
        ("   \n\t ", ()),
        ("👍👍👍", ()),
        ("Love it 😍!! Would buy again", ("love it", "would buy again")),
        ("<p>Fits <b>well</b>.</p><ul><li>soft</li><li>warm</li></ul>", ("fits well", "soft", "warm")),
        ("R&amp;D approved&nbsp;&lt;3<br/>5 &lt; 6", ("r&d approved 3", "5 6")),
        ("<script>alert('x'); go! And on.</script> fine", ("fine",)),
        ("1.5 kg, costs 2.99. Done", ("1.5 kg costs 2.99", "done")),
        ("质量很好，物流很快！包装也不错。下次再来", ("质量很好 物流很快", "包装也不错", "下次再来")),
        ("Ｆｕｌｌ　ｗｉｄｔｈ！", ("full width",)),
    ],
)
def test_texts_of_all_kinds(text, sentences):
    assert sentences_of(text) == sentences


def test_long_sentences_are_cut_and_long_reviews_are_read_to_a_point():
    words = [f"word{number}" for number in range(MOST_WORDS + 3)]
    assert sentences_of(" ".join(words)) == (" ".join(words[:MOST_WORDS]), " ".join(words[MOST_WORDS:]))
    assert [len(piece) for piece in sentences_of("好" * (MOST_WORDS + 3))] == [MOST_WORDS, 3]
    long = "It came late. " * 800
    assert len(long) > 10_000
    assert sentences_of(long) == ("it came late",) * MOST_SENTENCES


def test_a_cry_of_ten_thousand_letters_is_one_short_word():
    (piece,) = sentences_of("a" * 10_000)
    assert len(piece) < 1000
