"""How much memory a piece of work takes: the process is looked at while it goes on, for nothing remembers it by itself."""

import threading
from types import TracebackType
from typing import Self

import psutil

_EVERY_SECONDS = 0.05
_MB = 2**20


class PeakMemory:
    """Resident memory of this process and its children at its highest, above what it held at the start.

    Attributes:
        peak_mb: megabytes; known after the work.
    """

    def __init__(self) -> None:
        self.peak_mb = 0.0
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._at_first = 0

    def __enter__(self) -> Self:
        self._at_first = _resident()
        self._watcher.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._look()
        self._stop.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            self._look()

    def _look(self) -> None:
        self.peak_mb = max(self.peak_mb, (_resident() - self._at_first) / _MB)


def _resident() -> int:
    process = psutil.Process()
    total = int(process.memory_info().rss)
    for child in process.children(recursive=True):
        try:
            total += int(child.memory_info().rss)
        except psutil.NoSuchProcess:
            continue
    return total
