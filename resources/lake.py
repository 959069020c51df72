"""The home as a Dagster resource: its settings, its lake, and the lock that one run holds at a time."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import dagster as dg
from filelock import FileLock, Timeout

from pipeline.errors import HomeBusyError, PermanentError, TransientError
from pipeline.lake import Lake
from pipeline.migrations import bring_up_to_date
from pipeline.models.base import Progress
from pipeline.settings import Settings, load_settings
from resources.progress import REPORTER

_LOCK_FILE = ".almanac.lock"
MAX_RETRIES = 3
MAX_BUSY_RETRIES = 60


@contextmanager
def home_lock(home: Path, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold a home for one run; within a process the lock may be taken again.

    Raises:
        HomeBusyError: another run holds it.
    """
    lock = FileLock(home / _LOCK_FILE, is_singleton=True)
    try:
        lock.acquire(timeout=wait_seconds)
    except Timeout as error:
        raise HomeBusyError(
            f"{home}: another run is using this home; wait for it to end (see `almanac ui`) and run again"
        ) from error
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class Work:
    """What an asset works with while it holds the home.

    Attributes:
        lake: the home's lake.
        settings: the home's settings.
        progress: told how far the work is.
        started: when it began, for `seconds`.
    """

    lake: Lake
    settings: Settings
    progress: Progress = REPORTER
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since the work began."""
        return round(time.monotonic() - self.started, 2)

    def tell(self, context: dg.AssetExecutionContext, warnings: Iterable[str]) -> None:
        """Say what was found amiss: in the run's log, and to whoever watches the command line."""
        for warning in warnings:
            context.log.warning(warning)
            REPORTER.say(warning)


class HomeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """One shop's folder; many homes never meet."""

    folder: str
    retry_seconds: float = 5.0

    @property
    def path(self) -> Path:
        """Folder of the home."""
        return Path(self.folder)

    @contextmanager
    def work(self, context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Iterator[Work]:
        """Hold the home and do an asset's work.

        Only what is transient is tried again, with back-off. A permanent error becomes a Dagster failure with the
        message for the person who must act; a bug is not retried either: it would only train for nothing.
        """
        try:
            with home_lock(self.path):
                settings = load_settings(self.path)
                lake = Lake(self.path, settings.compute)
                lake.sweep()
                bring_up_to_date(lake)
                yield Work(lake, settings)
        except PermanentError as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error
        except HomeBusyError as error:
            # another run may hold the home for a whole night
            raise dg.RetryRequested(max_retries=MAX_BUSY_RETRIES, seconds_to_wait=12 * self.retry_seconds) from error
        except TransientError as error:
            raise dg.RetryRequested(
                max_retries=MAX_RETRIES,
                seconds_to_wait=self.retry_seconds * 2**context.op_execution_context.retry_number,
            ) from error


def as_of_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> date:
    """The night of a run over the daily `as_of` partitions."""
    return date.fromisoformat(context.partition_key)
