"""Networks by name: the one list of architectures. Their modules are imported when asked for; torch costs seconds."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.models.networks.network import Network

ARCHITECTURES: dict[str, tuple[str, str]] = {
    "lstm": ("lstm", "Seq2Seq"),
    "transformer": ("transformer", "PatchTransformer"),
    "mlp": ("mlp", "Mlp"),
    "quantile_mlp": ("mlp", "QuantileMlp"),
}
"""Kind → module of `pipeline.models` and class."""


def architecture(kind: str) -> "type[Network]":
    """The class of a kind of network."""
    module, name = ARCHITECTURES[kind]
    found: type[Network] = getattr(import_module(f"pipeline.models.{module}"), name)
    return found
