"""A pretrained encoder: what a network learned from series alone, stored apart so that later trainings start from it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.models.networks.network import Network

WEIGHTS_FILE = "encoder.safetensors"
DESCRIPTION_FILE = "encoder.json"
FORMAT = 1


@dataclass(frozen=True)
class Encoder:
    """Weights of an encoder.

    Attributes:
        kind: architecture.
        as_of: night whose knowledge it was pretrained on.
        weights: name → tensor, those of `Network.encoder_parts`.
        steps: steps of pretraining.
        losses: loss at a few steps, for the curve.
    """

    kind: str
    as_of: date
    weights: Mapping[str, "Tensor"] = field(repr=False)
    steps: int = 0
    losses: tuple[float, ...] = ()

    @property
    def hash(self) -> str:
        """Hash of the weights (32 hex digits)."""
        digest = hashlib.sha256()
        for name, value in sorted(self.weights.items()):
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:32]

    def fits(self, network: "Network") -> bool:
        """Whether a network has just these weights: the same architecture, sizes and inputs."""
        wanted = {name: value.shape for name, value in encoder_weights(network).items()}
        return self.kind == network.kind and wanted == {name: value.shape for name, value in self.weights.items()}

    def put_into(self, network: "Network") -> None:
        """Set the encoder of a network that it fits."""
        network.load_state_dict(dict(self.weights), strict=False)

    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and what they are (JSON)."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: value.cpu().contiguous() for name, value in self.weights.items()}, folder / WEIGHTS_FILE)
        content = {
            "format": FORMAT,
            "kind": self.kind,
            "as_of": self.as_of.isoformat(),
            "steps": self.steps,
            "losses": list(self.losses),
        }
        (folder / DESCRIPTION_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def encoder_weights(network: "Network") -> dict[str, "Tensor"]:
    """The weights of a network's encoder, copied."""
    parts = network.encoder_parts()
    return {
        name: value.detach().cpu().clone() for name, value in network.state_dict().items() if name.startswith(parts)
    }


def load_encoder(folder: Path) -> Encoder:
    """Read back what `Encoder.save` wrote.

    Raises:
        ModelError: a file is missing, damaged or of another format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        content: dict[str, Any] = json.loads((folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ModelError(f"{folder}: an encoder of another format; the next training makes a new one")
        return Encoder(
            content["kind"],
            date.fromisoformat(content["as_of"]),
            load_file(folder / WEIGHTS_FILE),
            int(content["steps"]),
            tuple(content["losses"]),
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"{folder}: the stored encoder cannot be read ({error})") from error
