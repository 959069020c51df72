"""Several processes that share a batch: each computes its parts of it, and all take the same step.

Data parallelism with an explicit sum of gradients over `torch.distributed`: NCCL between GPUs, gloo between processes on
the CPU. Losses are sums divided by the weight of the whole batch, so the weights are those of one process with as many
parts, but for rounding; with fewer parts it would draw other dropout. Processes of one machine find each other through a
file, no port is opened.
"""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import AlmanacError, ModelError

_REFUSED = "refused.txt"


@dataclass(frozen=True)
class Peers:
    """One process among those that train together; alone by default.

    Attributes:
        rank: number of the process, from 0; the first one writes and decides.
        size: number of processes.
        device: torch device of this process.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    def sum(self, value: float) -> float:
        """Sum of a number over the processes."""
        return self._reduced(value, "SUM")

    def greatest(self, value: float) -> float:
        """Greatest of a number over the processes."""
        return self._reduced(value, "MAX")

    def of_first(self, value: float) -> float:
        """The first process's number."""
        return self._reduced(value if self.rank == 0 else float("-inf"), "MAX")

    def sum_gradients(self, weights: Iterable[Tensor]) -> None:
        """Give all processes the sum of their gradients; a weight without one counts as zero."""
        if self.size == 1:
            return
        import torch.distributed as dist

        weights = list(weights)
        flat = torch.cat(
            [(torch.zeros_like(w) if w.grad is None else w.grad).detach().reshape(-1).float() for w in weights]
        )
        dist.all_reduce(flat)
        for weight, gradient in zip(weights, torch.split(flat, [w.numel() for w in weights]), strict=True):
            weight.grad = gradient.reshape(weight.shape).to(weight.dtype).clone()

    def share_weights(self, weights: Iterable[Tensor]) -> None:
        """Give all processes the weights of the first."""
        if self.size == 1:
            return
        import torch.distributed as dist

        for weight in weights:
            dist.broadcast(weight.data, 0)

    def _reduced(self, value: float, how: str) -> float:
        if self.size == 1:
            return value
        import torch.distributed as dist

        tensor = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, getattr(dist.ReduceOp, how))
        return float(tensor)


def launch(work: Callable[..., None], processes: int, device: str, threads: int, *args: Any) -> None:
    """Run `work(peers, *args)` in several processes to its end.

    Args:
        work: a function of a module; what it makes it leaves in files.
        processes: how many.
        device: "cpu", or "cuda" for a GPU each.
        threads: CPU threads of all of them together.
        args: handed to each process.

    Raises:
        ModelError: fewer GPUs than processes, or what `work` raised.
    """
    if device != "cpu" and torch.cuda.device_count() < processes:
        raise ModelError(
            f"{processes} processes need a GPU each, but there are {torch.cuda.device_count()}; lower "
            "fine_tuning.processes in almanac.yaml, or set compute.device: cpu"
        )
    with tempfile.TemporaryDirectory() as folder:
        meeting = _Meeting(Path(folder), processes, device, max(1, threads // processes))
        try:
            spawn: Any = torch.multiprocessing.spawn  # type: ignore[attr-defined]
            spawn(_member, (meeting, work, args), nprocs=processes)
        except (
            torch.multiprocessing.ProcessRaisedException,  # type: ignore[attr-defined]
            torch.multiprocessing.ProcessExitedException,  # type: ignore[attr-defined]
        ) as error:
            refused = meeting.folder / _REFUSED
            said = refused.read_text(encoding="utf-8") if refused.is_file() else str(error).strip().splitlines()[-1]
            raise ModelError(said) from error


@dataclass(frozen=True)
class _Meeting:
    """Where processes find each other, and what each may use."""

    folder: Path
    processes: int
    device: str
    threads: int


def _member(rank: int, meeting: _Meeting, work: Callable[..., None], args: tuple[Any, ...]) -> None:
    """One process, from its start to its end."""
    import torch.distributed as dist

    torch.set_num_threads(meeting.threads)
    mine = "cpu" if meeting.device == "cpu" else f"cuda:{rank}"
    if mine != "cpu":
        torch.cuda.set_device(rank)
    store = f"file://{meeting.folder / 'store'}"
    backend = "gloo" if mine == "cpu" else "nccl"
    dist.init_process_group(backend, init_method=store, rank=rank, world_size=meeting.processes)
    try:
        work(Peers(rank, meeting.processes, mine), *args)
    except AlmanacError as error:
        (meeting.folder / _REFUSED).write_text(str(error), encoding="utf-8")
        raise
    finally:
        dist.destroy_process_group()
