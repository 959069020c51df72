"""Reads the texts of a panel's items with a fine-tuned language model: one vector per distinct text, kept."""

from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.finetuning.backbone import Backbone, apart, pooled
from pipeline.models.finetuning.methods import trained
from pipeline.models.panel import Floats, Panel


@dataclass(frozen=True)
class TextReader:
    """A language model that reads item texts.

    Attributes:
        adapted: the model with what it learned.
        backbone: the base model's tokenizer and width.
        max_tokens: tokens of a text that are read.
        known: vectors of texts met so far.
    """

    adapted: nn.Module
    backbone: Backbone
    max_tokens: int
    known: dict[str, Floats] = field(default_factory=dict, compare=False, repr=False)

    def told(self, panel: Panel, device: str) -> Panel:
        """The panel with this model's vectors of its items' texts; zeros where an item has none."""
        texts = texts_of(panel)
        new = sorted(set(texts) - set(self.known) - {""})
        if new:
            self.adapted.to(device).eval()
            found = apart(lambda ids, mask: {"vector": unit_vectors(self.adapted, ids, mask)}, self.tokens(new), device)
            self.known.update(zip(new, found["vector"].numpy(), strict=True))
        vectors = np.zeros((panel.series, self.backbone.width), np.float32)
        for row, text in enumerate(texts):
            if text:
                vectors[row] = self.known[text]
        return replace(panel, text=vectors)

    def tokens(self, texts: list[str]) -> list[list[int]]:
        """Tokens of texts; none of an empty text."""
        read = iter(self.backbone.tokens([text for text in texts if text], self.max_tokens))
        return [next(read) if text else [] for text in texts]

    def learned(self) -> dict[str, Tensor]:
        """The weights that were trained."""
        return {name: weight.detach().cpu().clone() for name, weight in trained(self.adapted).items()}


def texts_of(panel: Panel) -> list[str]:
    """Text of each series' item, '' where there is none."""
    return [""] * panel.series if panel.item_text is None else [str(text).strip() for text in panel.item_text]


def unit_vectors(backbone: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """Pooled vectors of length 1, as item texts have elsewhere."""
    return functional.normalize(pooled(backbone, ids, mask), dim=1)
