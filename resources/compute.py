"""What a run may use of the machine: device, precision and threads, picked once per process.

The picking belongs here because it asks the hardware; what is done with it belongs to the forecasters
(`pipeline.models.base.Compute`). torch is imported only when asked: it costs seconds.
"""

import dagster as dg

from pipeline.errors import SettingsError
from pipeline.models.base import Compute
from pipeline.settings import ComputeSettings, usable_cpus

DEVICES = ("auto", "cpu", "cuda")
_PLACE = "almanac.yaml: compute.device"


class ComputeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Picks what a run uses; in the launchpad a run may ask for another device than the home's settings."""

    device: str = ""

    def pick(self, settings: ComputeSettings) -> Compute:
        """The machine as the home's settings, or this run, want it used.

        Raises:
            SettingsError: no such device.
        """
        if not self.device:
            return pick_compute(settings)
        if self.device not in DEVICES:
            raise SettingsError(f"resource compute: device {self.device!r} is none of {', '.join(DEVICES)}")
        return pick_compute(settings.model_copy(update={"device": self.device}))


def pick_compute(settings: ComputeSettings) -> Compute:
    """Pick device, precision and threads, and tell torch the threads.

    Args:
        settings: `compute` of a home's settings.

    Raises:
        SettingsError: a GPU is asked for, and this machine has none that torch can use.
    """
    threads = settings.threads or usable_cpus()
    if settings.device == "cpu":
        _set_torch_threads(threads)
        return Compute(device="cpu", threads=threads)

    import torch

    has_gpu = torch.cuda.is_available()
    if settings.device == "cuda" and not has_gpu:
        build = "this build of torch is for CPUs only" if torch.version.cuda is None else "torch finds no usable GPU"
        raise SettingsError(
            f"{_PLACE}: a GPU is asked for, but {build}; set it to auto or cpu, or install a CUDA build of "
            "torch on a machine whose driver `nvidia-smi` lists"
        )
    _set_torch_threads(threads)
    if not has_gpu:
        return Compute(device="cpu", threads=threads)
    # emulated bf16 (GPUs before Ampere) is slower than float32, so only what the hardware has counts
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return Compute(device="cuda", threads=threads, mixed_precision=has_bf16)


def _set_torch_threads(threads: int) -> None:
    """Set torch's threads once: setting them again, even to the same number, rebuilds torch's pool."""
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
