"""The language model under fine-tuning: a network, its tokenizer, and the vector of a text.

Encoders and decoders alike: a text's vector is the mean over its tokens. Where the model stands and which files are
trusted says `pipeline/models/language_model.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import ModelError
from pipeline.models.language_model import WAY_OUT, ModelFolder, open_language_model

_ROWS_ON_A_GPU = 64


@dataclass(frozen=True)
class Backbone:
    """A language model to fine-tune.

    Attributes:
        model_id: name, and hash of its files.
        network: transformers model in float32.
        tokenizer: its tokenizer.
        positions: most tokens that it can read.
    """

    model_id: str
    network: nn.Module
    tokenizer: Any
    positions: int

    @property
    def width(self) -> int:
        """Length of a vector."""
        return width(self.network)

    def tokens(self, texts: Sequence[str], most: int, *, keep_end: bool = False) -> list[list[int]]:
        """Token ids of texts, cut to `most`, and to what the model can read.

        Args:
            texts: texts; one without any token gets the one of an empty text, or id 0.
            most: most tokens.
            keep_end: cut the beginning rather than the end.
        """
        if not texts:
            return []
        self.tokenizer.truncation_side = "left" if keep_end else "right"
        read = self.tokenizer(list(texts), truncation=True, max_length=min(most, self.positions))["input_ids"]
        return [list(ids) or [0] for ids in read]


def open_backbone(found: ModelFolder, *, virtual_tokens: int = 0) -> Backbone:
    """Open the model of a folder for fine-tuning.

    Args:
        found: see `language_model.find_language_model`.
        virtual_tokens: positions that prefix or prompt tuning takes for itself.

    Raises:
        ModelError: files that cannot be loaded, or a model of both encoder and decoder.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a pooler that the files lack is drawn, and never read
        tokenizer, network = open_language_model(found)
    if getattr(network.config, "is_encoder_decoder", False):
        raise ModelError(
            f"{found.path}: a {network.config.model_type} has an encoder and a decoder, which fine-tuning does not know; "
            f"{WAY_OUT} of an encoder (BERT) or a decoder (GPT-2, Llama)"
        )
    longest = positions_of(network) or 512
    return Backbone(found.model_id, network.float(), tokenizer, max(longest - virtual_tokens, 1))


def positions_of(network: nn.Module) -> int | None:
    """Most tokens that a transformers model can read; None where it does not say."""
    config: Any = network.config
    longest = getattr(config.get_text_config(), "max_position_embeddings", None)
    if not longest:
        return None
    # RoBERTa, MPNet and their kin count positions from behind that of padding
    places = [m for name, m in network.named_modules() if name.endswith("position_embeddings")]
    padding = next((place.padding_idx for place in places if isinstance(place, nn.Embedding)), None)
    return int(longest) if padding is None else int(longest) - padding - 1


def width(network: nn.Module) -> int:
    """Length of a vector of a transformers model, adapted or not."""
    config: Any = network.config
    return int(config.get_text_config().hidden_size)


def padded(tokens: Sequence[Sequence[int]], device: str | torch.device) -> tuple[Tensor, Tensor]:
    """Token ids of several texts as (B, T), and which of them are there."""
    longest = max(len(ids) for ids in tokens)
    ids = torch.zeros((len(tokens), longest), dtype=torch.int64)
    mask = torch.zeros((len(tokens), longest), dtype=torch.int64)
    for row, found in enumerate(tokens):
        ids[row, : len(found)] = torch.as_tensor(found)
        mask[row, : len(found)] = 1
    return ids.to(device), mask.to(device)


def pooled(network: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens of each text, (B, D); virtual tokens, which stand before the text, do not count."""
    hidden = network(input_ids=ids, attention_mask=mask).last_hidden_state[:, -ids.shape[1] :].float()
    there = mask.unsqueeze(-1).float()
    mean: Tensor = (hidden * there).sum(1) / there.sum(1).clamp(min=1.0)
    return mean


def apart(
    compute: Callable[[Tensor, Tensor], Mapping[str, Tensor]], tokens: Sequence[Sequence[int]], device: str
) -> dict[str, Tensor]:
    """What a network says of texts, without gradient, on the CPU; of each text as it would say of that text alone.

    What a kernel computes for a row may depend on the shape and on the rows beside it, and a slice of a panel must give
    the bytes of the whole. So on the CPU every text is computed alone, which costs little there; on a GPU a batch holds
    texts of one length and is filled up. Texts of the same tokens are computed once.

    Args:
        compute: from (B, T) token ids, and which of them are there, to tensors of B rows.
        tokens: N texts, at least one.
        device: where the network is.
    """
    distinct = sorted({tuple(ids) for ids in tokens}, key=lambda ids: (len(ids), ids))
    place = {ids: number for number, ids in enumerate(distinct)}
    at_once = 1 if device == "cpu" else _ROWS_ON_A_GPU
    found: dict[str, list[Tensor]] = {}
    start = 0
    with torch.inference_mode():
        while start < len(distinct):
            length = len(distinct[start])
            rows = [n for n in range(start, min(start + at_once, len(distinct))) if len(distinct[n]) == length]
            ids = torch.tensor([distinct[n] for n in (rows * at_once)[:at_once]], device=device)
            for name, answer in compute(ids, torch.ones_like(ids)).items():
                found.setdefault(name, []).append(answer[: len(rows)].cpu())
            start += len(rows)
    at = [place[tuple(ids)] for ids in tokens]
    return {name: torch.cat(answers)[at] for name, answers in found.items()}
