"""Which weights of a language model learn: all, the top layers, or adapters of PEFT beside weights that stay.

Full and top layers: Howard and Ruder 2018 (ULMFiT's partial unfreezing). LoRA: Hu et al. 2021. AdaLoRA: Zhang et al. 2023,
with its orthogonality term and its budget of ranks, which PEFT leaves to the training loop. Prefix tuning: Li and Liang
2021. Prompt tuning: Lester et al. 2021.
"""

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import ModelError
from pipeline.model_settings import FineTuningSettings

_ATTENTION = (
    ("query", "value"),
    ("q_proj", "v_proj"),
    ("q_lin", "v_lin"),
    ("c_attn",),
    ("query_key_value",),
    ("qkv_proj",),
    ("Wqkv",),
    ("q", "v"),
)
"""Names of query and value, or of the layer that holds both: BERT, Llama, DistilBERT, GPT-2, NeoX, Phi, ModernBERT, T5."""
_FINAL_NORMS = ("norm", "ln_f", "final_norm", "final_layer_norm", "LayerNorm")
_POOLER = r"pooler\..*"
"""Modules that are never adapted, see `_without_pooler`."""
_ORTHOGONAL = 0.5
"""Weight of AdaLoRA's orthogonality, as in PEFT."""


def adapt(backbone: nn.Module, settings: FineTuningSettings, *, seed: int = 7) -> nn.Module:
    """Let the weights of a method learn, and no others.

    Args:
        backbone: transformers model; LoRA and AdaLoRA change it in place.
        settings: the method and its sizes.
        seed: seed of new weights.

    Returns:
        The model to train, called like the one given.

    Raises:
        ModelError: the model lacks the layers asked for, or the method cannot work with it.
    """
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(seed)
        warnings.simplefilter("ignore")
        if settings.method == "full":
            backbone.requires_grad_(True)
            _without_pooler(backbone)
            return backbone
        backbone.requires_grad_(False)
        if settings.method == "top_layers":
            return _top_layers(backbone, settings.top_layers)
        if settings.method in {"lora", "adalora"}:
            return _low_rank(backbone, settings)
        return _virtual_tokens(backbone, settings)


def trained(model: nn.Module) -> dict[str, Tensor]:
    """The weights that learn, by name: all that fine-tuning has to store."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def load_trained(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Put back the weights of `trained`.

    Raises:
        ModelError: they are not those that learn here.
    """
    mine = trained(model)
    other = sorted(set(mine) ^ set(weights)) or [n for n in mine if mine[n].shape != weights[n].shape]
    if other:
        raise ModelError(
            f"{len(other)} weights do not fit this model (the first is {other[0]}): fine_tuning or language_model in "
            "almanac.yaml changed since the training; train again, or set them back"
        )
    with torch.no_grad():
        for name, weight in mine.items():
            weight.copy_(weights[name])


def require_layers(backbone: nn.Module, targets: Iterable[str], setting: str = "fine_tuning.target_modules") -> None:
    """Refuse names that no linear layer of a model has.

    Args:
        backbone: the model, before it is adapted.
        targets: names, or ends of them.
        setting: the setting that names them, for the message.

    Raises:
        ModelError: says which there are not, and which there are.
    """
    layers = _adaptable(backbone)
    if missing := _lacking(tuple(targets), layers):
        raise ModelError(
            f"{_kind(backbone)} has no layers {', '.join(missing)} ({setting} in almanac.yaml); there are {_ends(layers)}"
        )


def base_of(model: Any) -> Any:
    """The transformers model under the adapters of PEFT, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def checkpoint_gradients(model: nn.Module, method: str) -> None:
    """Compute activations twice rather than keep them.

    Raises:
        ModelError: prefix tuning, whose keys and values transformers throws away when it computes a layer again; or a
            model that cannot do so.
    """
    way_out = "set fine_tuning.gradient_checkpointing: false in almanac.yaml"
    if method == "prefix":
        raise ModelError(f"prefix tuning does not work with gradient checkpointing; {way_out}, or use another method")
    base: Any = base_of(model)
    if not getattr(base, "supports_gradient_checkpointing", False):
        raise ModelError(f"{_kind(base)} cannot checkpoint its gradients; {way_out}")
    base.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})


class Ranks:
    """The ranks of AdaLoRA: their budget over the steps, and the term of its loss; does nothing for other methods."""

    def __init__(self, model: nn.Module) -> None:
        """Find the AdaLoRA adapters in a model."""
        # by name: importing PEFT costs seconds, also where there is no adapter of it
        self._tuner: Any = next((module for module in model.modules() if type(module).__name__ == "AdaLoraModel"), None)

    def plan(self, steps: int) -> None:
        """Spread the budget over the steps: a sixth at full rank, a third at the final one, in between it falls."""
        if self._tuner is None:
            return
        config = self._config
        config.total_step, config.tinit, config.tfinal = steps, steps // 6, steps // 3
        config.deltaT = max(1, steps // 100)

    def allocate(self, step: int, *, finite: bool = True) -> None:
        """After the optimiser's step, while the gradients are there: mask the least important ranks.

        Args:
            step: the step, counted from 1.
            finite: the gradients are numbers; others say nothing of what is important.
        """
        if self._tuner is None or self._config.init_r == self._config.target_r:
            return
        allocator, settles = self._tuner.rankallocator, self._config.total_step - self._config.tfinal
        if finite:
            self._fill_gradients()
        if step < settles:
            if finite:
                self._tuner.update_and_allocate(step)
        elif step > settles and self._settled:
            self._tuner.update_and_allocate(step)
        elif allocator.ipt or finite:
            # the step that settles them, or a later one where that was left out or knew nothing
            if not allocator.ipt:
                allocator.update_ipt(self._tuner.model)
            self._tuner.update_and_allocate(settles)

    def _fill_gradients(self) -> None:
        """Zeros for adapters without a gradient, where a batch held no text: PEFT reads the gradients of all."""
        for name, weight in self._tuner.model.named_parameters():
            if "lora_" in name and weight.grad is None:
                weight.grad = torch.zeros_like(weight)

    @property
    def _settled(self) -> bool:
        """No more ranks are kept than shall be in the end."""
        kept = self._config.rank_pattern
        return kept is not None and sum(map(sum, kept.values())) <= self._tuner.rankallocator.target_bgt

    def forget(self) -> None:
        """Begin anew to measure what is important, after the weights were set back."""
        if self._tuner is not None:
            self._tuner.rankallocator.reset_ipt()

    def penalty(self) -> Tensor | None:
        """How far the adapters' sides are from orthogonal, weighted; part of the loss."""
        if self._tuner is None:
            return None
        sides = [(n, p) for n, p in self._tuner.model.named_parameters() if "lora_A." in n or "lora_B." in n]
        gaps = []
        for name, side in sides:
            product = side @ side.T if "lora_A." in name else side.T @ side
            gaps.append(torch.linalg.matrix_norm(product - torch.eye(len(product), device=side.device)))
        return _ORTHOGONAL * torch.stack(gaps).mean()

    def state(self) -> dict[str, Tensor]:
        """Importance so far and the ranks kept, as tensors; to resume from."""
        if self._tuner is None:
            return {}
        allocator = self._tuner.rankallocator
        stored = {
            f"{part}/{name}": value
            for part in ("ipt", "exp_avg_ipt", "exp_avg_unc")
            for name, value in getattr(allocator, part).items()
        }
        kept = self._config.rank_pattern or {}
        return stored | {f"kept/{name}": torch.tensor(flags, dtype=torch.uint8) for name, flags in kept.items()}

    def restore(self, stored: dict[str, Tensor]) -> None:
        """Undo `state`."""
        if self._tuner is None:
            return
        device = next(self._tuner.parameters()).device
        allocator = self._tuner.rankallocator
        allocator.reset_ipt()
        kept: dict[str, list[bool]] = {}
        for key, value in stored.items():
            part, name = key.split("/", 1)
            if part == "kept":
                kept[name] = value.bool().tolist()
            else:
                getattr(allocator, part)[name] = value.to(device)
        self._config.rank_pattern = kept or None

    @property
    def _config(self) -> Any:
        return self._tuner.peft_config[self._tuner.trainable_adapter_name]


def _top_layers(backbone: nn.Module, count: int) -> nn.Module:
    config: Any = backbone.config
    depth = config.get_text_config().num_hidden_layers
    layers = next((m for m in backbone.modules() if isinstance(m, nn.ModuleList) and len(m) == depth), None)
    if layers is None:
        raise ModelError(
            f"{_kind(backbone)}: its layers cannot be told from its other parts, so that fine_tuning.method: top_layers in "
            "almanac.yaml does not work with it; use fine_tuning.method: lora"
        )
    if count > depth:
        raise ModelError(
            f"{_kind(backbone)} has {depth} layers, and {count} of them shall learn (fine_tuning.top_layers in "
            f"almanac.yaml); set it to at most {depth}, or use fine_tuning.method: lora"
        )
    for layer in list(layers)[-count:]:
        layer.requires_grad_(True)
    for name, module in backbone.named_children():
        if name in _FINAL_NORMS:
            module.requires_grad_(True)
    return backbone


def _low_rank(backbone: nn.Module, settings: FineTuningSettings) -> nn.Module:
    from peft import AdaLoraConfig, LoraConfig, get_peft_model

    layers = _adaptable(backbone)
    targets = settings.target_modules or next(
        (names for names in _ATTENTION if not _lacking(names, layers)), settings.target_modules
    )
    if not targets:
        raise ModelError(
            f"{_kind(backbone)}: no query and value of an attention known by name; name the layers to adapt in "
            f"fine_tuning.target_modules in almanac.yaml; there are {_ends(layers)}"
        )
    require_layers(backbone, targets)
    common: dict[str, Any] = {
        "task_type": "FEATURE_EXTRACTION",
        "target_modules": list(targets),
        "exclude_modules": _POOLER,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        # GPT-2's layers hold their weights the other way round
        "fan_in_fan_out": any(type(layers[n]).__name__ == "Conv1D" for n in layers if _ends_with(n, targets)),
    }
    if settings.method == "lora":
        return get_peft_model(backbone, LoraConfig(r=settings.rank, **common))
    final = max(1, settings.rank // 2)
    # the steps are known only when the loop has measured one, see `Ranks.plan`
    config = AdaLoraConfig(init_r=settings.rank, target_r=final, total_step=1_000_000, **common)
    return get_peft_model(backbone, config)


def _virtual_tokens(backbone: nn.Module, settings: FineTuningSettings) -> nn.Module:
    from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model

    config: Any = backbone.config
    sizes = config.get_text_config()
    kind = PrefixTuningConfig if settings.method == "prefix" else PromptTuningConfig
    try:
        # PEFT reads these from the config by name, and not all models use the same names
        model: nn.Module = get_peft_model(
            backbone,
            kind(
                task_type="FEATURE_EXTRACTION",
                num_virtual_tokens=settings.virtual_tokens,
                token_dim=sizes.hidden_size,
                num_layers=sizes.num_hidden_layers,
                num_attention_heads=sizes.num_attention_heads,
            ),
        )
        works = _reached(model)
    except (ValueError, TypeError, AttributeError, RuntimeError, IndexError, KeyError) as error:
        raise ModelError(_refused(backbone, settings, f" ({type(error).__name__}: {error})")) from error
    if not works:
        raise ModelError(_refused(backbone, settings, ": it does not listen to them"))
    return model


def _reached(model: nn.Module) -> bool:
    """A text of two tokens sends a gradient to the virtual tokens: not every architecture takes notice of them."""
    was = model.training
    model.eval()
    ids = torch.ones((1, 2), dtype=torch.int64, device=next(model.parameters()).device)
    with torch.enable_grad():
        answer = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        found = torch.autograd.grad(answer[:, -2:].square().sum(), list(trained(model).values()), allow_unused=True)
    model.train(was)
    return all(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in found)


def _refused(backbone: nn.Module, settings: FineTuningSettings, why: str) -> str:
    return (
        f"{_kind(backbone)} cannot be fine-tuned by {settings.method} tuning with {settings.virtual_tokens} virtual tokens"
        f"{why}; set fine_tuning.method in almanac.yaml to lora"
    )


def _adaptable(backbone: nn.Module) -> dict[str, nn.Module]:
    return {
        name: module
        for name, module in backbone.named_modules()
        if (isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D") and not name.startswith("pooler")
    }


def _ends(layers: Iterable[str]) -> str:
    return ", ".join(sorted({name.rsplit(".", 1)[-1] for name in layers})[:12])


def _lacking(targets: tuple[str, ...], layers: dict[str, nn.Module]) -> list[str]:
    return [target for target in targets if not any(_ends_with(name, (target,)) for name in layers)]


def _ends_with(name: str, targets: tuple[str, ...]) -> bool:
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _without_pooler(backbone: nn.Module) -> None:
    """BERT's pooler stands behind the tokens' vectors, which are all that is read."""
    for name, weight in backbone.named_parameters():
        if name.startswith("pooler."):
            weight.requires_grad_(False)


def _kind(backbone: nn.Module) -> str:
    return type(backbone).__name__
