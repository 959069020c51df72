"""Toys for fine-tuning: a tiny BERT on disk, and a task that can be learned in seconds."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.model_settings import FineTuningSettings
from pipeline.models.finetuning.backbone import Backbone, open_backbone, padded
from pipeline.models.finetuning.heads import Head, Heads, MseHead, TextModel
from pipeline.models.finetuning.loop import Loop
from pipeline.models.finetuning.methods import adapt
from pipeline.models.finetuning.plan import Course, Task, Tunable
from pipeline.models.language_model import ModelFolder, find_language_model
from pipeline.models.networks.checkpoint import TrainingState
from pipeline.settings import LanguageModelSettings

WORDS = ["red", "blue", "tree", "lamp", "mug", "sales", "weekly", "week", "level", "price", "closed", "item", "days"]


def write_bert(folder: Path, seed: int, more: tuple[str, ...] = ()) -> Path:
    """A BERT of random weights with a WordPiece vocabulary of words and digits, and of more words."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True)
    pieces = [*"0123456789", *(f"##{digit}" for digit in range(10)), ":", ",", ".", ";"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *pieces, *more]
    words = folder.parent / "vocab.txt"
    words.write_text("\n".join(vocabulary), encoding="utf-8")
    torch.manual_seed(seed)
    BertModel(
        BertConfig(
            vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
            max_position_embeddings=96, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.2,
        )
    ).save_pretrained(folder)  # fmt: skip
    BertTokenizerFast(vocab=str(words)).save_pretrained(folder)
    return folder


def find(folder: Path) -> ModelFolder:
    return find_language_model(LanguageModelSettings(model=str(folder)))


def opened(folder: Path, **more: Any) -> Backbone:
    return open_backbone(find(folder), **more)


def quick(**more: Any) -> FineTuningSettings:
    """Settings of a fine-tuning of a moment, without dropout."""
    return FineTuningSettings(
        **{
            "dropout": 0.0, "batch_size": 8, "epochs": 1.0, "rank": 4, "virtual_tokens": 4, "top_layers": 1,
            "precision": "fp32", "learning_rate": 1e-2, "head_learning_rate": 1e-2, **more,
        }
    )  # fmt: skip


class Toy:
    """Texts of one word said red, whose number of reds is to be told: 32 examples and 8 held back."""

    def __init__(self, folder: Path, settings: FineTuningSettings, heads: dict[str, Head] | None = None) -> None:
        backbone = opened(folder)
        random = np.random.default_rng(4)
        reds = random.integers(0, 5, 40)
        texts = [" ".join(["red"] * n + ["tree", "blue"][: 1 + n % 2]) for n in reds]
        self.tokens = backbone.tokens(texts, 16)
        self.reds = torch.as_tensor(reds, dtype=torch.float32)
        torch.manual_seed(1)
        heads = heads or {"reds": MseHead(backbone.width, 1)}
        self.model = TextModel(
            adapt(backbone.network, settings, seed=3), Heads(heads, dict.fromkeys(heads, 1.0), settings.dropout)
        )

    def loss(self, index: np.ndarray) -> torch.Tensor:
        answers = self.model(*padded([self.tokens[i] for i in index], "cpu"))
        reds = self.reds[index].unsqueeze(1)
        weights = torch.ones_like(reds)
        targets = {name: (reds > 2).long() if name == "sold" else reds for name in answers}
        return self.model.heads.loss(answers, targets, dict.fromkeys(answers, weights))

    def score(self) -> float:
        return float(self.loss(np.arange(32, 40))) / 8

    def task(self, *, validate: bool = True) -> Task:
        return Task(32, lambda index: float(len(index)), self.loss, self.score if validate else None)


class Plain(Tunable):
    """No language model at all, for what the loop does with any model."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.backbone = torch.nn.Linear(6, 8)
        self.drop = torch.nn.Dropout(0.25)
        self.head = torch.nn.Linear(8, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(torch.tanh(self.backbone(features)))).squeeze(1)


def plain_task(model: Plain, *, validate: bool = True) -> Task:
    random = np.random.default_rng(6)
    features = torch.as_tensor(random.normal(size=(60, 6)), dtype=torch.float32)
    wanted = features[:, 0] - 0.5 * features[:, 1]

    def loss(index: np.ndarray) -> torch.Tensor:
        return (model(features[index]) - wanted[index]).square().sum()

    return Task(
        48, lambda index: float(len(index)), loss, (lambda: float(loss(np.arange(48, 60)))) if validate else None
    )


def state_of(model: torch.nn.Module) -> dict[str, bytes]:
    return {name: value.detach().numpy().tobytes() for name, value in model.state_dict().items()}


def course(folder: Path, **more: Any) -> Course:
    return Course(folder, "mark", **{"max_seconds": 600.0, **more})


def plain_run(
    folder: Path, *, validate: bool = True, most: int | None = None, **settings: Any
) -> tuple[Plain, TrainingState]:
    model = Plain()
    state = Loop(model, plain_task(model, validate=validate), quick(**settings), course(folder, most_steps=most)).run()
    return model, state
