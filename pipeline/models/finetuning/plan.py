"""The rules of a fine-tuning: what a task is, how many steps, which examples, which rate, which precision."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.errors import ModelError
from pipeline.model_settings import FineTuningSettings
from pipeline.models.base import Progress, silent
from pipeline.models.finetuning.distributed import Peers

Index = NDArray[np.int64]
Loss = Callable[[], Tensor]

VALIDATIONS = 8
"""Validations of a run, beside the one before its first step."""
_VALIDATION_SHARE = 0.25


class Tunable(nn.Module):
    """What the loop trains: a pretrained network, and whatever learns above it.

    Attributes:
        backbone: the adapted network, trained at `learning_rate`; all else at `head_learning_rate`.
    """

    backbone: nn.Module


@dataclass(frozen=True)
class Task:
    """What is learned, over examples by number.

    Attributes:
        examples: how many there are.
        weight: weight of some examples; what their loss is divided by.
        loss: weighted sum of the loss over some examples.
        score: validation, lower is better; None where nothing is held back, and the last weights are kept.
        reworded: the loss of some examples with other wordings of their texts, drawn once and then the same each time that
            it is computed; None where texts stay as they are.
    """

    examples: int
    weight: Callable[[Index], float]
    loss: Callable[[Index], Tensor]
    score: Callable[[], float] | None = None
    reworded: Callable[[Index, np.random.Generator], Loss] | None = None

    def part(self, index: Index, generator: np.random.Generator) -> Loss:
        """The loss that a part of a step learns by: the same each time that it is computed, but for dropout.

        Args:
            index: examples of the part.
            generator: that of the part.
        """
        return partial(self.loss, index) if self.reworded is None else self.reworded(index, generator)


@dataclass(frozen=True)
class Course:
    """One run of the loop.

    Attributes:
        folder: folder of the checkpoint.
        mark: fingerprint of all that shapes the weights; a checkpoint of another one is not resumed from.
        seed: seed of everything random.
        max_seconds: most seconds.
        setting: the setting that says so, for messages.
        model_setting: the setting that names the pretrained model, for messages.
        most_steps: most steps, beside those of the epochs.
        least_steps: steps without which nothing is learned; seconds for fewer are refused, unless no more are wanted.
        rate: factor of both rates.
        peers: processes that share each batch.
        progress: told how far it is.
    """

    folder: Path
    mark: str
    seed: int = 7
    max_seconds: float = 240.0
    setting: str = "max_seconds"
    model_setting: str = "language_model.model"
    most_steps: int | None = None
    least_steps: int = 0
    rate: float = 1.0
    peers: Peers = field(default_factory=Peers)
    progress: Progress = silent


def steps_wanted(settings: FineTuningSettings, examples: int, most: int | None) -> int:
    """Steps of the epochs, at least one, at most `most`."""
    steps = max(1, math.ceil(settings.epochs * examples / min(settings.batch_size, examples)))
    return steps if most is None else min(steps, most)


def steps_affordable(wanted: int, seconds: float, per_step: float, per_validation: float) -> tuple[int, int]:
    """Steps and validations, beside the one before the first step, that fit into some seconds.

    Args:
        wanted: steps of the epochs.
        seconds: seconds there are.
        per_step: seconds of a step.
        per_validation: seconds of a validation; 0 where nothing is held back.

    Returns:
        As many as wanted where they fit; else fewer, of which validations take a quarter of the time at most but are one
        at least; no step where not one fits.
    """
    if wanted * per_step + (1 + VALIDATIONS) * per_validation <= seconds:
        return wanted, VALIDATIONS
    affordable = int(_VALIDATION_SHARE * seconds / max(per_validation, 1e-6)) - 1
    validations = min(max(affordable, 1), VALIDATIONS)
    left = seconds - (1 + validations) * per_validation
    return min(wanted, max(0, int(left / max(per_step, 1e-6)))), validations


def linear(step: int, steps: int, warmup_share: float) -> float:
    """Factor of the rate: a line up over the warm-up, a line down to (almost) nothing at the end."""
    warm_up = round(warmup_share * steps)
    if step < warm_up:
        return (step + 1) / warm_up
    return (steps - step) / max(steps - warm_up, 1)


def batch(seed: int, step: int, examples: int, size: int) -> Index:
    """Examples of a step: shuffled anew in every epoch, all from the seed, so that no state has to be kept."""
    size = min(size, examples)
    first = step * size
    places = np.arange(first, first + size)
    chosen = np.empty(size, np.int64)
    for epoch in range(first // examples, (first + size - 1) // examples + 1):
        order = np.random.default_rng([seed, 31, epoch]).permutation(examples)
        here = places // examples == epoch
        chosen[here] = order[places[here] % examples]
    return chosen


def autocast_type(precision: str, device: str) -> torch.dtype | None:
    """Type of autocast; None for none.

    Raises:
        ModelError: fp16 without a GPU.
    """
    on_gpu = device.startswith("cuda")
    if precision == "fp16" and not on_gpu:
        raise ModelError("fp16 needs a GPU; set fine_tuning.precision in almanac.yaml to auto, or to bf16")
    if precision == "auto":
        # emulated bf16 (GPUs before Ampere) is slower than float32
        return torch.bfloat16 if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else None
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
