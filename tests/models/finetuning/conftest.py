"""Language models of random weights, two layers deep, that know a few words."""

from pathlib import Path

import pytest

from tests.models.finetuning.toys import write_bert


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("models") / "tiny-bert", seed=0)


@pytest.fixture(scope="session")
def other_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("models") / "other-bert", seed=1)


@pytest.fixture(scope="session")
def near_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model to which red and blue are nearly the same, and lamp and mug, and 红 and 赤, and tree and the unknown."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = write_bert(tmp_path_factory.mktemp("models") / "near-bert", seed=0, more=("红", "赤", "灯"))
    weights = load_file(folder / "model.safetensors")
    words = (folder.parent / "vocab.txt").read_text(encoding="utf-8").split()
    table = weights["embeddings.word_embeddings.weight"]
    torch.manual_seed(2)
    for one, other in (("red", "blue"), ("lamp", "mug"), ("红", "赤"), ("tree", "[UNK]")):
        table[words.index(other)] = table[words.index(one)] + 0.05 * torch.randn(table.shape[1])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
