"""Which device, precision and threads a run gets."""

import os

import pytest
import torch

from pipeline.errors import SettingsError
from pipeline.models.base import Compute
from pipeline.settings import ComputeSettings, usable_cpus
from resources.compute import ComputeResource, pick_compute


@pytest.fixture(autouse=True)
def _threads_as_before() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def with_gpu(monkeypatch: pytest.MonkeyPatch, *, bf16: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation)


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_without_a_gpu_it_is_the_cpu_with_all_threads_that_the_process_may_use(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("resources.compute.usable_cpus", lambda: 3)
    compute = pick_compute(ComputeSettings.model_validate({"device": device}))
    assert compute == Compute(device="cpu", threads=3, mixed_precision=False)
    assert torch.get_num_threads() == 3


def test_threads_of_the_settings_are_taken_and_set_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = torch.set_num_threads
    monkeypatch.setattr(torch, "set_num_threads", lambda count: (asked.append(count), real(count))[1])
    torch.set_num_threads(2)
    asked.clear()
    for _ in range(3):
        assert pick_compute(ComputeSettings(device="cpu", threads=1)).threads == 1
    assert asked == [1]


@pytest.mark.parametrize("bf16", [True, False], ids=["with bf16", "emulated bf16 only"])
def test_with_a_gpu_it_is_the_gpu_and_bf16_only_where_the_hardware_has_it(
    bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gpu(monkeypatch, bf16=bf16)
    compute = pick_compute(ComputeSettings(threads=2))
    assert compute == Compute(device="cuda", threads=2, mixed_precision=bf16)
    assert pick_compute(ComputeSettings(device="cpu", threads=2)).device == "cpu"


def test_a_gpu_that_is_not_there_is_a_settings_error_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match=r"compute\.device.*set it to auto or cpu"):
        pick_compute(ComputeSettings(device="cuda"))


def test_a_run_may_override_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch, bf16=True)
    assert ComputeResource(device="cpu").pick(ComputeSettings(threads=1)).device == "cpu"
    assert ComputeResource().pick(ComputeSettings(threads=1)).device == "cuda"
    with pytest.raises(SettingsError, match=r"gpu.*none of auto, cpu, cuda"):
        ComputeResource(device="gpu").pick(ComputeSettings())


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no CPU affinity")
def test_usable_cpus_follow_the_affinity_of_the_process() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_a_system_without_affinity_counts_all_its_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cpus() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cpus() == 1
