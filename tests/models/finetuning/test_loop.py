"""The fine-tuning loop: parts, precision, kills, losses that explode."""

import math

import pytest
import torch
from safetensors import safe_open

from pipeline.errors import ModelError
from pipeline.models.finetuning import loop
from pipeline.models.finetuning.loop import Loop
from pipeline.models.finetuning.methods import trained
from pipeline.models.finetuning.plan import VALIDATIONS, Course, Task, linear
from pipeline.models.networks.checkpoint import CHECKPOINT_FILE
from tests.models.finetuning.toys import Plain, Toy, course, plain_run, plain_task, quick, state_of


class Killed(BaseException):
    """What a kill looks like from inside: nothing of the training runs after it."""


@pytest.fixture
def often(monkeypatch):
    """A checkpoint after every step."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)


# --- the same gradient however it is computed -------------------------------------------------------------------------


def test_a_batch_in_parts_gives_the_weights_of_the_whole(bert_folder, tmp_path):
    ends = []
    for parts in (1, 2, 3):
        settings = quick(method="full", accumulate=parts, learning_rate=1e-3)
        toy = Toy(bert_folder, settings)
        Loop(toy.model, toy.task(validate=False), settings, course(tmp_path / str(parts))).run()
        ends.append(trained(toy.model))
    for name, weight in ends[0].items():
        torch.testing.assert_close(weight, ends[1][name], atol=2e-5, rtol=1e-3)
        torch.testing.assert_close(weight, ends[2][name], atol=2e-5, rtol=1e-3)


def test_gradient_checkpointing_ends_in_the_same_weights(bert_folder, tmp_path):
    ends = []
    for on in (False, True):
        settings = quick(gradient_checkpointing=on)
        toy = Toy(bert_folder, settings)
        Loop(toy.model, toy.task(validate=False), settings, course(tmp_path / str(on))).run()
        ends.append(trained(toy.model))
    for name, weight in ends[0].items():
        torch.testing.assert_close(weight, ends[1][name], atol=1e-5, rtol=1e-3)


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(tmp_path):
    first, second = (plain_run(tmp_path / name)[0] for name in "ab")
    model = Plain()
    Loop(model, plain_task(model), quick(), course(tmp_path / "c", seed=8)).run()
    assert state_of(first) == state_of(second)
    assert state_of(first) != state_of(model)


def test_the_global_random_numbers_are_left_alone(tmp_path):
    run = Loop(model := Plain(), plain_task(model), quick(), course(tmp_path))
    before = torch.random.get_rng_state()
    run.run()
    assert torch.equal(before, torch.random.get_rng_state())


def test_dropout_is_on_in_training_and_off_in_validation(tmp_path):
    seen = set()
    model = Plain()
    task = plain_task(model)

    def told(call):
        def wrapped(*args):
            seen.add((call.__name__, model.drop.training))
            return call(*args)

        return wrapped

    def loss(index):
        return task.loss(index)

    def score():
        return task.score()

    Loop(model, Task(48, task.weight, told(loss), told(score)), quick(), course(tmp_path)).run()
    assert seen == {("loss", True), ("score", False)}


# --- optimisers, rates, batches ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_both_optimisers_learn(tmp_path, optimizer):
    _, state = plain_run(tmp_path, optimizer=optimizer, epochs=10, learning_rate=3e-2, head_learning_rate=3e-2)
    assert state.score < 0.5 * state.curves["validation_loss"][0]


def test_language_model_and_head_have_rates_of_their_own(tmp_path):
    model = Plain()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run = Loop(
        model, plain_task(model, validate=False), quick(learning_rate=1e-9, head_learning_rate=1e-2), course(tmp_path)
    )
    run.run()
    moved = {name: float((value - before[name]).abs().max()) for name, value in model.state_dict().items()}
    assert moved["backbone.weight"] < 1e-6
    assert moved["head.weight"] > 1e-3
    assert [group["peak"] for group in run.optimizer.param_groups] == [1e-9, 1e-2]


def test_the_gradient_is_clipped(tmp_path):
    norms = []
    model = Plain()
    run = Loop(model, plain_task(model, validate=False), quick(optimizer="sgd", clip=1e-3), course(tmp_path))
    real = run._gradients

    def kept(step):
        loss = real(step)
        norms.append(math.sqrt(sum(float(w.grad.square().sum()) for w in run.weights.values())))
        return loss

    run._gradients = kept
    run.run()
    after = math.sqrt(sum(float(w.grad.square().sum()) for w in run.weights.values()))
    assert min(norms) > 1e-2
    assert after == pytest.approx(1e-3, rel=1e-3)


def test_bf16_autocast_learns_on_the_cpu_too(bert_folder, tmp_path):
    settings = quick(precision="bf16", epochs=6)
    toy = Toy(bert_folder, settings)
    state = Loop(toy.model, toy.task(), settings, course(tmp_path)).run()
    assert state.score < 0.7 * state.curves["validation_loss"][0]
    assert all(weight.dtype == torch.float32 for weight in trained(toy.model).values())


def test_fp16_without_a_gpu_is_refused(tmp_path):
    model = Plain()
    with pytest.raises(ModelError, match=r"fp16 needs a GPU.*fine_tuning\.precision"):
        Loop(model, plain_task(model), quick(precision="fp16"), course(tmp_path))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine: fp16 with a scaler is not tried")
def test_fp16_learns_on_a_gpu(tmp_path):
    model = Plain().cuda()
    random = torch.randn(48, 6, device="cuda")
    task = Task(48, lambda i: float(len(i)), lambda i: (model(random[i]) - random[i, 0]).square().sum())
    state = Loop(model, task, quick(precision="fp16", epochs=20), course(tmp_path)).run()
    assert state.curves["training_loss"][-1] < state.curves["training_loss"][0]


# --- early stopping ---------------------------------------------------------------------------------------------------


def test_it_stops_early_and_keeps_the_best_weights(tmp_path):
    model = Plain()
    task = plain_task(model)
    scores = iter([5.0, 3.0, 2.0, 4.0, 4.0, 4.0, 1.0])
    seen = []

    def score():
        seen.append(state_of(model))
        return 9.0 if len(seen) == 1 else next(scores)  # the first one only measures seconds

    settings = quick(epochs=8, patience=3)
    state = Loop(model, Task(48, task.weight, task.loss, score), settings, course(tmp_path)).run()
    assert state.stopped == "early stopping"
    assert state.curves["validation_loss"] == [5.0, 3.0, 2.0, 4.0, 4.0, 4.0]
    assert state_of(model) == seen[3]
    assert state.best_step == 12


@pytest.mark.parametrize("epochs", [2.5, 4.0, 31 / 6])
def test_it_validates_no_more_often_than_planned(tmp_path, epochs):
    _, state = plain_run(tmp_path, epochs=epochs, patience=99)
    assert state.steps[loop.PHASE] in {15, 24, 31}
    assert len(state.curves["validation_loss"]) <= 1 + VALIDATIONS
    assert state.curve_steps[-1] == state.step


def test_a_start_that_nothing_improves_on_is_kept(tmp_path):
    model = Plain()
    before = state_of(model)
    task = plain_task(model)
    worse = iter(range(100))
    state = Loop(model, Task(48, task.weight, task.loss, lambda: float(next(worse))), quick(), course(tmp_path)).run()
    assert state.best_step == 0
    assert state_of(model) == before


def test_without_validation_the_last_weights_are_kept(tmp_path):
    model, state = plain_run(tmp_path, validate=False)
    assert (state.stopped, state.best_step) == ("steps", 0)
    assert state_of(model) != state_of(Plain())
    assert len(state.curves["training_loss"]) == len(state.curve_steps) == state.steps[loop.PHASE]


# --- killed and resumed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("step", [0, 1, 5, 11])
def test_a_killed_training_resumes_to_the_same_bytes(tmp_path, monkeypatch, often, step, optimizer):
    whole, whole_state = plain_run(tmp_path / "whole", epochs=2, optimizer=optimizer)
    real = Loop._train_step

    def killed(self, number, rate):
        if rate and number == step:
            raise Killed
        return real(self, number, rate)

    monkeypatch.setattr(Loop, "_train_step", killed)
    with pytest.raises(Killed):
        plain_run(tmp_path / "killed", epochs=2, optimizer=optimizer)
    done = []
    monkeypatch.setattr(
        Loop, "_train_step", lambda self, number, rate: (done.append(number), real(self, number, rate))[1]
    )
    resumed, state = plain_run(tmp_path / "killed", epochs=2, optimizer=optimizer)
    assert done == list(range(step, 12))
    assert state_of(resumed) == state_of(whole)
    assert state.curves == whole_state.curves


@pytest.mark.parametrize("step", [2, 9, 14])
def test_adalora_resumes_with_its_ranks(bert_folder, tmp_path, monkeypatch, often, step):
    settings = quick(method="adalora", epochs=4, dropout=0.2)

    def run(folder):
        toy = Toy(bert_folder, settings)
        Loop(toy.model, toy.task(), settings, course(folder)).run()
        return state_of(toy.model)

    whole = run(tmp_path / "whole")
    real = Loop._train_step

    def killed(self, number, rate):
        if rate and number == step:
            raise Killed
        return real(self, number, rate)

    monkeypatch.setattr(Loop, "_train_step", killed)
    with pytest.raises(Killed):
        run(tmp_path / "killed")
    monkeypatch.setattr(Loop, "_train_step", real)
    assert run(tmp_path / "killed") == whole


def test_a_finished_training_is_not_repeated(tmp_path, monkeypatch):
    first, _ = plain_run(tmp_path)
    monkeypatch.setattr(Loop, "_train_step", lambda *_: pytest.fail("trained again"))
    assert state_of(plain_run(tmp_path)[0]) == state_of(first)


def test_a_checkpoint_of_something_else_is_not_resumed_from(tmp_path):
    plain_run(tmp_path)
    model = Plain()
    state = Loop(model, plain_task(model), quick(epochs=2), Course(tmp_path, "other", max_seconds=600)).run()
    assert state.steps[loop.PHASE] == 12


def test_a_checkpoint_holds_what_learns_and_not_the_base(bert_folder, tmp_path):
    settings = quick(method="lora")
    toy = Toy(bert_folder, settings)
    Loop(toy.model, toy.task(), settings, course(tmp_path)).run()
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT_FILE]
    with safe_open(tmp_path / CHECKPOINT_FILE, framework="pt") as file:
        weights = {name for name in file.keys() if name.startswith("weights/")}  # noqa: SIM118 - not a mapping
    assert weights == {f"weights/{name}" for name in trained(toy.model)}
    assert all("lora_" in name or "heads." in name for name in weights)


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 2])
def test_a_loss_that_is_not_a_number_goes_back_with_a_smaller_rate(tmp_path, times):
    model = Plain()
    task = plain_task(model)
    run = Loop(model, task, quick(epochs=4), course(tmp_path))
    real, rates, bad = run._gradients, [], {3, 7} if times == 2 else {3}

    def sometimes(step):
        rates.append(run.optimizer.param_groups[0]["lr"])
        loss = real(step)
        return math.nan if step in bad and rates[-1] else loss

    run._gradients = sometimes
    state = run.run()
    assert state.recoveries == times
    peaks = [rate / linear(step, 24, 0.1) for step, rate in enumerate(rates[2:])]
    assert peaks[3] == pytest.approx(1e-2)
    assert peaks[4] == pytest.approx(3e-3)
    assert peaks[-1] == pytest.approx(1e-2 * 0.3**times)
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


def test_a_fine_tuning_that_diverges_is_named(tmp_path):
    model = Plain()
    task = plain_task(model)
    broken = Task(48, task.weight, lambda index: task.loss(index) * math.nan)
    with pytest.raises(
        ModelError, match=r"diverged: the loss of step 3 is nan.*fine_tuning\.learning_rate \(now 0\.01\)"
    ):
        Loop(model, broken, quick(), course(tmp_path)).run()


def test_adalora_survives_a_loss_that_is_not_a_number(bert_folder, tmp_path):
    settings = quick(method="adalora", epochs=2)
    toy = Toy(bert_folder, settings)
    run = Loop(toy.model, toy.task(), settings, course(tmp_path))
    real = run._gradients
    run._gradients = lambda step: math.nan if step == 5 else real(step)
    assert run.run().recoveries == 1


def test_a_step_that_fp16_leaves_out_says_nothing_about_ranks(bert_folder, tmp_path):
    """Of 16 steps the eleventh settles the ranks."""
    settings = quick(method="adalora", epochs=2, batch_size=4)
    toy = Toy(bert_folder, settings)
    run = Loop(toy.model, toy.task(validate=False), settings, course(tmp_path))
    run._type = torch.float16  # a GPU would have it
    run._new_optimizer()
    real, told = run._gradients, []

    def overflowing(step):
        loss = real(step)
        if step in (2, 7, 10):
            next(iter(run.weights.values())).grad.fill_(math.inf)
        return loss

    allocate = run.ranks.allocate
    run.ranks.allocate = lambda step, *, finite: (told.append(finite), allocate(step, finite=finite))[1]
    run._gradients = overflowing
    run.run()
    assert {2, 7, 10} <= {number for number, finite in enumerate(told) if not finite}
    assert sum(int((weight != 0).sum()) for name, weight in trained(toy.model).items() if "lora_E" in name) == 4 * 2
