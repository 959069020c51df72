"""What limits a fine-tuning: memory that does not suffice, and seconds."""

import numpy as np
import pytest
import torch

from pipeline.errors import ModelError
from pipeline.models.finetuning import loop
from pipeline.models.finetuning.loop import Loop
from pipeline.models.finetuning.plan import Task
from tests.models.finetuning.toys import Plain, course, plain_run, plain_task, quick, state_of


def least_run(folder, *, least, **settings):
    model = Plain()
    there = course(folder, least_steps=least, setting="here.max_seconds")
    return Loop(model, plain_task(model), quick(**settings, patience=99), there).run()


class SlowClock:
    """Stands still while a training is planned, and then goes on by so many seconds each time that it is read."""

    def __init__(self, after):
        self.after = after
        self.reset(second=1.0)

    def reset(self, second):
        self.second, self.read = second, 0

    def __call__(self):
        self.read += 1
        return max(0, self.read - self.after) * self.second


# --- memory ------------------------------------------------------------------------------------------------------------


def test_parts_are_halved_until_they_fit_into_memory(tmp_path):
    whole, _ = plain_run(tmp_path / "whole", validate=False, accumulate=4)
    model = Plain()
    task = plain_task(model, validate=False)
    told = []

    def loss(index):
        if len(index) > 2:
            raise torch.OutOfMemoryError("as a GPU would")
        return task.loss(index)

    run = Loop(
        model,
        Task(48, task.weight, loss),
        quick(),
        course(tmp_path / "tight", progress=lambda what, *_: told.append(what)),
    )
    run.run()
    assert (run.parts, run.halved, run.at_once) == (4, 2, 2)
    assert [what for what in told if "memory" in what] == [
        "fine-tune, out of memory: batches in 2 parts",
        "fine-tune, out of memory: batches in 4 parts",
    ]
    assert state_of(model) == state_of(whole)


def test_a_validation_is_halved_until_it_fits_into_memory(tmp_path):
    model = Plain()
    task = plain_task(model)
    seen = []

    def score():
        seen.append(run.at_once)
        if run.at_once > 3:
            raise torch.OutOfMemoryError("as a GPU would")
        return task.score()

    run = Loop(model, Task(48, task.weight, task.loss, score), quick(), course(tmp_path))
    state = run.run()
    assert (run.halved, seen[:3]) == (2, [8, 4, 2])
    assert state.stopped == "steps"
    again = Loop(Plain(), plain_task(Plain()), quick(), course(tmp_path))
    again.run()
    assert again.halved == 2  # a resumed training says so too


def test_memory_for_not_even_one_example_is_named(tmp_path):
    model = Plain()

    def loss(index):
        raise torch.OutOfMemoryError("as a GPU would")

    with pytest.raises(ModelError, match=r"single example.*fine_tuning\.gradient_checkpointing: true"):
        Loop(model, Task(48, lambda index: 1.0, loss), quick(), course(tmp_path)).run()


# --- seconds -----------------------------------------------------------------------------------------------------------


def test_a_budget_too_small_for_one_step_names_its_setting(tmp_path):
    model = Plain()
    with pytest.raises(
        ModelError, match=r"do not suffice for one step .*raise members\.text_regression\.max_seconds in almanac\.yaml"
    ):
        Loop(
            model,
            plain_task(model),
            quick(),
            course(tmp_path, max_seconds=1e-6, setting="members.text_regression.max_seconds"),
        ).run()


def test_seconds_for_fewer_than_the_least_steps_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "steps_affordable", lambda *_: (5, 1))
    with pytest.raises(
        ModelError, match=r"allow 5 of 48 steps.*fewer than 6.*raise here\.max_seconds in almanac\.yaml"
    ):
        least_run(tmp_path / "a", least=6, epochs=8)
    assert least_run(tmp_path / "b", least=5, epochs=8).step == 5
    monkeypatch.undo()
    assert least_run(tmp_path / "c", least=40, epochs=0.5).step == 3  # no more were wanted


def test_a_wall_clock_that_strikes_lets_the_least_steps_be_done(tmp_path, monkeypatch):
    clock = SlowClock(after=12)
    monkeypatch.setattr(loop.time, "monotonic", clock)
    clock.second = 20.0
    state = least_run(tmp_path / "a", least=40, epochs=50)
    assert (state.step, state.stopped) == (40, "seconds")
    clock.reset(second=120.0)
    with pytest.raises(
        ModelError, match=r"of 300 steps.*fewer than 40.*raise here\.max_seconds in almanac\.yaml to \d+"
    ):
        least_run(tmp_path / "b", least=40, epochs=50)


def test_a_wall_clock_that_strikes_keeps_the_best_weights_and_says_so(tmp_path, monkeypatch):
    clock = iter(np.concatenate([np.zeros(12), np.arange(1, 1000) * 40.0]))
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(clock)))
    _, state = plain_run(tmp_path, epochs=50)
    assert (state.stopped, state.budget) == ("seconds", "seconds")
    assert state.step < state.steps[loop.PHASE]
