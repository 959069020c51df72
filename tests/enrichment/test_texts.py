"""Item texts: encoded once each, those that a night reads, and read back as an array."""

import hashlib
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.as_of import as_of_view
from pipeline.cleaning.checkpoints import drop_checkpoints, keep_checkpoints
from pipeline.enrichment.language_model import LanguageModel, load_language_model
from pipeline.enrichment.reading import Reading, Script
from pipeline.enrichment.texts import encode_items, text_array
from pipeline.errors import HistoryError, ModelError

DAY0 = date(2017, 1, 2)


def day(n: int) -> date:
    return DAY0 + timedelta(days=n)


def encoded_texts(shop) -> list[str]:
    with shop.lake.connect() as con:
        query = f"SELECT item_text FROM ({shop.lake.select('item_text_features')}) AS f ORDER BY item_text"
        return [text for (text,) in con.execute(query).fetchall()]


@pytest.fixture
def selling(shop):
    shop.sell([(item, day(0), 1, 1.0) for item in "abcd"])
    shop.see(
        [
            ("a", "red tree", "orders", 5, day(0)),
            ("b", "blue lamp", "orders", 5, day(0)),
            ("c", "red tree", "master", 0, day(0)),
            ("x", "never sold", "master", 0, day(0)),
            ("d", "", "orders", 3, day(0)),
        ]
    )
    return shop


def test_each_text_is_encoded_once(selling, tiny_model: Path) -> None:
    settings = selling.settings(model=tiny_model)
    first = encode_items(selling.lake, settings)
    assert (first.texts, first.encoded) == (2, 2)
    assert encoded_texts(selling) == ["blue lamp", "red tree"]
    again = encode_items(selling.lake, settings)
    assert (again.texts, again.encoded, again.reading) == (0, 0, Reading())


def test_a_night_with_new_texts_encodes_those_only(selling, tiny_model: Path) -> None:
    settings = selling.settings(model=tiny_model)
    encode_items(selling.lake, settings)
    selling.sell([("e", day(1), 1, 1.0)], part="next")
    selling.see([("e", "large tea mug", "orders", 1, day(1)), ("a", "red tree", "orders", 1, day(1))], part="next")
    report = encode_items(selling.lake, settings)
    assert (report.texts, report.encoded) == (3, 1)
    assert encoded_texts(selling) == ["blue lamp", "large tea mug", "red tree"]


def test_texts_that_no_night_reads_are_not_encoded(selling, tiny_model: Path) -> None:
    selling.see([("a", "a damaged box", "orders", 2, day(3))], part="minor")
    encode_items(selling.lake, selling.settings(model=tiny_model))
    assert "a damaged box" not in encoded_texts(selling)


def test_a_text_that_only_an_earlier_night_reads_is_encoded(selling, tiny_model: Path) -> None:
    selling.see([("a", "red heart bag", "orders", 50, day(3))], part="later")
    report = encode_items(selling.lake, selling.settings(model=tiny_model))
    assert {"red tree", "red heart bag"} <= set(encoded_texts(selling))
    for night, text in ((day(2), "red tree"), (day(3), "red heart bag")):
        expected = load_language_model(selling.settings(model=tiny_model).language_model).encode([text]).vectors
        with as_of_view(selling.lake, night) as view:
            np.testing.assert_array_equal(text_array(view.con, ["a"], report.model_id), expected)


def test_a_text_that_comes_first_after_a_correction_is_encoded(selling, tiny_model: Path) -> None:
    minor = [("a", "small box", "orders", 2, day(1)), ("a", "red tree", "orders", -5, day(3))]
    selling.see(minor, part="corrected")
    report = encode_items(selling.lake, selling.settings(model=tiny_model))
    with as_of_view(selling.lake, day(3)) as view:
        assert view.con.execute("SELECT item_text FROM items WHERE item_id = 'a'").fetchall() == [("small box",)]
        assert text_array(view.con, ["a"], report.model_id).any()


def test_another_model_never_reads_the_vectors_of_the_first(
    selling, tiny_model: Path, make_model: Callable[[int], Path]
) -> None:
    first = encode_items(selling.lake, selling.settings(model=tiny_model))
    second = encode_items(selling.lake, selling.settings(model=make_model(5)))
    assert second.encoded == 2
    with as_of_view(selling.lake, day(5)) as view:
        one, two = (text_array(view.con, ["a", "b"], report.model_id) for report in (first, second))
    assert np.abs(one - two).max() > 0.01


def test_the_array_follows_the_items_asked_for(selling, tiny_model: Path) -> None:
    report = encode_items(selling.lake, selling.settings(model=tiny_model))
    with as_of_view(selling.lake, day(5)) as view:
        vectors = text_array(view.con, ["d", "b", "a", "unheard", "c", "b"], report.model_id)
        assert text_array(view.con, ["a"], "another@0").shape == (1, 0)
    assert vectors.shape == (6, 16)
    assert vectors.dtype == np.float32
    assert not vectors[[0, 3]].any()
    np.testing.assert_array_equal(vectors[1], vectors[5])
    np.testing.assert_array_equal(vectors[2], vectors[4])
    np.testing.assert_allclose(np.linalg.norm(vectors[[1, 2]], axis=1), 1, atol=1e-6)


def test_texts_in_a_language_the_model_does_not_know_are_said_plainly(shop, tiny_model: Path) -> None:
    shop.sell([("a", day(0), 1, 1.0)])
    shop.see([("a", "红色 灯笼", "master", 0, day(0))])
    report = encode_items(shop.lake, shop.settings(model=tiny_model))
    assert report.reading.unknown_share == 1
    (warning,) = report.warnings
    assert "100% of the tokens and 100% of the Chinese letters, in 1 texts" in warning
    assert "language_model.model" in warning
    assert "paraphrase-multilingual-MiniLM-L12-v2" in warning


def test_a_few_chinese_texts_in_an_english_shop_are_named_too(shop, tiny_model: Path) -> None:
    items = [f"i{number}" for number in range(40)]
    texts = [f"red tree lamp {'tea ' * number}".strip() for number in range(38)] + ["红色灯笼", "mug 月饼"]
    shop.sell([(item, day(0), 1, 1.0) for item in items])
    shop.see([(item, text, "orders", 1, day(0)) for item, text in zip(items, texts, strict=True)])
    report = encode_items(shop.lake, shop.settings(model=tiny_model))
    assert report.reading.unknown_share < 0.02
    assert report.reading.scripts == (Script("Chinese", texts=2, letters=6, unread=6),)
    assert "of 40, it does not know 100% of the Chinese letters, in 2 texts" in report.warnings[0]


def test_known_words_need_no_warning(selling, tiny_model: Path) -> None:
    report = encode_items(selling.lake, selling.settings(model=tiny_model))
    assert (report.reading.unknown_share, report.warnings) == (0, ())


def test_ten_new_texts_are_ten_that_are_encoded(selling, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    encode = LanguageModel.encode

    def noting(model: LanguageModel, texts: list[str], **more: object) -> object:
        asked.extend(texts)
        return encode(model, texts, **more)

    settings = selling.settings(model=tiny_model)
    encode_items(selling.lake, settings)
    monkeypatch.setattr(LanguageModel, "encode", noting)
    new = [f"mug {'tea ' * number}box" for number in range(10)]
    items = [f"n{number}" for number in range(30)]
    selling.sell([(item, day(1), 1, 1.0) for item in items], part="next")
    # each of them thrice, and one that is known
    seen = [(item, [*new, "red tree"][number % 11], "orders", 1, day(1)) for number, item in enumerate(items)]
    selling.see(seen, part="next")
    assert encode_items(selling.lake, settings).encoded == 10
    assert sorted(asked) == sorted(new)
    assert encode_items(selling.lake, settings).encoded == 0
    assert len(asked) == 10


def test_a_model_of_another_width_keeps_its_vectors_apart(
    selling, tiny_model: Path, make_model: Callable[..., Path]
) -> None:
    models = [tiny_model, make_model(5, width=24)]
    ids = [encode_items(selling.lake, selling.settings(model=model)).model_id for model in models]
    for model in models:
        assert encode_items(selling.lake, selling.settings(model=model)).encoded == 0, "both are kept"
    with as_of_view(selling.lake, day(5)) as view:
        arrays = [text_array(view.con, ["a", "b", "d"], model_id) for model_id in ids]
    assert [array.shape for array in arrays] == [(3, 16), (3, 24)]
    for array in arrays:
        np.testing.assert_allclose(np.linalg.norm(array, axis=1), [1, 1, 0], atol=1e-6)


def test_vectors_of_several_lengths_under_one_model_are_named(selling, tiny_model: Path) -> None:
    settings = selling.settings(model=tiny_model)
    model_id = encode_items(selling.lake, settings).model_id
    text_hash = hashlib.sha256(b"blue lamp").hexdigest()[:32]
    alien = pa.table({"text_hash": [text_hash], "item_text": ["blue lamp"], "vector": [[1.0, 0.0]]})
    with selling.lake.connect() as con:
        selling.lake.write(con, "item_text_features", {"model_id": model_id, "batch": "alien"}, alien)
    with as_of_view(selling.lake, day(5)) as view, pytest.raises(ModelError) as error:
        text_array(view.con, ["a"], model_id)
    told = f"lake/item_text_features: the folder of {model_id} holds vectors of 2 and of 16 numbers"
    assert told in str(error.value)
    # the way out that it names
    (folder,) = selling.lake.folder("item_text_features").glob("model_id=*")
    shutil.rmtree(folder)
    assert encode_items(selling.lake, settings).encoded == 2
    with as_of_view(selling.lake, day(5)) as view:
        assert text_array(view.con, ["a"], model_id).shape == (1, 16)


def test_one_text_for_a_thousand_items_is_one_vector(shop, tiny_model: Path) -> None:
    items = [f"i{number}" for number in range(1000)]
    shop.sell([(item, day(0), 1, 1.0) for item in items])
    shop.see([(item, "red mug", "orders", 1, day(0)) for item in items])
    report = encode_items(shop.lake, shop.settings(model=tiny_model))
    assert (report.texts, report.encoded) == (1, 1)
    with as_of_view(shop.lake, day(0)) as view:
        vectors = text_array(view.con, items, report.model_id)
    assert len(np.unique(vectors, axis=0)) == 1
    assert vectors.any()


def test_long_texts_are_read_from_their_beginning_and_that_is_said(shop, tiny_model: Path) -> None:
    shop.sell([("a", day(0), 1, 1.0), ("b", day(0), 1, 1.0)])
    shop.see([("a", "red " * 2500 + "tea", "master", 0, day(0)), ("b", "mug", "master", 0, day(0))])
    report = encode_items(shop.lake, shop.settings(model=tiny_model))
    assert report.reading.cut == 1
    assert report.warnings == (
        "1 of 2 item texts are longer than what is read of a text; language_model.max_tokens in almanac.yaml says how many "
        "tokens are",
    )


def test_a_killed_run_keeps_what_it_wrote(selling, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.enrichment.texts._TEXTS_PER_BATCH", 1)

    def killed(what: str, done: int, of: int) -> None:
        if done == 2:  # of the second batch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_items(selling.lake, selling.settings(model=tiny_model), progress=killed)
    assert len(encoded_texts(selling)) == 1
    assert encode_items(selling.lake, selling.settings(model=tiny_model)).encoded == 1


def test_nothing_to_encode_needs_no_network(shop, tiny_model: Path) -> None:
    report = encode_items(shop.lake, shop.settings(model=tiny_model))
    assert (report.texts, report.encoded) == (0, 0)


# --- only what is new is looked at ------------------------------------------------------------------------------------


def test_with_nothing_new_the_ledgers_are_not_read(selling, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = selling.settings(model=tiny_model)
    encode_items(selling.lake, settings)
    monkeypatch.setattr(type(selling.lake), "connect", lambda lake: pytest.fail("the lake is read"))
    assert encode_items(selling.lake, settings).texts == 0


@pytest.mark.parametrize("lost", ["vectors", "memory"])
def test_lost_vectors_are_made_again(selling, tiny_model: Path, lost: str) -> None:
    settings = selling.settings(model=tiny_model)
    model_id = encode_items(selling.lake, settings).model_id
    if lost == "vectors":
        (file,) = selling.lake.folder("item_text_features").rglob("*.parquet")
        before = file.read_bytes()
        file.unlink()
        assert encode_items(selling.lake, settings).encoded == 2
        assert file.read_bytes() == before
    else:
        (selling.lake.home / ".cache" / "texts.json").write_text("{", encoding="utf-8")
        assert encode_items(selling.lake, settings).encoded == 0
    assert encoded_texts(selling) == ["blue lamp", "red tree"]
    assert encode_items(selling.lake, settings).model_id == model_id


def test_a_quarter_that_is_summed_up_is_not_read_again(
    selling, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = selling.settings(model=tiny_model)
    selling.sell([("e", day(100), 1, 1.0)], part="second")
    selling.see([("e", "small tea bag", "orders", 1, day(100))], part="second")
    encode_items(selling.lake, settings)
    keep_checkpoints(selling.lake)
    # x was never sold; a text of its own comes first now that it is, and so does its master text
    selling.sell([("x", day(101), 1, 1.0)], part="third")
    selling.see([("x", "large box", "orders", 1, day(101)), ("a", "a bag", "orders", 6, day(101))], part="third")
    read: list[Path] = []
    select = type(selling.lake).select

    def noting(lake, table, part=None, *, files=None):
        read.extend(files or [])
        return select(lake, table, part, files=files)

    monkeypatch.setattr(type(selling.lake), "select", noting)
    assert encode_items(selling.lake, settings).encoded == 3
    assert {"large box", "a bag", "never sold"} <= set(encoded_texts(selling))
    assert not any(f"known_on={day(0)}" in str(path) for path in read)


SIGHTING = st.tuples(
    st.sampled_from("ab"),
    st.sampled_from(["red", "blue", "tree", "lamp"]),
    st.sampled_from(["orders", "orders", "master"]),
    st.integers(1, 4),
    st.integers(0, 300),
)


class StubModel:
    """Vectors of length one for any text."""

    def encode(self, texts: list[str], progress: object = None) -> SimpleNamespace:
        vectors = np.eye(len(texts), 4, dtype=np.float32)
        vectors[:, 0] = 1.0
        return SimpleNamespace(vectors=vectors, reading=Reading(texts=len(texts)))


@given(deliveries=st.lists(st.lists(SIGHTING, min_size=1, max_size=5), min_size=1, max_size=5), data=st.data())
@hypothesis_settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_text_that_a_night_reads_is_encoded_however_it_came(
    new_shop, monkeypatch: pytest.MonkeyPatch, deliveries: list, data: st.DataObject
) -> None:
    monkeypatch.setattr("pipeline.enrichment.texts.load_language_model", lambda *_, **__: StubModel())
    shop = new_shop()
    lake = shop.lake
    if data.draw(st.booleans()):
        deliveries = sorted(deliveries, key=lambda sightings: min(row[4] for row in sightings))
    nights = set()
    for number, sightings in enumerate(deliveries):
        rows: dict[tuple, int] = {}
        for item, text, origin, lines, n in sightings:
            key = (item, text, origin, day(n))
            rows[key] = 0 if origin == "master" else rows.get(key, 0) + lines
        nights |= {key[3] for key in rows}
        drop_checkpoints(lake, min(key[3] for key in rows))
        sold = [(item, when, lines, 1.0) for (item, _, origin, when), lines in rows.items() if origin == "orders"]
        if sold:
            shop.sell(
                {(item, when): (item, when, units, price) for item, when, units, price in sold}.values(),
                part=f"d{number}",
            )
        shop.see([(*key[:3], lines, key[3]) for key, lines in rows.items()], part=f"d{number}")
        keep_checkpoints(lake)
        encode_items(lake, shop.settings())
    encoded = set(encoded_texts(shop))
    for night in nights:
        try:
            with as_of_view(lake, night) as view:
                read = view.con.execute("SELECT item_text FROM items WHERE first_sold IS NOT NULL").fetchall()
        except HistoryError:
            continue
        assert {text for (text,) in read} - {""} <= encoded
