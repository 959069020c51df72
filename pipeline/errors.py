"""Errors in two families: permanent (a person must change something) and transient (try again).

Every message names the file, the place in it and the way out. Batch work gathers its problems and raises one
error that lists them all, so that a person mends a delivery once and not line by line.
"""


class AlmanacError(Exception):
    """Anything Almanac refuses to do; the message is written for the person who must act."""


class PermanentError(AlmanacError):
    """Trying again changes nothing: settings, data or a command must change. Never retried."""


class TransientError(AlmanacError):
    """The same work may succeed later: a lock, a full disk. Retried with back-off."""


class SettingsError(PermanentError):
    """Settings or a source mapping with a typo, an impossible value or a missing file."""


class DamagedFileError(PermanentError):
    """A file of the lake that is no Parquet any more."""


class DeliveryError(PermanentError):
    """A delivered file that cannot be taken in: missing, truncated, wrong encoding, wrong header, all bad."""


class HistoryError(PermanentError):
    """A night for which the orders known then do not suffice: before the first order, too short a history."""


class ModelError(PermanentError):
    """A language model or forecaster that cannot be loaded or trained as asked."""


class PublishError(PermanentError):
    """A published file that fails its own checks, or is not there yet; an older one still stands."""


class QueryError(PermanentError):
    """SQL that the published file refuses, with DuckDB's own words."""


class HomeBusyError(TransientError):
    """Another run holds the home."""


class DiskFullError(TransientError):
    """The disk filled up while writing; what stood before still stands."""


_INTERRUPTED = "Query interrupted"


def heed_stop(error: Exception) -> None:
    """What a handler calls first that goes on after any error: a signal that arrives during a query is no failure of it.

    DuckDB's binding (2.0) swallows whatever the signal's handler raised, and raises a RuntimeError of its own.

    Raises:
        KeyboardInterrupt: the error is that one.
    """
    if is_stop(type(error).__name__, str(error)):
        raise KeyboardInterrupt from error


def is_stop(kind: str, message: str) -> bool:
    """Whether an error, by its class and message, is what DuckDB makes of a signal."""
    return kind == RuntimeError.__name__ and message.strip().endswith(_INTERRUPTED)
