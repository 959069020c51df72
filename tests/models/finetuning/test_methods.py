"""Which weights learn, which stay, and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import BertConfig, DistilBertConfig, DistilBertModel, GPT2Config, GPT2Model, LlamaConfig, LlamaModel

from pipeline.errors import ModelError
from pipeline.models.finetuning.backbone import padded, pooled
from pipeline.models.finetuning.loop import Loop
from pipeline.models.finetuning.methods import Ranks, adapt, checkpoint_gradients, load_trained, trained
from pipeline.models.finetuning.plan import Course
from tests.models.finetuning.toys import Toy, opened, quick

METHODS = ("full", "top_layers", "lora", "adalora", "prefix", "prompt")
HIDDEN, RANK, TOKENS = 32, 4, 4
LAYER = 4 * (HIDDEN * HIDDEN + HIDDEN) + 2 * HIDDEN * 48 + 48 + HIDDEN + 4 * HIDDEN
"""Weights of a layer of the tiny BERT: attention, feed-forward, two norms."""

GPT2 = GPT2Config(
    vocab_size=40, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=1,
    embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0,
)  # fmt: skip
LLAMA = LlamaConfig(
    vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
    max_position_embeddings=64,
)  # fmt: skip


@pytest.mark.parametrize(
    ("method", "weights"),
    [
        ("top_layers", LAYER),
        ("lora", 2 * 2 * 2 * HIDDEN * RANK),
        ("adalora", 2 * 2 * (2 * HIDDEN * RANK + RANK)),
        ("prefix", TOKENS * 2 * 2 * HIDDEN),
        ("prompt", TOKENS * HIDDEN),
    ],
)
def test_a_method_trains_its_own_weights_and_no_others(bert_folder, method, weights):
    model = adapt(opened(bert_folder).network, quick(method=method))
    assert sum(weight.numel() for weight in trained(model).values()) == weights


def test_all_weights_learn_but_the_pooler_that_nobody_reads(bert_folder):
    network = adapt(opened(bert_folder).network, quick(method="full"))
    assert {name for name, weight in network.named_parameters() if not weight.requires_grad} == {
        "pooler.dense.weight",
        "pooler.dense.bias",
    }


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_falls_and_the_base_stays(bert_folder, tmp_path, method):
    # new adapters need a larger rate than weights that were trained before
    rate = 2e-3 if method in {"full", "top_layers"} else 3e-2
    settings = quick(method=method, epochs=12, learning_rate=rate, head_learning_rate=5e-2, patience=99)
    toy = Toy(bert_folder, settings)
    learns = set(trained(toy.model))
    before = {name: value.clone() for name, value in toy.model.state_dict().items() if name not in learns}
    state = Loop(toy.model, toy.task(), settings, Course(tmp_path, "a", max_seconds=600)).run()
    assert state.score < 0.35 * state.curves["validation_loss"][0]
    for name, value in before.items():
        assert torch.equal(value, toy.model.state_dict()[name]), name


@pytest.mark.parametrize("method", METHODS)
def test_the_language_model_learns_by_itself(bert_folder, tmp_path, method):
    """Under a head of random weights that stay, whatever is learned the language model has learned."""
    rate = 2e-3 if method in {"full", "top_layers"} else 3e-2
    settings = quick(method=method, epochs=12, learning_rate=rate, patience=99)
    toy = Toy(bert_folder, settings)
    toy.model.heads.requires_grad_(False)
    with torch.no_grad():
        toy.model.heads.heads["reds"].linear.weight.mul_(20)
    state = Loop(toy.model, toy.task(), settings, Course(tmp_path, "a", max_seconds=600)).run()
    assert state.score < 0.5 * state.curves["validation_loss"][0]


def test_adalora_ends_with_half_of_its_ranks(bert_folder, tmp_path):
    settings = quick(method="adalora", epochs=8, rank=4)
    toy = Toy(bert_folder, settings)
    Loop(toy.model, toy.task(validate=False), settings, Course(tmp_path, "a", max_seconds=600)).run()
    adapters = 4
    assert kept_ranks(toy.model) == adapters * settings.rank // 2


def test_adalora_asks_its_sides_to_be_orthogonal(bert_folder):
    assert Ranks(adapt(opened(bert_folder).network, quick(method="lora"))).penalty() is None
    model = adapt(opened(bert_folder).network, quick(method="adalora"))
    ranks = Ranks(model)
    before = float(ranks.penalty())
    with torch.no_grad():
        for name, weight in trained(model).items():
            if "lora_A" in name or "lora_B" in name:
                weight.copy_(torch.eye(*weight.shape))
    assert before > 0.1
    assert float(ranks.penalty()) == pytest.approx(0, abs=1e-6)


def ranked(folder, steps, **settings):
    """AdaLoRA on the tiny BERT, its budget spread over some steps, and what stands for a step of training."""
    model = adapt(opened(folder).network, quick(method="adalora", **settings))
    ranks = Ranks(model)
    ranks.plan(steps)

    def step(factor=1.0):
        """Move the singular values, which begin at zero, and give all weights a gradient; without texts at a factor of 0."""
        with torch.no_grad():
            for name, weight in trained(model).items():
                weight.add_(0.01 if "lora_E" in name else 0.0)
        model.zero_grad(set_to_none=True)
        texts = pooled(model, *padded([[5, 6, 7]], "cpu")).square().sum() if factor else 0.0
        (factor * texts + ranks.penalty()).backward()

    return model, ranks, step


def kept_ranks(model):
    return sum(int((weight != 0).sum()) for name, weight in trained(model).items() if "lora_E" in name)


def test_a_step_without_any_text_says_nothing_about_ranks(bert_folder):
    model, ranks, step = ranked(bert_folder, steps=12)
    for number in range(1, 13):
        step(number % 2)
        ranks.allocate(number)
    assert kept_ranks(model) == 4 * RANK // 2


@pytest.mark.parametrize("overflowed", [{3}, {7, 8}, {8, 9}, {1, 2, 3, 4, 5, 6, 7, 8, 9}])
def test_ranks_are_settled_whatever_steps_overflow(bert_folder, overflowed):
    """Of 12 steps the eighth settles the ranks."""
    model, ranks, step = ranked(bert_folder, steps=12)
    for number in range(1, 13):
        step(float("inf") if number in overflowed else 1.0)
        ranks.allocate(number, finite=number not in overflowed)
        assert all(bool(torch.isfinite(value).all()) for value in ranks.state().values())
    assert kept_ranks(model) == 4 * RANK // 2


def test_ranks_are_settled_after_what_was_important_was_forgotten(bert_folder):
    """As after a loss that was not a number in the seventh of 12 steps, of which the eighth settles them."""
    model, ranks, step = ranked(bert_folder, steps=12)
    for number in (*range(1, 7), *range(8, 13)):
        if number == 8:
            ranks.forget()
        step()
        ranks.allocate(number)
    assert kept_ranks(model) == 4 * RANK // 2


def test_adalora_of_one_rank_keeps_it(bert_folder, tmp_path):
    settings = quick(method="adalora", rank=1, epochs=2)
    toy = Toy(bert_folder, settings)
    Loop(toy.model, toy.task(validate=False), settings, Course(tmp_path, "a", max_seconds=600)).run()
    assert kept_ranks(toy.model) == 4


@pytest.mark.parametrize("method", ["lora", "adalora"])
def test_the_pooler_that_nobody_reads_is_not_adapted(bert_folder, tmp_path, method):
    settings = quick(method=method, target_modules=("dense",))
    toy = Toy(bert_folder, settings)
    adapted = {name for name in trained(toy.model) if "lora_" in name}
    assert len(adapted) == 2 * 3 * (2 if method == "lora" else 3)
    assert not any("pooler" in name for name in adapted)
    Loop(toy.model, toy.task(validate=False), settings, Course(tmp_path, "a", max_seconds=600)).run()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_decoders_learn_too_and_padding_changes_nothing(config, method):
    torch.manual_seed(0)
    network = (GPT2Model if config is GPT2 else LlamaModel)(config)
    model = adapt(network, quick(method=method)).eval()
    if method == "top_layers":
        norm = "ln_f" if config is GPT2 else "norm"
        assert any(name.startswith(norm) for name in trained(model))
        assert not any("0" in name.split(".") for name in trained(model))
    alone = pooled(model, *padded([[5, 6, 7]], "cpu"))
    together = pooled(model, *padded([[5, 6, 7], [3, 4, 5, 6, 7, 8]], "cpu"))
    torch.testing.assert_close(alone[0], together[0], atol=1e-5, rtol=1e-4)
    together.square().sum().backward()
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in trained(model).values())


def test_other_names_of_query_and_value_are_found():
    network = DistilBertModel(
        DistilBertConfig(vocab_size=40, dim=32, n_layers=2, n_heads=2, hidden_dim=48, max_position_embeddings=32)
    )
    assert {name.split(".")[-4] for name in trained(adapt(network, quick(method="lora")))} == {"q_lin", "v_lin"}


def test_target_modules_that_the_model_lacks_are_named(bert_folder):
    with pytest.raises(
        ModelError,
        match=r"BertModel has no layers keys, nothing \(fine_tuning\.target_modules.*dense, key, query, value",
    ):
        adapt(opened(bert_folder).network, quick(target_modules=("keys", "query", "nothing")))


def test_a_model_without_known_attention_asks_for_names():
    network = torch.nn.Sequential(torch.nn.Linear(4, 4))
    with pytest.raises(ModelError, match=r"no query and value.*fine_tuning\.target_modules"):
        adapt(network, quick(method="lora"))


def test_chosen_target_modules_are_adapted_and_no_others(bert_folder):
    model = adapt(opened(bert_folder).network, quick(target_modules=("key", "output.dense")))
    assert {name.split(".lora_")[0].split(".")[-1] for name in trained(model)} == {"key", "dense"}


class Deaf(torch.nn.Module):
    """Embeds each token for itself, so that no token hears of another."""

    def __init__(self) -> None:
        super().__init__()
        self.config = BertConfig(vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=2)
        self.words = torch.nn.Embedding(40, 32)

    def forward(self, input_ids=None, inputs_embeds=None, **_):
        return SimpleNamespace(last_hidden_state=self.words(input_ids) if inputs_embeds is None else inputs_embeds)


@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_an_architecture_that_takes_no_notice_of_virtual_tokens_is_refused(method):
    with pytest.raises(ModelError, match=rf"Deaf cannot be fine-tuned by {method} .*fine_tuning\.method .*to lora"):
        adapt(Deaf(), quick(method=method))


@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_virtual_tokens_work_with_distilbert_or_are_refused_by_name(method):
    network = DistilBertModel(
        DistilBertConfig(vocab_size=40, dim=32, n_layers=2, n_heads=2, hidden_dim=48, max_position_embeddings=32)
    )
    if method == "prefix":
        with pytest.raises(ModelError, match="DistilBertModel cannot be fine-tuned by prefix tuning"):
            adapt(network, quick(method=method))
    else:
        assert len(trained(adapt(network, quick(method=method)))) == 1


def test_more_top_layers_than_there_are_is_refused(bert_folder):
    with pytest.raises(ModelError, match=r"has 2 layers, and 3 of them .*fine_tuning\.top_layers"):
        adapt(opened(bert_folder).network, quick(method="top_layers", top_layers=3))


def test_a_model_whose_layers_cannot_be_told_is_refused_without_a_number():
    with pytest.raises(ModelError, match=r"Deaf: its layers .*use fine_tuning\.method: lora") as raised:
        adapt(Deaf(), quick(method="top_layers", top_layers=2))
    assert "at most" not in str(raised.value)


@pytest.mark.parametrize("method", ["full", "top_layers", "lora", "adalora", "prompt"])
def test_gradient_checkpointing_gives_the_same_gradients(bert_folder, method):
    gradients = []
    for checkpointed in (False, True):
        toy = Toy(bert_folder, quick(method=method))
        if method == "adalora":  # it starts at zero, where one side has no gradient
            load_trained(toy.model, {n: torch.ones_like(w) * 0.1 for n, w in trained(toy.model).items()})
        toy.model.train()
        if checkpointed:
            checkpoint_gradients(toy.model.backbone, method)
        toy.loss(np.arange(8)).backward()
        gradients.append({name: weight.grad for name, weight in trained(toy.model).items() if weight.grad is not None})
    plain, twice = gradients
    assert set(plain) == set(twice)
    assert len(plain) > 1
    for name, gradient in plain.items():
        torch.testing.assert_close(gradient, twice[name], atol=1e-6, rtol=1e-5)


def test_prefix_tuning_refuses_gradient_checkpointing(bert_folder):
    toy = Toy(bert_folder, quick(method="prefix"))
    with pytest.raises(ModelError, match=r"prefix.*fine_tuning\.gradient_checkpointing: false"):
        checkpoint_gradients(toy.model.backbone, "prefix")


def test_weights_of_other_settings_do_not_fit(bert_folder):
    stored = {name: weight.clone() for name, weight in trained(adapt(opened(bert_folder).network, quick())).items()}
    with pytest.raises(ModelError, match=r"do not fit this model .*fine_tuning or language_model"):
        load_trained(adapt(opened(bert_folder).network, quick(rank=2)), stored)
    with pytest.raises(ModelError, match="do not fit this model"):
        load_trained(adapt(opened(bert_folder).network, quick(method="prompt")), stored)
