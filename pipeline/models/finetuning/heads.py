"""Task heads on the pooled vector of a text: what a fine-tuned model answers, and the loss it learns by.

Every head answers per example and day, (B, K, …), and its loss is a weighted sum: whoever divides it by the weight of a
whole batch gets the same gradient in one piece and in parts.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.finetuning.backbone import pooled
from pipeline.models.finetuning.plan import Tunable
from pipeline.models.networks.network import SteadyLinear


class Head(nn.Module):
    """One task: a linear layer on the pooled vector.

    Attributes:
        days: answers K per example.
        size: numbers per answer.
    """

    kind: ClassVar[str]

    def __init__(self, width: int, days: int, size: int = 1) -> None:
        """A head whose first answers are near nothing.

        Args:
            width: length D of the pooled vector.
            days: answers K per example.
            size: numbers per answer.
        """
        super().__init__()
        self.days, self.size = days, size
        # SteadyLinear: the answer for a text does not depend on the texts beside it
        self.linear = SteadyLinear(width, days * size)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, vector: Tensor) -> Tensor:
        """(B, D) → (B, K, size)."""
        answer: Tensor = self.linear(vector).float().reshape(-1, self.days, self.size)
        return answer

    def loss(self, answer: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Weighted sum over (B, K) targets."""
        raise NotImplementedError


class QuantileHead(Head):
    """Quantiles at given levels, which never cross: a middle one and steps up and down from it; pinball loss."""

    kind: ClassVar[str] = "quantile"

    def __init__(self, width: int, days: int, levels: Sequence[float]) -> None:
        """See `Head`.

        Args:
            width: length of the pooled vector.
            days: answers per example.
            levels: rising levels.
        """
        super().__init__(width, days, len(levels))
        self.register_buffer("levels", torch.tensor(levels, dtype=torch.float32), persistent=False)
        self.middle = len(levels) // 2

    def forward(self, vector: Tensor) -> Tensor:
        """(B, D) → (B, K, Q), rising along the last axis."""
        raw = super().forward(vector)
        steps = 0.2 * functional.softplus(raw)
        down = torch.cumsum(steps[..., : self.middle].flip(-1), -1).flip(-1)
        up = torch.cumsum(steps[..., self.middle + 1 :], -1)
        place = raw[..., self.middle : self.middle + 1]
        return torch.cat([place - down, place, place + up], -1)

    def loss(self, answer: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Twice the pinball loss, mean over the levels."""
        levels = self.get_buffer("levels")
        error = targets.unsqueeze(-1) - answer
        pinball = 2 * torch.maximum(levels * error, (levels - 1) * error).mean(-1)
        return (pinball * weights).sum()


class PointHead(Head):
    """One number per day."""

    def loss(self, answer: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """See `Head`."""
        return (self.error(answer.squeeze(-1) - targets) * weights).sum()

    def error(self, difference: Tensor) -> Tensor:
        """Loss of a difference."""
        raise NotImplementedError


class MseHead(PointHead):
    """Squared error: learns the mean."""

    kind: ClassVar[str] = "mse"

    def error(self, difference: Tensor) -> Tensor:
        """See `PointHead`."""
        return difference.square()


class MaeHead(PointHead):
    """Absolute error: learns the median."""

    kind: ClassVar[str] = "mae"

    def error(self, difference: Tensor) -> Tensor:
        """See `PointHead`."""
        return difference.abs()


class ClassHead(Head):
    """Logits of classes; targets are class numbers."""

    kind: ClassVar[str] = "cross_entropy"

    def loss(self, answer: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Cross-entropy."""
        each = functional.cross_entropy(answer.flatten(0, 1), targets.long().flatten(), reduction="none")
        return (each * weights.flatten()).sum()


class Heads(nn.Module):
    """Several tasks on one pooled vector, each with its share of the loss; one task is a case of it."""

    def __init__(self, heads: Mapping[str, Head], shares: Mapping[str, float], dropout: float) -> None:
        """Put heads together.

        Args:
            heads: task → head.
            shares: task → weight of its loss.
            dropout: share of the pooled vector that training leaves out.
        """
        super().__init__()
        self.heads = nn.ModuleDict(heads)
        self.shares = {name: float(shares[name]) for name in heads}
        self.dropout = nn.Dropout(dropout)

    def forward(self, vector: Tensor) -> dict[str, Tensor]:
        """(B, D) pooled vectors → answers of each task.

        The vector is normalised first: the mean over tokens of a pretrained model is small and has a few large numbers.
        """
        normal = self.dropout(functional.layer_norm(vector.float(), vector.shape[-1:]))
        return {name: head(normal) for name, head in self.heads.items()}

    def loss(
        self, answers: Mapping[str, Tensor], targets: Mapping[str, Tensor], weights: Mapping[str, Tensor]
    ) -> Tensor:
        """Sum over the tasks of share × weighted sum of losses.

        Args:
            answers: of `forward`.
            targets: task → (B, K).
            weights: task → (B, K); 0 where there is no target.
        """
        total = torch.zeros((), device=next(iter(answers.values())).device)
        for name, head in self.heads.items():
            assert isinstance(head, Head)  # noqa: S101 - a ModuleDict has no type of its values
            total = total + self.shares[name] * head.loss(answers[name], targets[name], weights[name])
        return total


class TextModel(Tunable):
    """A language model with heads on it: texts in, answers of each task out."""

    def __init__(self, backbone: nn.Module, heads: Heads) -> None:
        """Put them together.

        Args:
            backbone: adapted language model.
            heads: tasks.
        """
        super().__init__()
        self.backbone = backbone
        self.heads = heads

    def forward(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """(B, T) token ids, and which of them are there → answers of each task."""
        answers: dict[str, Tensor] = self.heads(pooled(self.backbone, ids, mask))
        return answers
