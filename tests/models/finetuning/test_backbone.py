"""Language models to fine-tune: what is opened, what is refused, and vectors of texts."""

import shutil

import pytest
import torch
from transformers import T5Config, T5Model

from pipeline.errors import ModelError
from pipeline.models.finetuning.backbone import apart, open_backbone, padded, pooled
from pipeline.models.language_model import find_language_model
from pipeline.settings import LanguageModelSettings
from tests.models.finetuning.toys import find, opened


def test_a_folder_with_a_pickle_only_is_refused(bert_folder, tmp_path):
    folder = shutil.copytree(bert_folder, tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"weights only as pytorch_model\.bin.*safe_serialization=True"):
        opened(folder)


def test_an_id_is_not_fetched_unasked(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"language_model\.allow_download: true"):
        find_language_model(LanguageModelSettings(model="someone/some-bert"))


def test_a_model_of_encoder_and_decoder_is_refused(bert_folder, tmp_path):
    folder = shutil.copytree(bert_folder, tmp_path / "t5")
    T5Model(
        T5Config(vocab_size=45, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
    ).save_pretrained(folder)
    with pytest.raises(ModelError, match=r"an encoder and a decoder.*language_model\.model"):
        open_backbone(find(folder))


@pytest.mark.parametrize(
    "kind", ["bert", "roberta", "xlm-roberta", "camembert", "mpnet"], ids=lambda kind: kind.replace("-", "_")
)
def test_texts_are_cut_to_the_positions_that_a_model_has(bert_folder, tmp_path, kind):
    """RoBERTa and its kin count positions from behind the padding token."""
    from transformers import AutoConfig, AutoModel

    from pipeline.enrichment.language_model import load_language_model

    folder = shutil.copytree(bert_folder, tmp_path / kind)
    AutoModel.from_config(
        AutoConfig.for_model(
            kind, vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=20, pad_token_id=1,
        )
    ).save_pretrained(folder)  # fmt: skip
    positions = 20 if kind == "bert" else 18
    text = " ".join(["red tree"] * 20)
    backbone = opened(folder)
    tokens = backbone.tokens([text], 500)
    assert len(tokens[0]) == positions
    assert bool(torch.isfinite(pooled(backbone.network, *padded(tokens, "cpu"))).all())
    read = load_language_model(LanguageModelSettings(model=str(folder), max_tokens=500))
    assert read.max_tokens == positions
    assert read.encode([text]).vectors.any()


def test_texts_are_cut_at_the_end_or_at_the_beginning(bert_folder):
    backbone = opened(bert_folder)
    words = " ".join(["red", "blue", "tree", "lamp"] * 40)
    assert len(backbone.tokens([words], 500)[0]) == 96
    front, back = backbone.tokens([words], 5)[0], backbone.tokens([words], 5, keep_end=True)[0]
    assert front[:3] == backbone.tokens(["red blue tree"], 9)[0][:3][:1] + front[1:3]
    assert back[-2] == backbone.tokens(["lamp"], 9)[0][1]
    assert len(opened(bert_folder, virtual_tokens=6).tokens([words], 500)[0]) == 90
    assert backbone.tokens([], 5) == []


def test_a_vector_is_the_mean_over_the_text_s_tokens(bert_folder):
    backbone = opened(bert_folder)
    network = backbone.network.eval()
    tokens = backbone.tokens(["red tree", "blue lamp mug red tree"], 20)
    with torch.no_grad():
        hidden = network(input_ids=torch.tensor([tokens[0]])).last_hidden_state[0]
        together = pooled(network, *padded(tokens, "cpu"))
    torch.testing.assert_close(together[0], hidden.mean(0), atol=1e-5, rtol=1e-4)


def test_vectors_have_the_same_bytes_whatever_stands_beside_a_text(bert_folder):
    backbone = opened(bert_folder)
    tokens = backbone.tokens(["red tree", "blue", "red red", "red tree", "closed"], 20)
    network = backbone.network.eval()

    def vectors(some):
        return apart(lambda ids, mask: {"vector": pooled(network, ids, mask)}, some, "cpu")["vector"]

    together = vectors(tokens)
    alone = torch.cat([vectors([ids]) for ids in tokens])
    assert together.numpy().tobytes() == alone.numpy().tobytes()
    assert torch.equal(together[0], together[3])


def test_half_precision_weights_are_trained_in_single(bert_folder, tmp_path):
    from transformers import AutoModel

    folder = shutil.copytree(bert_folder, tmp_path / "half")
    AutoModel.from_pretrained(bert_folder).half().save_pretrained(folder)
    assert {weight.dtype for weight in opened(folder).network.parameters()} == {torch.float32}
