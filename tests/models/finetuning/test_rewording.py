"""Other wordings while a language model learns: which words, in which windows, and each time the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.errors import ModelError
from pipeline.model_settings import FineTuningSettings
from pipeline.models.base import Compute
from pipeline.models.finetuning import loop
from pipeline.models.finetuning.backbone import Backbone, open_backbone
from pipeline.models.finetuning.distributed import Peers
from pipeline.models.finetuning.fusion_training import FusionJob, FusionTraining
from pipeline.models.finetuning.loop import Loop
from pipeline.models.finetuning.rewording import Rewording, near_words
from pipeline.models.finetuning.text_training import TextJob, TextTraining
from pipeline.models.language_model import find_language_model
from pipeline.settings import LanguageModelSettings
from tests.models.finetuning import test_fusion, test_text_regression
from tests.models.finetuning.toys import find, opened, quick
from tests.models.network_panels import shop_panel, small

CPU = Compute(threads=1)
WORDS = ["red lamp", "blue mug", "", "tree 红灯", "red tree mug lamp", "赤灯 2"]
BOTH = {"word_dropout": 0.3, "word_replacement": 0.5}
ALL = {**BOTH, "adversarial": 0.1}
KINDS = ["text_regression", "fusion"]


class Killed(BaseException):
    """What a kill looks like from inside: nothing of the training runs after it."""


def random(*seed):
    return np.random.default_rng([9, *seed])


@pytest.fixture(scope="module")
def panel():
    return replace(shop_panel(series=12, days=98), item_text=np.array(WORDS * 2, dtype=np.str_))


@pytest.fixture(scope="module")
def series(panel, near_folder, tmp_path_factory):
    """A fusion whose network a joint training goes on from."""
    return test_fusion.forecaster(near_folder, epochs=0.1).fit(panel, folder=tmp_path_factory.mktemp("f"), compute=CPU)


@pytest.fixture(params=KINDS)
def training(request, panel, near_folder, tmp_path, series):
    """Makes the training of a forecaster, with some settings."""

    def made(**settings):
        common = {"fine_tuning": quick(**settings), "training": small(), "found": find(near_folder), "folder": tmp_path}
        if request.param == "text_regression":
            settings = test_text_regression.forecaster(near_folder).settings
            return TextTraining(TextJob(panel=panel, settings=settings, **common), Peers())
        told = series.reader.told(panel, "cpu")
        tokens = series.reader.tokens(WORDS * 2)
        job = FusionJob(
            panel=told, tokens=tokens, max_tokens=24, series=series.series, max_seconds=60.0, start=None, **common
        )
        return FusionTraining(job, Peers())

    return made


def read_by(training, part):
    """Tokens of the texts that a part of a step reads."""
    return part.args[-1] if isinstance(training, TextTraining) else part.args[-1].tokens


def said_in(training, tokens):
    """What tokens say of the item, and what of its sales."""
    backbone = training.backbone if isinstance(training, TextTraining) else training.base
    said = backbone.tokenizer.batch_decode(tokens, skip_special_tokens=True)
    return [text.replace(".", " .").partition("level :")[::2] for text in said]


# --- words ------------------------------------------------------------------------------------------------------------


def test_words_have_the_neighbours_that_the_model_embeds_near_them(near_folder):
    vocabulary = ["BLUE", "Lamp", "blue", "lamp", "mug", "red", "tree", "giraffe", "灯", "红", "赤"]
    found = near_words(vocabulary, opened(near_folder))
    # the tokenizer reads BLUE and blue as one word, and giraffe as unknown
    assert found == {
        "BLUE": ("red",), "blue": ("red",), "red": ("BLUE",), "Lamp": ("mug",), "lamp": ("mug",), "mug": ("Lamp",),
        "红": ("赤",), "赤": ("红",),
    }  # fmt: skip
    assert near_words(["giraffe"], opened(near_folder)) == near_words([], opened(near_folder)) == {}


def test_neighbours_are_those_of_the_weights_at_hand(near_folder):
    backbone = opened(near_folder)
    with torch.no_grad():
        backbone.network.get_input_embeddings().weight.copy_(torch.eye(60, 32)[: len(backbone.tokenizer)])
    assert near_words(["blue", "red"], backbone) == {}


def test_a_word_of_several_tokens_has_their_mean(near_folder):
    """Tokenizers that know words behind a space only are asked so: each word has its own token there."""

    class Spaced:
        unk_token_id = 99

        def __call__(self, words, add_special_tokens):
            known = {" red": [0], " blue": [1], "red": [2, 3], "blue": [2, 4], " lamps": [5, 6], "lamps": [7, 5, 6]}
            return {"input_ids": [known[word] for word in words]}

    backbone = Backbone("", opened(near_folder).network, Spaced(), 9)
    weight = backbone.network.get_input_embeddings().weight
    with torch.no_grad():
        weight.zero_()
        weight[0, 0], weight[1, 1] = 1.0, 1.0
        weight[2, 2] = 5.0  # what both share at the beginning of a text would make them near
        weight[5, 0], weight[6, 0] = 3.0, 1.0
    assert near_words(["blue", "lamps", "red"], backbone) == {"lamps": ("red",), "red": ("lamps",)}


def test_texts_are_reworded_with_words_of_the_shop_and_an_empty_one_stays(near_folder):
    rewording = Rewording.of(WORDS, opened(near_folder), quick(**BOTH))
    seen = {rewording.reworded("red lamp 60cm", random(k)) for k in range(80)}
    assert {"red lamp 60cm", "blue mug 60cm", "lamp", "60cm", "red 60cm"} <= seen
    assert {word for text in seen for word in text.split()} == {"red", "blue", "lamp", "mug", "60cm"}
    assert {rewording.reworded("红灯", random(k)) for k in range(60)} == {"红灯", "赤灯", "红", "赤", "灯"}
    assert {rewording.reworded("", random(k)) for k in range(9)} == {""}
    assert rewording.reworded("red tree", random(1)) == rewording.reworded("red tree", random(1))


def test_each_switch_does_its_own(near_folder, monkeypatch):
    only_drops = Rewording.of(WORDS, opened(near_folder), quick(word_dropout=0.5))
    assert {only_drops.reworded("red lamp", random(k)) for k in range(40)} == {"red lamp", "red", "lamp"}
    only_replaces = Rewording.of(WORDS, opened(near_folder), quick(word_replacement=0.5))
    seen = {only_replaces.reworded("red lamp", random(k)) for k in range(40)}
    assert seen == {"red lamp", "blue lamp", "red mug", "blue mug"}
    assert Rewording.of(WORDS, opened(near_folder), FineTuningSettings()) is None


def test_a_model_that_does_not_name_its_embeddings_is_refused_by_name(near_folder):
    backbone = replace(opened(near_folder), network=torch.nn.Linear(2, 2))
    with pytest.raises(ModelError, match=r"Linear does not name.*fine_tuning\.word_replacement .*to 0"):
        Rewording.of(WORDS, backbone, quick(**BOTH))
    assert Rewording.of(WORDS, backbone, quick(word_dropout=0.1)) is not None


# --- in both forecasters ----------------------------------------------------------------------------------------------


def test_only_the_items_part_changes_and_each_part_has_words_of_its_own(training):
    made = training(**BOTH)
    index = np.arange(40)
    first, again, other = (said_in(made, read_by(made, made.loop.task.part(index, random(seed)))) for seed in (1, 1, 2))
    assert first == again != other
    assert {word for text, _ in first + other for word in text.split()} <= {
        "item", ":", ".", "red", "blue", "lamp", "mug", "tree", "红", "赤", "灯", "2",
    }  # fmt: skip
    if isinstance(made, TextTraining):
        plain = said_in(made, made.drawn.tokens[:40])
        assert all("price" in rest for _, rest in plain)
        assert [rest for _, rest in first] == [rest for _, rest in plain]
        assert [text for text, _ in first] != [text for text, _ in plain]
        assert all((text == "") == (before == "") for (text, _), (before, _) in zip(first, plain, strict=True))


def test_a_part_reads_the_same_words_each_time_that_it_is_computed(training):
    made = training(**BOTH)
    made.model.eval()
    part = made.loop.task.part(np.arange(8), random(3))
    with torch.no_grad():
        first, again, plain = part(), part(), made.loop.task.loss(np.arange(8))
    assert torch.equal(first, again)
    assert not torch.equal(first, plain)


def test_the_windows_held_back_are_read_as_they_are(training, monkeypatch):
    plain, made = training(), training(**BOTH)
    assert plain.loop.task.reworded is None
    monkeypatch.setattr(Rewording, "reworded", lambda *_: pytest.fail("reworded"))
    for one in (plain, made):
        one.model.eval()
    with torch.no_grad():
        assert plain.loop.task.score() == made.loop.task.score()
    with pytest.raises(pytest.fail.Exception, match="reworded"):
        made.loop.task.part(np.arange(8), random())


def fit(kind, folder, panel, home, compute=CPU, **tuning):
    """The learned weights of a forecaster."""
    room = test_text_regression if kind == "text_regression" else test_fusion
    fitted = room.forecaster(folder, **{"epochs": 0.3, **tuning}).fit(panel, folder=home, compute=compute)
    learned = fitted.learned() if kind == "text_regression" else fitted.reader.learned()
    return fitted, learned


@pytest.mark.parametrize("kind", KINDS)
def test_no_forecast_rewords(near_folder, panel, tmp_path, monkeypatch, kind):
    fitted, _ = fit(kind, near_folder, panel, tmp_path, **ALL)
    monkeypatch.setattr(Rewording, "reworded", lambda *_: pytest.fail("reworded"))
    whole = fitted.forecast(panel, 7, grid=True)
    assert np.isfinite(whole.grid).all()
    assert fitted.forecast(panel.rows(slice(3, 5)), 7, grid=True).grid.tobytes() == whole.grid[3:5].tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_each_switch_makes_another_training(near_folder, panel, tmp_path, kind):
    found = {}
    for switch in ("none", *ALL):
        on = {name: chance for name, chance in ALL.items() if name != switch}
        _, found[switch] = fit(kind, near_folder, panel, tmp_path / switch, epochs=0.1, **on)
    for switch in ALL:
        assert any(not torch.equal(weight, found["none"][name]) for name, weight in found[switch].items()), switch


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_training_resumes_to_the_same_bytes_with_all_switches_on(
    near_folder, panel, tmp_path, monkeypatch, kind
):
    _, whole = fit(kind, near_folder, panel, tmp_path / "whole", **ALL)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    real = Loop._train_step

    def killed(self, number, rate):
        if rate and number == 2 and self.task.score is not None:
            raise Killed
        return real(self, number, rate)

    monkeypatch.setattr(Loop, "_train_step", killed)
    with pytest.raises(Killed):
        fit(kind, near_folder, panel, tmp_path / "killed", **ALL)
    monkeypatch.setattr(Loop, "_train_step", real)
    _, resumed = fit(kind, near_folder, panel, tmp_path / "killed", **ALL)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_learn_from_the_same_words(near_folder, panel, tmp_path, kind):
    two_threads = Compute(threads=2)
    _, two = fit(kind, near_folder, panel, tmp_path / "two", two_threads, **ALL, processes=2)
    _, one = fit(kind, near_folder, panel, tmp_path / "one", CPU, **ALL, accumulate=2)
    _, plain = fit(kind, near_folder, panel, tmp_path / "plain", CPU, accumulate=2)
    apart = max(float((one[name] - two[name]).abs().max()) for name in one)
    moved = max(float((one[name] - plain[name]).abs().max()) for name in one)
    assert apart < 1e-3
    assert moved > 10 * apart


def test_the_bundled_model_has_sensible_neighbours():
    """What the least cosine was chosen by: forms of a word, colours and materials, and no chance pieces of words."""
    backbone = open_backbone(find_language_model(LanguageModelSettings()))
    shop = ["RED", "BLUE", "CARD", "CARDS", "SILVER", "GOLD", "PENDANT", "NECKLACE", "TEACUP", "CUPID", "HEART", "BAG"]
    found = near_words(sorted(shop), backbone)
    assert found["CARDS"] == ("CARD",)
    assert found["SILVER"] == ("GOLD",)
    assert found["RED"] == ("BLUE",)
    assert found["PENDANT"] == ("NECKLACE",)
    assert not {"TEACUP", "CUPID", "HEART", "BAG"} & set(found)
