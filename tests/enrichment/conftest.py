"""Small homes for enrichment: a lake with a few facts, and language models of random weights."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.lake import Lake
from pipeline.settings import CalendarSettings, ComputeSettings, LanguageModelSettings, Settings
from pipeline.tables import TABLES

WORDS = ("red", "blue", "tree", "lamp", "christmas", "heart", "mug", "bag", "box", "large", "small", "tea")


@dataclass(frozen=True)
class Shop:
    """A home with facts written straight into the lake."""

    lake: Lake

    def settings(
        self, *, country: str = "GB", calendar: CalendarSettings | None = None, model: Path | str | None = None
    ) -> Settings:
        return Settings.model_validate(
            {
                "shop": {"name": "A shop", "country": country, "timezone": "UTC", "currency": "GBP"},
                "sources": [{"mapping": "any"}],
                "calendar": calendar or CalendarSettings(),
                "language_model": LanguageModelSettings() if model is None else LanguageModelSettings(model=str(model)),
            }
        )

    def deliver(self, table: str, rows: Iterable[Sequence[object]], part: str = "part") -> None:
        """Write rows in the declared order of columns, partition columns included, as one delivery."""
        schema = TABLES[table].arrow_schema
        arrow = pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)
        with self.lake.connect() as con:
            con.register("delivered", arrow)
            self.lake.write_partitions(con, table, "SELECT * FROM delivered", part)

    def sell(
        self,
        sales: Iterable[tuple[str, date, int, float]],
        *,
        location: str = "",
        known_on: date | None = None,
        part: str = "part",
    ) -> None:
        """Sales (item, day, units, unit price), each known on its own day or on the day given."""
        rows = [
            (item, location, day, "sale", units, 1, Decimal(f"{units * price:.4f}"), known_on or day)
            for item, day, units, price in sales
        ]
        self.deliver("demand_changes", rows, part)

    def see(self, sightings: Iterable[tuple[str, str, str, int, date]], part: str = "part") -> None:
        """Sightings (item, text, origin, lines, known on)."""
        self.deliver(
            "item_sightings",
            [(item, text, "", origin, lines, day) for item, text, origin, lines, day in sightings],
            part,
        )

    def promote(
        self,
        promotions: Iterable[tuple[str, str, str, date, date, float, date]],
        file_hash: str = "f1",
        *,
        price: float | None = None,
        currency: str = "GBP",
    ) -> None:
        """Raw promotions (item, location, kind, first day, last day, share, known on) of one file, all of one price."""
        rows = [
            (*one[:6], price, None if price is None else currency, one[6], "any", file_hash, line)
            for line, one in enumerate(promotions, start=2)
        ]
        schema = TABLES["raw_promotions"].arrow_schema
        arrow = pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)
        with self.lake.connect() as con:
            self.lake.write(con, "raw_promotions", {"file_hash": file_hash}, arrow.drop_columns("file_hash"))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(Lake(tmp_path / "home", ComputeSettings(threads=1)))


@pytest.fixture(scope="session")
def new_shop(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Shop]:
    """Makes shops, each with a home of its own."""
    return lambda: Shop(Lake(tmp_path_factory.mktemp("shop") / "home", ComputeSettings(threads=1)))


@pytest.fixture(scope="module")
def shared_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop that the tests of a module read and do not change."""
    return Shop(Lake(tmp_path_factory.mktemp("shared") / "home", ComputeSettings(threads=1)))


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a BERT of random weights, 16 wide or as asked, that knows a dozen words, in a folder of its own."""

    def make(seed: int, width: int = 16) -> Path:
        import torch
        from transformers import BertConfig, BertModel, BertTokenizerFast

        folder = tmp_path_factory.mktemp("models") / "tiny-bert"
        folder.mkdir()
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
        words = folder.parent / "vocab.txt"
        words.write_text("\n".join(vocabulary), encoding="utf-8")
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=width,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=32,
        )
        BertModel(config).save_pretrained(folder)
        BertTokenizerFast(vocab=str(words)).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_model(make_model: Callable[..., Path]) -> Path:
    return make_model(0)
