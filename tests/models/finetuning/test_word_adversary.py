"""Adversarial training of language models: where word embeddings are moved to, that the loss rises there, that it counts."""

import math

import numpy as np
import pytest
import torch

from pipeline.errors import ModelError
from pipeline.model_settings import FineTuningSettings
from pipeline.models.finetuning import adversarial, loop
from pipeline.models.finetuning.adversarial import Adversary, move
from pipeline.models.finetuning.backbone import padded
from pipeline.models.finetuning.heads import TextModel
from pipeline.models.finetuning.loop import Loop
from pipeline.models.finetuning.methods import adapt, base_of, trained
from pipeline.models.finetuning.plan import Course
from tests.models.finetuning.toys import Plain, Toy, plain_task, quick, state_of

METHODS = ["full", "top_layers", "lora", "adalora", "prefix", "prompt"]
EPSILON = 0.1
EIGHT = np.arange(8)


def toy_of(folder, method, kind="bert", **settings):
    """A toy whose head listens to the texts, which an untrained one hardly does."""
    toy = Toy(folder, quick(method=method, **settings))
    if kind != "bert":
        heads = toy.model.heads
        toy.model = TextModel(adapt(_decoder(kind), quick(method=method, **settings), seed=3), heads)
    with torch.no_grad():
        toy.model.heads.heads["reds"].linear.weight.mul_(40)
    toy.model.train()
    return toy


def _decoder(kind):
    from transformers import GPT2Config, GPT2Model, LlamaConfig, LlamaModel

    torch.manual_seed(0)
    if kind == "gpt2":
        none = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        return GPT2Model(GPT2Config(vocab_size=60, n_embd=32, n_layer=2, n_head=2, initializer_range=0.2, **none))
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaModel(LlamaConfig(vocab_size=60, initializer_range=0.2, **sizes))


def embeddings_of(toy):
    return base_of(toy.model.backbone).get_input_embeddings()


def heard(toy, epsilon=EPSILON):
    """An adversary after the backward pass of eight texts, and the loss of them."""
    adversary = Adversary(toy.model.backbone, epsilon)
    with adversary.listening():
        loss = toy.loss(EIGHT)
    loss.backward()
    return adversary, loss.detach()


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("method", METHODS)
def test_the_loss_rises_there_more_than_elsewhere_as_far_away(bert_folder, method, kind):
    toy = toy_of(bert_folder, method, kind)
    layer, outputs = embeddings_of(toy), []
    adversary, before = heard(toy, 0.02)
    with torch.no_grad():
        worst = adversary.worst(lambda: _seen(layer, outputs, lambda: toy.loss(EIGHT)))
        assert torch.equal(_seen(layer, outputs, lambda: toy.loss(EIGHT)), before), "listening changed the loss"
        there, plain = outputs
        step = there - plain
        torch.manual_seed(3)
        anywhere = torch.randn_like(step) * (step != 0)
        anywhere *= _length(step) / _length(anywhere)
        hook = layer.register_forward_hook(lambda _layer, _given, embedded: embedded + anywhere)
        other = toy.loss(EIGHT)
        hook.remove()
    assert worst > before
    assert worst > other


def _seen(layer, outputs, compute):
    hook = layer.register_forward_hook(lambda _layer, _given, embedded: outputs.append(embedded.clone()))
    try:
        return compute()
    finally:
        hook.remove()


def _length(values):
    return values.flatten(1).norm(dim=1)[:, None, None]


@pytest.mark.parametrize("method", METHODS)
def test_each_text_moves_by_its_share_of_its_own_length_and_padding_stays(bert_folder, method):
    toy = toy_of(bert_folder, method)
    _, mask = padded([toy.tokens[i] for i in EIGHT], "cpu")
    assert not mask.all(), "no text is shorter than another"
    layer, outputs = embeddings_of(toy), []
    adversary, _ = heard(toy)
    adversary.worst(lambda: _seen(layer, outputs, lambda: toy.loss(EIGHT)))
    _seen(layer, outputs, lambda: toy.loss(EIGHT))
    there, plain = (output.detach() for output in outputs)
    step = there - plain
    assert not step[mask == 0].any(), "padding moved"
    torch.testing.assert_close(_length(step), EPSILON * _length(plain * mask.unsqueeze(-1)), rtol=1e-3, atol=1e-6)


def test_a_text_moves_the_same_way_whatever_stands_beside_it():
    torch.manual_seed(0)
    embedded, gradient = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    gradient[0, 2] = 0
    alone = move(embedded[:1, :2], gradient[:1, :2], EPSILON)
    torch.testing.assert_close(move(embedded, gradient, EPSILON)[:1, :2], alone)
    torch.testing.assert_close(move(embedded, 65536 * gradient, EPSILON)[:1, :2], alone)


def test_without_a_direction_nothing_moves():
    embedded, gradient = torch.ones(3, 2, 2), torch.ones(3, 2, 2)
    gradient[0], gradient[1, 0, 0] = 0, math.inf
    step = move(embedded, gradient, EPSILON)
    assert not step[:2].any()
    assert step[2].all()
    assert not move(embedded, None, EPSILON).any()


@pytest.mark.parametrize("method", METHODS)
def test_frozen_embeddings_are_moved_and_stay_frozen(bert_folder, method):
    toy = toy_of(bert_folder, method)
    weight = embeddings_of(toy).weight
    before = weight.detach().clone()
    adversary, _ = heard(toy)
    plain = {name: w.grad.clone() for name, w in trained(toy.model).items() if w.grad is not None}
    adversary.worst(lambda: toy.loss(EIGHT)).backward()
    both = {name: w.grad for name, w in trained(toy.model).items() if w.grad is not None}
    assert torch.equal(weight, before)
    assert (weight.grad is None) == (method != "full")
    assert any(not torch.allclose(both[name], 2 * plain[name], rtol=1e-2) for name in plain)


def test_what_listened_is_gone_afterwards_also_after_an_error(bert_folder):
    toy = toy_of(bert_folder, "lora")
    layer = embeddings_of(toy)
    adversary, _ = heard(toy)
    adversary.worst(lambda: toy.loss(EIGHT))
    with pytest.raises(ZeroDivisionError), adversary.listening():
        raise ZeroDivisionError
    assert not layer._forward_hooks


# --- in the loop ------------------------------------------------------------------------------------------------------


def gradients_of(folder, tmp_path, **settings):
    """Gradients of a first step."""
    toy = toy_of(folder, **{"method": "lora", **settings})
    run = Loop(toy.model, toy.task(validate=False), quick(**settings), Course(tmp_path, "mark"))
    run._gradients(0)
    return {name: weight.grad for name, weight in run.weights.items() if weight.grad is not None}


@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_of_a_step_is_the_sum_of_both(bert_folder, tmp_path, method):
    """A tiny step away the loss has the same gradient, and both together are twice that."""
    plain = gradients_of(bert_folder, tmp_path, method=method)
    tiny = gradients_of(bert_folder, tmp_path, method=method, adversarial=1e-6)
    far = gradients_of(bert_folder, tmp_path, method=method, adversarial=0.3)
    heads = [name for name in plain if name.startswith("heads.")]
    # AdaLoRA's adapters learn orthogonality, too, which is of no text
    for name in heads if method == "adalora" else plain:
        torch.testing.assert_close(tiny[name], 2 * plain[name], rtol=1e-2, atol=1e-4)
    assert any(not torch.allclose(far[name], tiny[name], rtol=1e-2) for name in heads)


@pytest.mark.parametrize("method", [method for method in METHODS if method != "prefix"])
def test_gradient_checkpointing_gives_the_same_gradients(bert_folder, tmp_path, method):
    plain, twice = (
        gradients_of(bert_folder, tmp_path, method=method, adversarial=EPSILON, gradient_checkpointing=on)
        for on in (False, True)
    )
    assert set(plain) == set(twice)
    for name, gradient in plain.items():
        torch.testing.assert_close(gradient, twice[name], atol=1e-5, rtol=1e-4)


def test_a_batch_in_parts_gives_the_gradient_of_the_whole(bert_folder, tmp_path):
    whole, parts = (gradients_of(bert_folder, tmp_path, adversarial=EPSILON, accumulate=parts) for parts in (1, 3))
    for name, gradient in whole.items():
        torch.testing.assert_close(gradient, parts[name], atol=1e-4, rtol=1e-3)


def test_off_there_is_no_second_pass_and_on_each_training_is_the_same_and_learns(bert_folder, tmp_path, monkeypatch):
    def run(name, **settings):
        tuned = quick(epochs=4, dropout=0.1, **settings)
        toy = Toy(bert_folder, tuned)
        state = Loop(toy.model, toy.task(), tuned, Course(tmp_path / name, "mark", max_seconds=600)).run()
        return state_of(toy.model), state

    on, state = run("a", adversarial=EPSILON)
    assert run("b", adversarial=EPSILON)[0] == on
    assert state.score < 0.8 * state.curves["validation_loss"][0]
    monkeypatch.setattr(Adversary, "worst", lambda *_: pytest.fail("a second pass"))
    monkeypatch.setattr(adversarial, "move", lambda *_: pytest.fail("a step"))
    assert run("c")[0] == run("d", adversarial=0.0)[0] != on


def test_bf16_autocast_bears_it(bert_folder, tmp_path):
    settings = quick(precision="bf16", epochs=2, adversarial=EPSILON)
    toy = Toy(bert_folder, settings)
    state = Loop(toy.model, toy.task(), settings, Course(tmp_path, "mark", max_seconds=600)).run()
    assert state.recoveries == 0
    assert state.score < state.curves["validation_loss"][0]


def test_fp16_with_a_scaler_moves_as_far_and_learns(bert_folder, tmp_path, monkeypatch):
    """The scaler of a GPU, on the CPU: the direction is that of a gradient 65536 times as long, or of an overflow."""
    monkeypatch.setattr(loop, "autocast_type", lambda *_: torch.float16)
    settings = quick(precision="fp16", epochs=6, adversarial=EPSILON)
    toy = Toy(bert_folder, settings)
    run = Loop(toy.model, toy.task(), settings, Course(tmp_path, "mark", max_seconds=600))
    assert run.scaler.is_enabled()
    state = run.run()
    assert state.score < 0.8 * state.curves["validation_loss"][0]


def test_a_model_without_word_embeddings_is_refused_by_name(tmp_path):
    model = Plain()
    with pytest.raises(ModelError, match=r"Linear does not name its word embeddings.*fine_tuning\.adversarial .*to 0"):
        Loop(model, plain_task(model), quick(adversarial=EPSILON), Course(tmp_path, "mark"))


def test_all_three_are_off_by_default():
    settings = FineTuningSettings()
    assert (settings.adversarial, settings.word_dropout, settings.word_replacement) == (0.0, 0.0, 0.0)
