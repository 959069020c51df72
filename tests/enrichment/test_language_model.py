"""The language model: its id, its vectors, and what it refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.enrichment.language_model import find_language_model, load_language_model
from pipeline.errors import ModelError
from pipeline.settings import LanguageModelSettings


def of(model: Path | str, **more: object) -> LanguageModelSettings:
    return LanguageModelSettings.model_validate({"model": str(model), **more})


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model to break."""
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def test_vectors_have_length_one_and_do_not_depend_on_company(tiny_model: Path) -> None:
    model = load_language_model(of(tiny_model))
    texts = ["red tree", "small blue lamp heart mug", "tea", "red tree"]
    together = model.encode(texts).vectors
    assert together.shape == (4, 16)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    alone = np.concatenate([model.encode([text]).vectors for text in texts])
    np.testing.assert_array_equal(together, alone)


def test_vectors_are_the_mean_over_the_tokens(tiny_model: Path) -> None:
    import torch

    model = load_language_model(of(tiny_model))
    read = model.tokenizer("red tree", return_tensors="pt")
    with torch.no_grad():
        mean = model.network(**read).last_hidden_state[0].mean(dim=0).numpy()
    np.testing.assert_allclose(model.encode(["red tree"]).vectors[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_unknown_tokens_are_counted(tiny_model: Path) -> None:
    reading = load_language_model(of(tiny_model)).encode(["red tree", "红 灯笼", "purple"]).reading
    assert (reading.tokens, reading.unknown_tokens) == (6, 4)


def test_long_texts_are_cut(tiny_model: Path) -> None:
    model = load_language_model(of(tiny_model, max_tokens=8))
    vectors = model.encode(["red " * 6, "red " * 6 + "tree " * 100]).vectors
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert load_language_model(of(tiny_model, max_tokens=512)).max_tokens == 32


def test_the_id_changes_with_weights_and_reading_and_not_with_place(
    tiny_model: Path, copy: Path, make_model: Callable[[int], Path]
) -> None:
    here = find_language_model(of(tiny_model)).model_id
    assert here.startswith("tiny-bert@")
    assert find_language_model(of(copy)).model_id.split("@")[1] == here.split("@")[1]
    assert find_language_model(of(make_model(1))).model_id != here
    assert find_language_model(of(tiny_model, max_tokens=12)).model_id != here
    assert find_language_model(of(tiny_model, batch_size=8)).model_id == here
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}), encoding="utf-8")
    assert find_language_model(of(copy)).model_id.split("@")[1] != here.split("@")[1]


def test_a_relative_folder_is_the_homes(copy: Path) -> None:
    assert find_language_model(of("copy"), home=copy.parent).path == copy


@pytest.mark.parametrize("model", ["/no/such/folder", "./nowhere", "~/nowhere", "a/b/c"])
def test_an_unknown_folder_is_named(model: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no such folder .*set language_model\.model in almanac\.yaml") as raised:
        find_language_model(of(model), home=tmp_path)
    assert Path(model).name in str(raised.value)


def test_a_hub_id_is_not_fetched_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"some-one/no-such-model: neither a folder .*allow_download: true"):
        find_language_model(of("some-one/no-such-model"), home=tmp_path)


def test_a_file_is_no_model(copy: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json: a file, not the folder"):
        find_language_model(of(copy / "config.json"))


def test_a_folder_without_config_or_tokenizer_says_what_is_missing(copy: Path) -> None:
    (copy / "config.json").unlink()
    (copy / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=rf"{copy}: .*config\.json and a tokenizer .* missing"):
        find_language_model(of(copy))


def test_a_folder_without_a_tokenizer_is_named_with_the_way_out(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    with pytest.raises(ModelError) as error:
        load_language_model(of(copy))
    assert str(copy) in str(error.value)
    assert "a tokenizer (tokenizer.json or vocab.txt) missing" in str(error.value)
    assert "set language_model.model in almanac.yaml" in str(error.value)


def test_pickled_weights_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match=rf"{copy}: weights only as pytorch_model\.bin, .*safe_serialization=True"):
        load_language_model(of(copy))


def test_a_folder_without_weights_is_refused(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no weights \(model\.safetensors\)"):
        load_language_model(of(copy))


def test_broken_weights_are_refused(copy: Path) -> None:
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelError, match=rf"{copy}: cannot be loaded as a language model"):
        load_language_model(of(copy))


def test_weights_of_another_width_than_the_config_says_are_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps(config | {"hidden_size": 24}), encoding="utf-8")
    with pytest.raises(ModelError, match=rf"{copy}: cannot be loaded as a language model .*set language_model\.model"):
        load_language_model(of(copy))


def test_a_broken_config_is_refused(copy: Path) -> None:
    (copy / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=rf"{copy}: cannot be loaded as a language model"):
        load_language_model(of(copy))


def test_weights_that_the_config_asks_for_and_the_file_lacks_are_refused(copy: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "attention" not in name}
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks \d+ weights .*would be random"):
        load_language_model(of(copy))


def test_a_decoder_reads_texts_too(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2Model, PreTrainedTokenizerFast

    folder = tmp_path / "tiny-gpt"
    words = {"<end>": 0, "<unk>": 1, "red": 2, "tree": 3, "lamp": 4}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>").save_pretrained(folder)
    GPT2Model(GPT2Config(vocab_size=5, n_embd=8, n_layer=1, n_head=2, n_positions=16)).save_pretrained(folder)
    model = load_language_model(of(folder))
    together = model.encode(["red tree lamp", "lamp"]).vectors
    assert together.shape == (2, 8)
    np.testing.assert_array_equal(together[1], model.encode(["lamp"]).vectors[0])


@pytest.mark.slow
def test_the_shipped_model_knows_what_is_alike() -> None:
    model = load_language_model(LanguageModelSettings())
    vectors = model.encode(["christmas tree decoration", "xmas bauble", "garden watering can"]).vectors
    assert vectors.shape == (3, 384)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.1
