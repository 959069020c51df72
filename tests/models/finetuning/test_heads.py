"""Heads: their losses against plain arithmetic, and that each of them learns."""

import numpy as np
import pytest
import torch

from pipeline.models.finetuning.heads import ClassHead, Heads, MaeHead, MseHead, QuantileHead
from pipeline.models.finetuning.loop import Loop
from pipeline.models.finetuning.plan import Course
from pipeline.models.quantiles import pinball
from tests.models.finetuning.toys import Toy, quick

LEVELS = (0.1, 0.5, 0.9)


def test_quantiles_never_cross_and_their_loss_is_the_pinball_loss():
    torch.manual_seed(0)
    head = QuantileHead(6, 2, LEVELS)
    torch.nn.init.normal_(head.linear.weight, std=3.0)
    answer = head(torch.randn(50, 6))
    assert answer.shape == (50, 2, 3)
    assert (answer.diff(dim=-1) >= 0).all()
    targets, weights = torch.randn(50, 2), torch.rand(50, 2)
    loss = pinball(targets.numpy().ravel(), answer.detach().numpy().reshape(-1, 3), np.array(LEVELS)).mean(1)
    assert float(head.loss(answer, targets, weights)) == pytest.approx(
        float((2 * loss * weights.numpy().ravel()).sum())
    )


def test_points_and_classes_have_the_losses_of_their_names():
    answer, targets, weights = (
        torch.tensor([[[1.0], [4.0]]]),
        torch.tensor([[3.0, 4.5]]),
        torch.tensor([[1.0, 2.0]]),
    )
    assert float(MseHead(2, 2).loss(answer, targets, weights)) == pytest.approx(4 + 2 * 0.25)
    assert float(MaeHead(2, 2).loss(answer, targets, weights)) == pytest.approx(2 + 2 * 0.5)
    logits = torch.tensor([[[0.0, np.log(3.0)]]])
    assert float(ClassHead(2, 1, 2).loss(logits, torch.tensor([[1]]), torch.tensor([[2.0]]))) == pytest.approx(
        -2 * np.log(0.75)
    )


def test_targets_without_weight_count_for_nothing():
    torch.manual_seed(0)
    heads = Heads({"a": QuantileHead(4, 3, LEVELS), "b": ClassHead(4, 3, 2)}, {"a": 1.0, "b": 0.5}, 0.0)
    answers = heads(torch.randn(2, 4))
    weights = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    targets = {"a": torch.rand(2, 3), "b": torch.ones(2, 3)}
    other = {name: torch.where(weights > 0, values, 0.0) for name, values in targets.items()}
    both = dict.fromkeys(targets, weights)
    assert float(heads.loss(answers, targets, both)) == float(heads.loss(answers, other, both))


def test_several_tasks_add_up_by_their_shares():
    torch.manual_seed(0)
    first, second = MseHead(4, 1), MaeHead(4, 1)
    heads = Heads({"a": first, "b": second}, {"a": 2.0, "b": 0.5}, 0.0)
    answers = heads(torch.randn(3, 4))
    targets, weights = torch.rand(3, 1), torch.ones(3, 1)
    alone = 2 * first.loss(answers["a"], targets, weights) + 0.5 * second.loss(answers["b"], targets, weights)
    together = heads.loss(answers, {"a": targets, "b": targets}, {"a": weights, "b": weights})
    assert float(together) == pytest.approx(float(alone))


def test_dropout_is_that_of_the_settings():
    heads = Heads({"a": MseHead(64, 1)}, {"a": 1.0}, 0.5)
    vector = torch.randn(1, 64).expand(30, 64)
    assert len(heads.train()(vector)["a"].unique()) > 20
    assert len(heads.eval()(vector)["a"].unique()) == 1


@pytest.mark.parametrize("task", ["quantile", "mse", "mae", "cross_entropy", "multi_task"])
def test_every_head_learns(bert_folder, tmp_path, task):
    torch.manual_seed(2)
    one = {
        "quantile": {"units": QuantileHead(32, 1, LEVELS)},
        "mse": {"units": MseHead(32, 1)},
        "mae": {"units": MaeHead(32, 1)},
        "cross_entropy": {"sold": ClassHead(32, 1, 2)},
    }
    several = {"units": QuantileHead(32, 1, LEVELS), "sold": ClassHead(32, 1, 2), "revenue": MseHead(32, 1)}
    settings = quick(epochs=10, head_learning_rate=5e-2, patience=99)
    toy = Toy(bert_folder, settings, one.get(task, several))
    state = Loop(toy.model, toy.task(), settings, Course(tmp_path, task, max_seconds=600)).run()
    assert state.score < 0.4 * state.curves["validation_loss"][0]
