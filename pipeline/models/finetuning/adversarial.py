"""Adversarial training of a language model (the fast gradient method of Miyato, Dai and Goodfellow 2017).

After the backward pass of the plain loss, the word embeddings of each text are moved by epsilon·‖e‖·g ÷ ‖g‖, where g is the
gradient of the loss by them, and the gradient of the loss there is added before the optimiser's step. Epsilon is relative to
the length of a text's embeddings, so that it means the same for every language model, and for short and long texts. Of
MiniLM's, a hundredth raised the loss of prompts by a sixth, and a tenth nearly doubled it.

The embeddings are met where all methods meet, behind the embedding layer itself: whether tokens come as ids or, as with
prompt tuning, as vectors, and whether the layer learns or is frozen. Virtual tokens learn already and are not moved.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import ModelError
from pipeline.models.finetuning.methods import base_of


class Adversary:
    """Finds the worst small step of the word embeddings, one backward pass at a time."""

    def __init__(self, backbone: nn.Module, epsilon: float) -> None:
        """Find the layer of the word embeddings.

        Args:
            backbone: the language model, adapted or not.
            epsilon: length of the step ÷ length of a text's embeddings; 0 for none.

        Raises:
            ModelError: the model has no such layer.
        """
        self.epsilon = epsilon
        self._layer = _word_embeddings(backbone) if epsilon else None
        self._heard: list[tuple[Tensor, Tensor]] = []

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, the word embeddings keep the gradient of the next backward pass; nothing that is computed changes."""
        self._heard = []

        def listen(embedded: Tensor) -> Tensor:
            # a step of zero has the gradient of what it is added to, which itself may be frozen
            step = torch.zeros_like(embedded, requires_grad=True)
            self._heard.append((embedded.detach(), step))
            return embedded + step

        with self._behind(listen):
            yield

    def worst(self, loss: Callable[[], Tensor]) -> Tensor:
        """The loss where the embeddings are moved to.

        Args:
            loss: the same loss that was computed while listening, of the same texts, and whose backward pass is done.
        """
        moves = iter([move(embedded, step.grad, self.epsilon) for embedded, step in self._heard])
        self._heard = []
        with self._behind(lambda embedded: embedded + next(moves)):
            return loss()

    @contextmanager
    def _behind(self, act: Callable[[Tensor], Tensor]) -> Iterator[None]:
        if self._layer is None:
            yield
            return
        hook = self._layer.register_forward_hook(lambda _layer, _given, embedded: act(embedded))
        try:
            yield
        finally:
            hook.remove()


def move(embedded: Tensor, gradient: Tensor | None, epsilon: float) -> Tensor:
    """The step of each text to where the loss rises fastest.

    Args:
        embedded: (B, T, D) word embeddings.
        gradient: of the loss by them, at any scale; None where the loss does not depend on them.
        epsilon: length of the step ÷ length of a text's embeddings.

    Returns:
        (B, T, D); zeros for a text on which the loss does not depend, or whose gradient overflowed.
    """
    if gradient is None:
        return torch.zeros_like(embedded)
    # padding, of which no loss hears, must not lengthen a short text beside a long one
    there = (gradient != 0).any(-1, keepdim=True)
    steepness = _length(gradient)
    is_sound = torch.isfinite(steepness) & (steepness > 0)
    return torch.where(is_sound, epsilon * _length(embedded * there) * gradient / steepness, torch.zeros_like(gradient))


def _length(values: Tensor) -> Tensor:
    """Euclidean length of each text's values, (B, 1, 1)."""
    length: Tensor = torch.linalg.vector_norm(values, dim=(1, 2), keepdim=True)
    return length


def _word_embeddings(backbone: Any) -> nn.Module:
    base = base_of(backbone)
    try:
        layer: Any = base.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        layer = None
    if not isinstance(layer, nn.Module):
        raise ModelError(
            f"{type(base).__name__} does not name its word embeddings, which adversarial training moves; set "
            "fine_tuning.adversarial in almanac.yaml to 0"
        )
    return layer
