"""The rules of a fine-tuning: rates, batches, and how seconds become steps."""

import numpy as np
import pytest
import torch

from pipeline.models.finetuning.plan import autocast_type, batch, linear, steps_affordable, steps_wanted
from tests.models.finetuning.toys import quick


def test_the_rate_rises_and_falls_in_lines():
    rates = [linear(step, 100, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([k / 10 for k in range(1, 11)])
    assert rates[10] == pytest.approx(1.0)
    assert np.diff(rates[10:]) == pytest.approx(np.full(89, -1 / 90))
    assert rates[-1] == pytest.approx(1 / 90)
    assert linear(0, 4, 0.0) == 1.0


def test_every_epoch_sees_every_example_once():
    drawn = np.concatenate([batch(7, step, 10, 4) for step in range(5)])
    assert sorted(drawn[:10]) == list(range(10))
    assert sorted(drawn[10:]) == list(range(10))
    assert drawn[:10].tolist() != drawn[10:].tolist()
    assert len(batch(7, 0, 3, 8)) == 3


def test_seconds_become_steps():
    assert steps_affordable(100, 60.0, 0.1, 1.0) == (100, 8)
    assert steps_affordable(100, 16.0, 0.1, 1.0) == (100, 3)
    assert steps_affordable(100, 8.0, 0.1, 1.0) == (60, 1)
    assert steps_affordable(100, 3.0, 0.1, 1.0) == (10, 1)
    assert steps_affordable(100, 2.0, 0.1, 1.0)[0] == 0
    assert steps_affordable(100, 5.0, 0.1, 0.0) == (50, 8)


def test_epochs_become_steps():
    assert steps_wanted(quick(epochs=2.0, batch_size=8), 20, None) == 5
    assert steps_wanted(quick(epochs=2.0, batch_size=8), 20, 3) == 3
    assert steps_wanted(quick(epochs=0.01, batch_size=8), 20, None) == 1
    assert steps_wanted(quick(epochs=1.0, batch_size=64), 20, None) == 1


def test_bf16_that_is_only_emulated_is_not_chosen(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert autocast_type("auto", "cuda") is None
    assert autocast_type("bf16", "cuda") is torch.bfloat16
