"""What a fine-tuned forecaster stores: the weights that learned, as safetensors, and all else as JSON.

The base model is named by its id, which carries the hash of its files, and is not copied: only what was trained is, which
with `method: full` are all weights. Adapters on another base would be noise, so another base is refused.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.errors import ModelError
from pipeline.model_settings import FineTuningSettings, MemberSettings, TrainingSettings
from pipeline.models.language_model import ModelFolder, find_language_model
from pipeline.settings import LanguageModelSettings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pipeline.models.finetuning.backbone import Backbone

WEIGHTS_FILE = "tuned.safetensors"
MODEL_FILE = "tuned.json"
FORMAT = 1


def open_adapted(found: ModelFolder, settings: FineTuningSettings, seed: int) -> "tuple[Backbone, nn.Module]":
    """The language model of a folder, and the same with what learns of it.

    Raises:
        ModelError: a model that cannot be opened, or that the method cannot work with.
    """
    from pipeline.models.finetuning.backbone import open_backbone
    from pipeline.models.finetuning.methods import adapt

    takes_positions = settings.method in {"prefix", "prompt"}
    backbone = open_backbone(found, virtual_tokens=settings.virtual_tokens if takes_positions else 0)
    return backbone, adapt(backbone.network, settings, seed=seed)


class Sections(NamedTuple):
    """The settings that a forecaster was fine-tuned by.

    Attributes:
        member: of the member itself.
        fine_tuning: how.
        training: seed, validation and history.
        language_model: the base model.
    """

    member: Mapping[str, Any]
    fine_tuning: FineTuningSettings
    training: TrainingSettings
    language_model: LanguageModelSettings


def sections_to_json(
    member: MemberSettings, fine_tuning: FineTuningSettings, training: TrainingSettings, base: Mapping[str, Any]
) -> dict[str, Any]:
    """What `sections_of` reads back; `base` as of `base_to_json`."""
    return {
        "base": dict(base),
        "settings": member.model_dump(mode="json"),
        "fine_tuning": fine_tuning.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
    }


def sections_of(content: Mapping[str, Any]) -> Sections:
    """The settings of a stored forecaster."""
    return Sections(
        content["settings"],
        FineTuningSettings.model_validate(content["fine_tuning"]),
        TrainingSettings.model_validate(content["training"]),
        LanguageModelSettings(model=content["base"]["model"], max_tokens=content["base"]["max_tokens"]),
    )


def base_to_json(found: ModelFolder, settings: LanguageModelSettings) -> dict[str, Any]:
    """How to find a base model again."""
    return {
        "id": found.model_id,
        "model": settings.model,
        "path": str(found.path),
        "max_tokens": settings.max_tokens,
    }


def find_base(stored: Mapping[str, Any], folder: Path) -> ModelFolder:
    """The base model of a stored forecaster, where it stood or under its name.

    Args:
        stored: of `base_to_json`.
        folder: folder of the forecaster, for messages.

    Raises:
        ModelError: it is not there any more, or is another one.
    """
    path = Path(stored["path"])
    settings = LanguageModelSettings(
        model=str(path) if path.is_dir() else stored["model"], max_tokens=stored["max_tokens"]
    )
    found = find_language_model(settings)
    if found.model_id.rsplit("@", 1)[-1] != stored["id"].rsplit("@", 1)[-1]:
        raise ModelError(
            f"{folder}: was fine-tuned from {stored['id']}, but {path} holds {found.model_id}; put the former back, or "
            "train again"
        )
    return found


def write(folder: Path, weights: "Mapping[str, Tensor]", content: Mapping[str, Any]) -> None:
    """Write both files.

    Args:
        folder: empty or new.
        weights: weights by name.
        content: what `read` gives back.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: w.detach().cpu().contiguous() for name, w in weights.items()}, folder / WEIGHTS_FILE)
    text = json.dumps({**content, "format": FORMAT}, indent=1)
    (folder / MODEL_FILE).write_text(text + "\n", encoding="utf-8")


def read(folder: Path, kind: str) -> "tuple[dict[str, Any], dict[str, Tensor]]":
    """Read what `write` wrote.

    Raises:
        ModelError: a file is missing, damaged, of another kind or format.
    """
    from safetensors.torch import load_file

    with naming(folder, kind):
        content = json.loads((folder / MODEL_FILE).read_text(encoding="utf-8"))
        if content.get("kind") != kind or content.get("format") != FORMAT:
            raise ModelError(f"{folder / MODEL_FILE}: no {kind} of format {FORMAT}; train again with this version")
        return content, load_file(folder / WEIGHTS_FILE)


@contextmanager
def naming(folder: Path, kind: str) -> Iterator[None]:
    """Inside, what cannot be made of the content of a folder is said with its name.

    Args:
        folder: folder of the forecaster.
        kind: what it should hold.

    Raises:
        ModelError: the content is not what `write` wrote.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise ModelError(f"{folder}: the stored {kind} cannot be read ({error}); train again") from error
