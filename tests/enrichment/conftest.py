"""Small homes for enrichment: a lake with a few sales, and a language model of random weights."""

from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.lake import Lake
from pipeline.settings import CalendarSettings, ComputeSettings, LanguageModelSettings, Settings
from pipeline.tables import TABLES

WORDS = ("red", "blue", "tree", "lamp", "christmas", "heart", "mug", "bag", "box", "large", "small", "tea")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path, ComputeSettings(threads=1))


def settings_of(calendar: CalendarSettings | None = None, model: str | None = None, country: str = "GB") -> Settings:
    return Settings.model_validate(
        {
            "shop": {"name": "A shop", "country": country, "timezone": "UTC", "currency": "GBP"},
            "sources": [{"mapping": "any"}],
            "calendar": calendar or CalendarSettings(),
            "language_model": LanguageModelSettings() if model is None else LanguageModelSettings(model=model),
        }
    )


def rows_table(name: str, rows: Iterable[Sequence[object]]) -> pa.Table:
    """An Arrow table of a declared table's columns, in their order."""
    schema = TABLES[name].arrow_schema
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)


def deliver(lake: Lake, name: str, rows: Iterable[Sequence[object]], part: str = "part") -> None:
    """Write rows, partition columns included, as one delivery."""
    with lake.connect() as con:
        con.register("delivered", rows_table(name, rows))
        lake.write_partitions(con, name, "SELECT * FROM delivered", part)


def sell(
    lake: Lake, sales: Iterable[tuple[str, date, int, float]], *, known_on: date | None = None, part: str = "part"
) -> None:
    """Sales (item, day, units, unit price), each known on its own day or on the day given."""
    deliver(
        lake,
        "demand_changes",
        [(item, "", day, "sale", units, 1, str(units * price), known_on or day) for item, day, units, price in sales],
        part,
    )


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of random weights, 16 wide, that knows a dozen words."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny-bert", seed=0)


def make_tiny_model(folder: Path, seed: int) -> Path:
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    return folder
