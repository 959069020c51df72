"""A language model tuned on the seasons of items reads which of them sell in December, and launches read seasons by it."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.errors import HistoryError
from pipeline.model_settings import LaunchesSettings, TrainingSettings
from pipeline.models.base import Compute
from pipeline.models.launches.facts import Facts
from pipeline.models.launches.forecaster import Launches, load_launches
from pipeline.models.seasons import tuned
from pipeline.models.seasons.library import SeasonLibrary
from pipeline.models.seasons.sums import SeasonSums
from pipeline.models.seasons.tuned import SeasonTuning, load_tuned
from pipeline.settings import LanguageModelSettings
from tests.models import launching_shop as generated
from tests.models.finetuning.toys import quick

CPU = Compute(threads=1)
NOUNS = ("lamp", "mug", "tree")


@pytest.fixture(scope="module")
def panel():
    """Items in red sell in December, whatever they are; their vectors say nothing of it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(generated, "DECEMBER", (1.0, 1.0, 1.0, 25.0))
        shop, theme, _ = generated.launching_shop(days=500, there=220, launches=160, last=40)
    random = np.random.default_rng(0)
    colour = np.where(theme == 3, "red", "blue")
    # of one text for many items nothing would be read
    texts = [f"{one} {NOUNS[random.integers(3)]} {row}" for row, one in enumerate(colour)]
    vectors = random.normal(size=shop.text.shape)
    return replace(
        shop,
        item_text=np.array(texts),
        text=(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32),
    )


def tuning(folder, **fine_tuning):
    return SeasonTuning(
        LaunchesSettings(on=True, tune=True, max_seconds=600),
        quick(**{"epochs": 6, "learning_rate": 5e-3, **fine_tuning}),
        LanguageModelSettings(model=str(folder)),
        seed=7,
    )


@pytest.fixture(scope="module")
def words(panel, bert_folder, tmp_path_factory):
    return tuning(bert_folder).fit(panel, folder=tmp_path_factory.mktemp("fit"), compute=CPU)


@pytest.fixture(scope="module")
def fitted(panel, bert_folder, tmp_path_factory):
    forecaster = Launches(TrainingSettings(), tuning(bert_folder))
    return forecaster.fit(panel, folder=tmp_path_factory.mktemp("launches"), compute=CPU)


def test_items_that_it_did_not_learn_are_told_by_it(panel, words):
    sums = SeasonSums.of(Facts(panel))
    unseen = words.unseen(panel.item_id)
    learned, asked = np.flatnonzero(~unseen), np.flatnonzero(unseen)
    assert len(learned) > 200
    assert len(asked) > 20
    red = np.char.startswith(panel.item_text[asked], "red")
    nobody = np.full(len(asked), -1)
    auc = []
    for of in (panel, words.told(panel)):
        library = SeasonLibrary.of(sums, learned, of, seed=7)
        december = library.told(of.text[learned], of.text[asked], nobody)[:, 11]
        auc.append(roc_auc_score(red, december))
    assert auc[0] < 0.75
    assert auc[1] > 0.95


def test_read_back_it_gives_the_same_bytes(panel, words, tmp_path):
    words.save(tmp_path)
    again = load_tuned(tmp_path, CPU)
    assert again.told(panel).text.tobytes() == words.told(panel).text.tobytes()
    assert again.learned == words.learned


def test_texts_without_words_have_no_vector(panel, words):
    bare = replace(panel, item_text=np.full(panel.series, ""))
    assert not words.told(bare).text.any()


def test_of_few_items_nothing_is_learned_and_seasons_are_read_by_the_vectors_there_are(
    panel, bert_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(tuned, "LEAST_ITEMS", panel.series)
    with pytest.raises(HistoryError, match="items have a text and a season"):
        tuning(bert_folder).fit(panel, folder=tmp_path / "words", compute=CPU)
    fitted = Launches(TrainingSettings(), tuning(bert_folder)).fit(panel, folder=tmp_path / "launches", compute=CPU)
    assert fitted.tuned is None
    plain = Launches(TrainingSettings()).fit(panel, folder=tmp_path, compute=CPU)
    assert fitted.forecast(panel, 28).mean.tobytes() == plain.forecast(panel, 28).mean.tobytes()


def test_launches_read_seasons_by_it_and_levels_by_the_vectors_that_items_have(panel, fitted):
    new = panel.rows(np.flatnonzero(panel.first_sold >= panel.history))
    told = fitted.words(new)
    december = told.lifts[:, 11]
    red = np.char.startswith(new.item_text.astype(str), "red")
    assert december[red].min() > december[~red].max()
    other = replace(new, item_text=np.full(new.series, "blue mug"))
    assert fitted.words(other).level.tobytes() == told.level.tobytes()
    assert fitted.words(other).lifts.tobytes() != told.lifts.tobytes()


def test_slices_of_rows_give_the_bytes_of_the_whole(panel, fitted):
    new = panel.rows(np.flatnonzero(panel.first_sold >= panel.history))
    whole = fitted.forecast(new, 28).quantiles
    fitted.tuned.reader.known.clear()
    parts = [fitted.forecast(new.rows(rows), 28).quantiles for rows in np.array_split(np.arange(new.series), 3)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_launches_read_back_give_the_same_bytes(panel, fitted, tmp_path):
    fitted.save(tmp_path)
    again = load_launches(tmp_path, CPU)
    assert again.forecast(panel, 28).quantiles.tobytes() == fitted.forecast(panel, 28).quantiles.tobytes()
    assert again.seasons_told(panel).tobytes() == fitted.seasons_told(panel).tobytes()


def test_nothing_after_the_days_held_back_is_learned(panel, bert_folder, tmp_path, fitted):
    units = panel.units.copy()
    units[:, -28:] = 3
    other = replace(panel, units=units, units_winsorised=units)
    again = Launches(TrainingSettings(), tuning(bert_folder)).fit(other, folder=tmp_path, compute=CPU)
    assert again.tuned.told(panel).text.tobytes() == fitted.tuned.told(panel).text.tobytes()
