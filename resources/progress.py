"""Progress of long work: a bar in a terminal, plain lines otherwise."""

import sys
import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

_EVERY_SECONDS = 15.0


@dataclass(eq=False)
class ProgressReporter:
    """Shows `(what, done, of)` calls; the same object serves one run from start to end.

    Attributes:
        interactive: bars (a terminal) or plain lines (a file, a log, CI).
    """

    interactive: bool = field(default_factory=sys.stderr.isatty)
    _bars: Progress | None = None
    _tasks: dict[str, TaskID] = field(default_factory=dict)
    _last: dict[str, float] = field(default_factory=dict)

    def __call__(self, what: str, done: int, of: int) -> None:
        """Show that `done` of `of` steps of `what` are behind us."""
        if self.interactive:
            self._bar(what, done, of)
        else:
            self._line(what, done, of)

    def say(self, text: str) -> None:
        """Print a line, above the bars where there are any."""
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the terminal as a person expects it."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
        self._tasks.clear()

    def _bar(self, what: str, done: int, of: int) -> None:
        if self._bars is None:
            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=Console(stderr=True),
            )
            self._bars.start()
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=max(of, 1))
        self._bars.update(self._tasks[what], completed=done, total=max(of, 1))

    def _line(self, what: str, done: int, of: int) -> None:
        now = time.monotonic()
        finished = done >= of
        if finished or now - self._last.get(what, -_EVERY_SECONDS) >= _EVERY_SECONDS:
            self._last[what] = now
            print(f"{what}: {done:,} of {of:,}", file=sys.stderr, flush=True)


REPORTER = ProgressReporter()
"""The reporter of this process."""
