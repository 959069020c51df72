"""The pretrained model itself: where it stands, whether it can be trusted, and how it is loaded.

Chronos-2 and Chronos-Bolt, through the extra `chronos-forecasting`. A model's id carries the hash of its files: what was made
with one model is never used with another.
"""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import ModelError
from pipeline.model_settings import ChronosSettings
from pipeline.models.model_folders import Wanted, hash_of, quiet_transformers, refuse_missing, short, weights_in

Family = Literal["chronos-2", "chronos-bolt"]

_FAMILIES: dict[str, Family] = {"Chronos2Pipeline": "chronos-2", "ChronosBoltPipeline": "chronos-bolt"}
_FILES = ("config.json", "*.safetensors", "*.safetensors.index.json")
CONTEXT_DAYS = 736
"""Days that are read at most: two years, in patches of 16. The models can read more, at twice the time for twice the days."""
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
    def context_days(self) -> int:
        """Days up to the night that are read."""
        return min(CONTEXT_DAYS, int(self.pipeline.model_context_length))

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
            "pip install chronos-forecasting (the extra chronos of Almanac's checkout), or set members.chronos.on: false in almanac.yaml"
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
    wanted = Wanted(
        settings.model, settings.allow_download, "members.chronos", "pretrained time-series model", _FILES, _WAY_OUT
    )
    return base_in(wanted.folder(home), settings.model)


def base_in(path: Path, model: str) -> BaseModel:
    """The model in a folder, checked.

    Args:
        path: the folder.
        model: what the settings call it.

    Raises:
        ModelError: a folder without config or safetensors, or a model of another kind.
    """
    family = _family(path)
    read = (path / "config.json", *weights_in(path, _WAY_OUT))
    return BaseModel(model, path, f"{Path(model).name}@{hash_of(read)}", family)


def load_base(base: BaseModel) -> Pretrained:
    """Load a model on the CPU in single precision, for inference.

    Raises:
        ModelError: the extra is not installed, or files that cannot be loaded.
    """
    require_chronos()
    import torch
    from chronos import Chronos2Pipeline, ChronosBoltPipeline
    from chronos.chronos2 import Chronos2Model
    from chronos.chronos_bolt import ChronosBoltModelForForecasting
    from safetensors import SafetensorError, safe_open

    quiet_transformers()
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
        raise ModelError(f"{base.path}: cannot be loaded as {base.family} ({short(error)}); {_WAY_OUT}") from error
    missing = sorted(name for name in network.state_dict() if name not in stored and not name.endswith(_SHARED_WEIGHT))
    refuse_missing(base.path, missing, _WAY_OUT)
    if base.family == "chronos-bolt":
        network._input_embed_layer = "shared"  # PEFT asks for it, and transformers does not find it by itself
    network.eval().requires_grad_(False)
    return Pretrained(base, pipeline_class(model=network))


def _family(path: Path) -> Family:
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        kind = str(
            config.get("chronos_pipeline_class", "ChronosPipeline" if "chronos_config" in config else "no Chronos")
        )
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{path}: no config.json that can be read ({short(error)}); {_WAY_OUT}") from error
    if kind not in _FAMILIES:
        raise ModelError(f"{path}: its config.json describes {kind}, not one of {', '.join(_FAMILIES)}; {_WAY_OUT}")
    return _FAMILIES[kind]
