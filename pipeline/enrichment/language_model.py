"""The language model that reads item texts, and its vectors; where it stands says `pipeline/models/language_model.py`.

Weights come from safetensors only, never from pickles, and no code of a model's own is run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.enrichment.reading import Reading, reading_of
from pipeline.models.base import Compute, Progress, silent
from pipeline.models.language_model import SHIPPED, ModelFolder, find_language_model, open_language_model
from pipeline.settings import LanguageModelSettings

__all__ = ["SHIPPED", "Encoded", "LanguageModel", "ModelFolder", "find_language_model", "load_language_model"]


@dataclass(frozen=True)
class Encoded:
    """Vectors of texts.

    Attributes:
        vectors: (N, D) float32, mean-pooled over tokens, of length 1.
        reading: how well the model read them.
    """

    vectors: NDArray[np.float32]
    reading: Reading


@dataclass(frozen=True)
class LanguageModel:
    """A loaded language model.

    Attributes:
        model_id: see `ModelFolder`.
        tokenizer: transformers tokenizer.
        network: transformers model, in evaluation mode on `device`.
        device: torch device.
        max_tokens: tokens of a text that are read.
        batch_size: texts encoded at once.
        mixed_precision: bf16 autocast, where the hardware has it (twice as fast, cosine to float32 above 0.9999).
    """

    model_id: str
    tokenizer: Any
    network: Any
    device: str
    max_tokens: int
    batch_size: int
    mixed_precision: bool = False

    @property
    def width(self) -> int:
        """Length D of a vector."""
        return int(self.network.config.get_text_config().hidden_size)

    def encode(self, texts: Sequence[str], *, progress: Progress = silent) -> Encoded:
        """Vectors of texts, in their order.

        A text's vector has the same bytes whatever it is encoded with, else the texts of later deliveries would reach
        those of an earlier night: every batch holds texts of one length, and is filled up to the batch size, so that
        what the hardware computes for a text depends on the text alone.
        """
        import torch

        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        if not texts:
            return Encoded(vectors, Reading())
        tokens = self._tokens(texts)
        read = tokens["input_ids"]
        by_length: dict[int, list[int]] = {}
        for index, ids in enumerate(read):
            by_length.setdefault(len(ids), []).append(index)
        by_length.pop(0, None)  # a text without any token stays a vector of zeros
        done = 0
        with torch.inference_mode(), torch.autocast(self.device, torch.bfloat16, enabled=self.mixed_precision):
            for _, rows in sorted(by_length.items()):
                for start in range(0, len(rows), self.batch_size):
                    batch = rows[start : start + self.batch_size]
                    filled = (batch * self.batch_size)[: self.batch_size]
                    ids = torch.tensor([read[index] for index in filled], device=self.device)
                    hidden = self.network(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.float()
                    mean = torch.nn.functional.normalize(hidden.mean(dim=1), dim=1)
                    vectors[batch] = mean[: len(batch)].cpu().numpy()
                    done += len(batch)
                    progress("encode texts", done, len(texts))
        return Encoded(vectors, reading_of(self.tokenizer, texts, tokens))

    def reading(self, texts: Sequence[str]) -> Reading:
        """How well the model would read texts, without encoding them."""
        return reading_of(self.tokenizer, texts, self._tokens(texts)) if texts else Reading()

    def _tokens(self, texts: Sequence[str]) -> Any:
        return self.tokenizer(list(texts), truncation=True, max_length=self.max_tokens)


def load_language_model(
    settings: LanguageModelSettings, compute: Compute | None = None, *, home: Path | None = None
) -> LanguageModel:
    """Load the model of the settings.

    Args:
        settings: `language_model` of a home's settings.
        compute: device and precision; default: the CPU.
        home: folder that a relative path is relative to; default: the working folder.

    Raises:
        ModelError: no such model, or files that cannot be loaded.
        TransientError: the Hub could not be reached.
    """
    from pipeline.models.finetuning.backbone import positions_of

    found = find_language_model(settings, home=home)
    compute = compute or Compute()
    tokenizer, network = open_language_model(found)
    return LanguageModel(
        model_id=found.model_id,
        tokenizer=tokenizer,
        network=network.eval().to(compute.device),
        device=compute.device,
        max_tokens=min(settings.max_tokens, positions_of(network) or settings.max_tokens),
        batch_size=settings.batch_size,
        mixed_precision=compute.mixed_precision,
    )
