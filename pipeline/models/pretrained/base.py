"""The pretrained model itself: where it stands, whether it can be trusted, and how it is loaded.

Chronos-2 and Chronos-Bolt, through the extra `chronos-forecasting`. Weights come from safetensors only, and nothing is
fetched from the network unless the settings allow it. A model's id carries the hash of its files: what was made with
one model is never used with another.
"""

import hashlib
import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import ModelError, TransientError
from pipeline.model_settings import ChronosSettings

Family = Literal["chronos-2", "chronos-bolt"]

_FAMILIES: dict[str, Family] = {"Chronos2Pipeline": "chronos-2", "ChronosBoltPipeline": "chronos-bolt"}
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_SHARED_WEIGHT = "embed_tokens.weight"
"""Chronos-Bolt's encoder and decoder share one embedding, which is stored once under another name."""
_WAY_OUT = (
    "set members.chronos.model in almanac.yaml to the folder, or the Hugging Face id, of Chronos-2 or Chronos-Bolt"
)


@dataclass(frozen=True)
class BaseModel:
    """A pretrained model on disk.

    Attributes:
        model: what the settings call it.
        path: folder with config.json and safetensors.
        model_id: its name and the hash of its files.
        family: which of the two kinds.
    """

    model: str
    path: Path
    model_id: str
    family: Family


@dataclass(frozen=True)
class Pretrained:
    """A loaded pretrained model.

    Attributes:
        base: where it stands and what it is.
        pipeline: the pipeline of `chronos-forecasting` around its network.
    """

    base: BaseModel
    pipeline: Any

    @property
    def network(self) -> Any:
        """The torch module."""
        return self.pipeline.model

    @property
    def levels(self) -> list[float]:
        """Levels of the quantiles that it states."""
        return [float(level) for level in self.pipeline.quantiles]


def require_chronos() -> None:
    """Refuse to go on without the extra.

    Raises:
        ModelError: it is not installed.
    """
    if importlib.util.find_spec("chronos") is None:
        raise ModelError(
            "the forecaster chronos needs the package chronos-forecasting, which is not installed; "
            "pip install almanac[chronos], or set members.chronos.on: false in almanac.yaml"
        )


def find_base(settings: ChronosSettings, home: Path | None = None) -> BaseModel:
    """Where the model of the settings stands, checked, and its id; loads nothing.

    Args:
        settings: `members.chronos` of a home's settings.
        home: folder that a relative path is relative to; default: the working folder.

    Raises:
        ModelError: no such model, a folder without config or safetensors, or a model of another kind.
        TransientError: the Hub could not be reached.
    """
    return base_in(_folder(settings, home), settings.model)


def base_in(path: Path, model: str) -> BaseModel:
    """The model in a folder, checked.

    Args:
        path: the folder.
        model: what the settings call it.

    Raises:
        ModelError: a folder without config or safetensors, or a model of another kind.
    """
    family = _family(path)
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        pickles = sorted(file.name for pattern in _PICKLES for file in path.glob(pattern))
        if pickles:
            raise ModelError(
                f"{path}: weights only as {', '.join(pickles)}, which may run code when loaded; load it where you trust "
                "it and save it with save_pretrained(folder), then name that folder in members.chronos.model"
            )
        raise ModelError(f"{path}: no weights (model.safetensors) in the folder; {_WAY_OUT}")
    digest = hashlib.sha256()
    for file in (path / "config.json", *weights):
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return BaseModel(model, path, f"{Path(model).name}@{digest.hexdigest()[:12]}", family)


def load_base(base: BaseModel) -> Pretrained:
    """Load a model on the CPU in single precision, for inference.

    Raises:
        ModelError: the extra is not installed, or files that cannot be loaded.
    """
    require_chronos()
    import torch
    import transformers
    from chronos import Chronos2Pipeline, ChronosBoltPipeline
    from chronos.chronos2 import Chronos2Model
    from chronos.chronos_bolt import ChronosBoltModelForForecasting
    from safetensors import SafetensorError, safe_open

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model_class, pipeline_class = (
        (Chronos2Model, Chronos2Pipeline)
        if base.family == "chronos-2"
        else (ChronosBoltModelForForecasting, ChronosBoltPipeline)
    )
    try:
        stored: set[str] = set()
        for file in base.path.glob("*.safetensors"):
            with safe_open(file, framework="pt") as weights:
                stored.update(weights.keys())
        network = model_class.from_pretrained(
            base.path, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AssertionError, SafetensorError) as error:
        raise ModelError(f"{base.path}: cannot be loaded as {base.family} ({_short(error)}); {_WAY_OUT}") from error
    missing = sorted(name for name in network.state_dict() if name not in stored and not name.endswith(_SHARED_WEIGHT))
    if missing:
        raise ModelError(
            f"{base.path}: model.safetensors lacks {len(missing)} weights that config.json asks for "
            f"({', '.join(missing[:3])}, …), which would be random; fetch the folder again, or {_WAY_OUT}"
        )
    if base.family == "chronos-bolt":
        network._input_embed_layer = "shared"  # PEFT asks for it, and transformers does not find it by itself
    network.eval().requires_grad_(False)
    return Pretrained(base, pipeline_class(model=network))


def available(device: str) -> str:
    """The device asked for, or the CPU where a model trained on a GPU meets a machine without one."""
    import torch

    return device if device == "cpu" or torch.cuda.is_available() else "cpu"


def _family(path: Path) -> Family:
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        kind = str(
            config.get("chronos_pipeline_class", "ChronosPipeline" if "chronos_config" in config else "no Chronos")
        )
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{path}: no config.json that can be read ({_short(error)}); {_WAY_OUT}") from error
    if kind not in _FAMILIES:
        raise ModelError(f"{path}: its config.json describes {kind}, not one of {', '.join(_FAMILIES)}; {_WAY_OUT}")
    return _FAMILIES[kind]


def _folder(settings: ChronosSettings, home: Path | None) -> Path:
    """The folder that the settings mean: a folder, or the local copy of a Hub id."""
    given = Path(settings.model).expanduser()
    path = given if given.is_absolute() or home is None else home / given
    if path.is_dir():
        return path.resolve()
    if path.is_file():
        raise ModelError(f"{path}: a file, not the folder of a pretrained model; {_WAY_OUT}")
    if given.is_absolute() or settings.model.startswith((".", "~")) or not _HUB_ID.fullmatch(settings.model):
        raise ModelError(f"{path}: no such folder (members.chronos.model in almanac.yaml); {_WAY_OUT}")
    return _hub(settings, path)


def _hub(settings: ChronosSettings, path: Path) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return Path(
            snapshot_download(
                settings.model,
                allow_patterns=["config.json", "*.safetensors", "*.safetensors.index.json"],
                local_files_only=not settings.allow_download,
            )
        )
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelError(f"{settings.model}: no such model on the Hugging Face Hub; {_WAY_OUT}") from error
    except LocalEntryNotFoundError as error:
        if settings.allow_download:
            raise TransientError(f"{settings.model}: the Hugging Face Hub could not be reached; try again") from error
        raise ModelError(
            f"{settings.model}: neither a folder ({path}) nor in the local Hugging Face cache; mend the path, or set "
            f"members.chronos.allow_download: true to fetch it from the Hub, or {_WAY_OUT}"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise TransientError(
            f"{settings.model}: fetching it from the Hub failed ({_short(error)}); try again"
        ) from error


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
