"""Folders of pretrained models: a folder on disk, or the local copy of a Hugging Face id, and what makes one safe to load.

Weights come from safetensors only, never from pickles, and nothing is fetched from the network unless the settings allow it.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError, TransientError

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True)
class Wanted:
    """A pretrained model that settings ask for.

    Attributes:
        model: folder, or Hugging Face id.
        allow_download: the id may be fetched.
        setting: section of almanac.yaml that says so.
        kind: what it is, for messages.
        files: patterns of what is fetched.
        way_out: what to do where it is not there, for messages.
    """

    model: str
    allow_download: bool
    setting: str
    kind: str
    files: tuple[str, ...]
    way_out: str

    def folder(self, home: Path | None) -> Path:
        """Where it stands.

        Args:
            home: folder that a relative path is relative to; default: the working folder.

        Raises:
            ModelError: no such folder, no such id, or an id that may not be fetched and is not there.
            TransientError: the Hub could not be reached.
        """
        given = Path(self.model).expanduser()
        path = given if given.is_absolute() or home is None else home / given
        if path.is_dir():
            return path.resolve()
        if path.is_file():
            raise ModelError(f"{path}: a file, not the folder of a {self.kind}; {self.way_out}")
        if given.is_absolute() or self.model.startswith((".", "~")) or not HUB_ID.fullmatch(self.model):
            raise ModelError(f"{path}: no such folder ({self.setting}.model in almanac.yaml); {self.way_out}")
        return self._hub(path)

    def _hub(self, path: Path) -> Path:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
        )

        try:
            return Path(
                snapshot_download(self.model, allow_patterns=list(self.files), local_files_only=not self.allow_download)
            )
        except (RepositoryNotFoundError, HFValidationError) as error:
            raise ModelError(f"{self.model}: no such {self.kind} on the Hugging Face Hub; {self.way_out}") from error
        except LocalEntryNotFoundError as error:
            if self.allow_download:
                raise TransientError(f"{self.model}: the Hugging Face Hub could not be reached; try again") from error
            raise ModelError(
                f"{self.model}: neither a folder ({path}) nor in the local Hugging Face cache; mend the path, or set "
                f"{self.setting}.allow_download: true to fetch it from the Hub, or {self.way_out}"
            ) from error
        except (HfHubHTTPError, OSError) as error:
            raise TransientError(
                f"{self.model}: fetching it from the Hub failed ({short(error)}); try again"
            ) from error


def weights_in(path: Path, way_out: str) -> list[Path]:
    """The weights of a folder: safetensors, which run no code when loaded.

    Raises:
        ModelError: there are none, or only pickles.
    """
    found = sorted(path.glob("*.safetensors"))
    if found:
        return found
    pickles = sorted(file.name for pattern in _PICKLES for file in path.glob(pattern))
    if pickles:
        raise ModelError(
            f"{path}: weights only as {', '.join(pickles)}, which may run code when loaded; load it where you trust "
            "it and save it with save_pretrained(folder, safe_serialization=True), then name that folder"
        )
    raise ModelError(f"{path}: no weights (model.safetensors) in the folder; {way_out}")


def hash_of(files: Iterable[Path], read_as: str = "") -> str:
    """12 hex digits over names and contents of files, and over how they are read."""
    digest = hashlib.sha256(read_as.encode())
    for file in files:
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()[:12]


def refuse_missing(path: Path, missing: list[str], way_out: str) -> None:
    """Refuse weights that a configuration asks for and a folder lacks.

    Raises:
        ModelError: some are missing.
    """
    if missing:
        raise ModelError(
            f"{path}: model.safetensors lacks {len(missing)} weights that config.json asks for "
            f"({', '.join(missing[:3])}, …), which would be random; fetch the folder again, or {way_out}"
        )


def quiet_transformers() -> Any:
    """The package, without its bars and warnings."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def short(error: Exception) -> str:
    """First line of an error, for a message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
