"""The LoRA adapters of a pretrained time-series model: what makes them, and their weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pipeline.errors import ModelError
from pipeline.model_settings import ChronosSettings, FineTuningSettings

DEFAULT_TARGETS = ("q", "v")
"""Query and value of the attention, by the names that both families give them."""
_ADAPTER = "default"


def adapter_config(settings: ChronosSettings, fine_tuning: FineTuningSettings) -> dict[str, Any]:
    """What makes an adapter, as JSON."""
    return {
        "rank": fine_tuning.rank,
        "alpha": fine_tuning.alpha,
        "target_modules": sorted(settings.target_modules or DEFAULT_TARGETS),
        "dropout": fine_tuning.dropout,
    }


def add_adapter(network: Any, config: Mapping[str, Any], *, seed: int = 7) -> None:
    """Put LoRA beside the layers of a network, which changes nothing that it answers until it has learned.

    Args:
        network: the network, in place; on the CPU.
        config: of `adapter_config`.
        seed: seed of the new weights.

    Raises:
        ModelError: the network has no such linear layers.
    """
    import torch
    from peft import LoraConfig, inject_adapter_in_model

    from pipeline.models.finetuning.methods import require_layers

    require_layers(network, config["target_modules"], "members.chronos.target_modules")
    lora = LoraConfig(
        r=config["rank"],
        lora_alpha=config["alpha"],
        lora_dropout=config["dropout"],
        target_modules=list(config["target_modules"]),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(lora, network, adapter_name=_ADAPTER)
    network.eval()


def adapter_weights(network: Any) -> dict[str, Any]:
    """A copy of what the adapters have learned, on the CPU."""
    from peft import get_peft_model_state_dict

    weights = get_peft_model_state_dict(network, adapter_name=_ADAPTER)
    return {name: value.detach().cpu().clone().contiguous() for name, value in weights.items()}


def set_adapter_weights(network: Any, weights: Mapping[str, Any]) -> None:
    """Undo `adapter_weights`.

    Raises:
        ModelError: they belong to other layers, or to an adapter of another size.
    """
    from peft import set_peft_model_state_dict

    expected = {name: tuple(value.shape) for name, value in adapter_weights(network).items()}
    if expected != {name: tuple(value.shape) for name, value in weights.items()}:
        raise ModelError("the stored adapter does not fit the layers of the pretrained model; train again")
    set_peft_model_state_dict(network, dict(weights), adapter_name=_ADAPTER)


@contextmanager
def adapters_untouched(network: Any) -> Iterator[None]:
    """The network as it was pretrained; what its adapters have learned comes back at the end."""
    learned = adapter_weights(network)
    set_adapter_weights(network, {name: weight * 0 for name, weight in learned.items()})
    try:
        yield
    finally:
        set_adapter_weights(network, learned)
