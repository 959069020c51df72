"""How well a model reads texts: said for each script apart, whatever the kind of its vocabulary."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from pipeline.enrichment.language_model import load_language_model
from pipeline.enrichment.reading import MULTILINGUAL, Reading, Script, reading_of, script_of
from pipeline.settings import LanguageModelSettings

CHINESE = ["中秋月饼礼盒", "春节红灯笼 大号", "双11女士羽绒服冬季加厚", "儿童保温杯500ml", "苹果手机壳"]


def wrapped(tokenizer: Tokenizer) -> Callable[[list[str]], Reading]:
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>")
    return lambda texts: reading_of(fast, texts, fast(texts, truncation=True, max_length=24))


@pytest.fixture(scope="module")
def shipped() -> Callable[[list[str]], Reading]:
    return load_language_model(LanguageModelSettings()).reading


def test_the_shipped_model_says_that_it_reads_no_chinese(shipped) -> None:
    reading = shipped(CHINESE + [f"red mug {number}" for number in range(95)])
    assert reading.unknown_share < 0.1, "over all texts it would not show"
    (script,) = reading.scripts
    assert (script.name, script.texts, script.letters) == ("Chinese", 5, 33)
    assert script.unread_share > 0.6
    (warning,) = reading.warnings("minilm@0")
    assert all(name in warning for name in ("minilm@0", "Chinese letters, in 5 texts", *MULTILINGUAL))


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("クリスマスツリー", "Japanese"),
        ("크리스마스 트리", "Korean"),
        ("δώρο χριστουγέννων", "Greek"),
        ("рождественская ёлка", "Cyrillic"),
    ],
)
def test_words_spelled_out_letter_by_letter_are_not_read_though_no_token_is_unknown(shipped, text, script) -> None:
    reading = shipped([text])
    assert reading.unknown_tokens == 0
    assert reading.scripts[0].name == script
    assert reading.scripts[0].unread_share > 0.5
    assert reading.warnings("m")


@pytest.mark.parametrize("text", ["red mug", "café crème", "weihnachtsbaum grün", "β carotene", "1.5 l / 20%"])
def test_latin_texts_and_a_lone_letter_need_no_word(shipped, text) -> None:
    assert shipped([text]).warnings("m") == ()


def test_letters_that_come_as_bytes_are_not_read() -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, special_tokens=["<s>", "<unk>"])
    tokenizer.train_from_iterator(["red mug with hearts"] * 10, trainer)
    reading = wrapped(tokenizer)(["月饼 mug"])
    assert reading.unknown_tokens == 0
    assert reading.scripts == (Script("Chinese", texts=1, letters=2, unread=2),)


def test_a_model_that_reads_chinese_is_not_blamed() -> None:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=60, unk_token="<unk>", special_tokens=["<s>", "<unk>"])
    tokenizer.train_from_iterator([*CHINESE, "中秋 月饼", "礼盒"] * 10, trainer)
    reading = wrapped(tokenizer)(["中秋月饼礼盒", "月饼"])
    assert reading.scripts == (Script("Chinese", texts=2, letters=8, unread=0),)
    assert reading.warnings("m") == ()


def test_readings_of_different_texts_add_up(shipped) -> None:
    parts = shipped(CHINESE[:2]) + shipped(["red mug", *CHINESE[2:]])
    assert parts == shipped(["red mug", *CHINESE])


@pytest.mark.parametrize(
    ("letter", "script"), [("中", "Chinese"), ("々", "Chinese"), ("ー", "Japanese"), ("é", ""), ("a", ""), ("☕", "")]
)
def test_letters_have_a_script(letter: str, script: str) -> None:
    assert script_of(letter) == script


def test_without_texts_there_is_nothing_to_say(tiny_model: Path) -> None:
    reading = load_language_model(LanguageModelSettings(model=str(tiny_model))).reading([])
    assert reading == Reading()
    assert reading.warnings("m") == ()
