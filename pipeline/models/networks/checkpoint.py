"""Checkpoints of a training: one safetensors file with weights, optimizer state and a JSON header, nothing else.

One file, renamed into place, cannot be half new and half old: a training that was killed resumes from a state that
existed. A checkpoint of other data or settings is not resumed from; its fingerprint tells.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.models.panel import Panel

CHECKPOINT_FILE = "checkpoint.safetensors"
_HEADER = "almanac"


@dataclass
class TrainingState:
    """Where a training is; what a resumed one needs, beside the tensors.

    Attributes:
        phase: of `schedule.PHASES` (pretrain, validate, refit), or done.
        step: steps done in the phase.
        steps: steps planned per phase, fixed once at the start; of a pretraining that the wall-clock ended, those made.
        budget: what decided them: steps, or seconds where the machine was too slow or the wall-clock ended a phase.
        score: best validation score so far.
        best_step: its step.
        stale: validations since.
        halved: how often a batch was parted in two for the GPU's memory.
        recoveries: how often a loss that was not a number made it go back.
        seconds: seconds of training so far, earlier processes included.
        stopped: why it ended.
        curves: metric → values.
        curve_steps: step of each validation.
        pretraining: loss at a few steps of pretraining.
        dependence: item and market share of the residuals.
    """

    phase: str = "pretrain"
    step: int = 0
    steps: dict[str, int] = field(default_factory=dict)
    budget: str = "steps"
    score: float = float("inf")
    best_step: int = 0
    stale: int = 0
    halved: int = 0
    recoveries: int = 0
    seconds: float = 0.0
    stopped: str = ""
    curves: dict[str, list[float]] = field(default_factory=dict)
    curve_steps: list[int] = field(default_factory=list)
    pretraining: list[float] = field(default_factory=list)
    dependence: dict[str, float] = field(default_factory=dict)


def fingerprint(panel: Panel, settings: dict[str, Any]) -> str:
    """Hash of all that shapes a training."""
    return hashlib.sha256(json.dumps([panel.fingerprint(), settings], sort_keys=True).encode()).hexdigest()[:32]


def weights_hash(network: torch.nn.Module) -> str:
    """Hash of a network's weights (32 hex digits)."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def write_checkpoint(
    folder: Path, state: TrainingState, tensors: dict[str, Tensor], optimizer: torch.optim.Optimizer, mark: str
) -> None:
    """Replace the folder's checkpoint.

    Args:
        folder: folder of the training.
        state: where it is.
        tensors: weights by name.
        optimizer: its state is stored too.
        mark: fingerprint of data and settings.
    """
    from safetensors.torch import save_file

    stored = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    for number, parameter in enumerate(_parameters(optimizer)):
        for name, value in optimizer.state.get(parameter, {}).items():
            stored[f"optimizer/{number}/{name}"] = torch.as_tensor(value).detach().cpu().contiguous().clone()
    header = json.dumps({"fingerprint": mark, "state": asdict(state)})
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{CHECKPOINT_FILE}.{os.getpid()}"
    save_file(stored, temporary, metadata={_HEADER: header})
    temporary.replace(folder / CHECKPOINT_FILE)


def read_checkpoint(folder: Path, mark: str) -> tuple[TrainingState, dict[str, Tensor]] | None:
    """The folder's checkpoint, or None when there is none of the same data and settings, or it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / CHECKPOINT_FILE, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
            if header["fingerprint"] != mark:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    return TrainingState(**header["state"]), tensors


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back the optimizer state that `write_checkpoint` stored."""
    for number, parameter in enumerate(_parameters(optimizer)):
        prefix = f"optimizer/{number}/"
        found = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        if found:
            optimizer.state[parameter] = {
                name: value.clone() if name == "step" else value.to(parameter.device).clone()
                for name, value in found.items()
            }


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
