"""Backfills: past nights one after the other, each from what it knew, once; killed ones go on where they were.

Deliveries are taken in once, before the first night. Each night then trains when it was due and forecasts; the published file
is brought up to date at the end. The home is held night by night, so that a nightly run need not wait for a whole season.
"""

import difflib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from pipeline.as_of import known_days
from pipeline.errors import HistoryError, SettingsError
from pipeline.forecasting.vintages import Vintage, own, vintages
from pipeline.lake import Lake
from pipeline.orchestration.runs import Runs, preflight, refuse_impossible_nights
from pipeline.settings import SETTINGS_FILE, SeasonSettings, Settings
from resources.lake import home_lock

_WAIT_SECONDS = 6 * 3600.0
"""How long a backfill under way waits for a nightly run that came between two of its nights."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Backfilled:
    """What a backfill did.

    Attributes:
        made: nights forecast now.
        kept: nights that stood already.
        skipped: nights that are not possible, with the reason.
        seconds: duration.
    """

    made: tuple[date, ...] = ()
    kept: tuple[date, ...] = ()
    skipped: dict[date, str] = field(default_factory=dict)
    seconds: float = 0.0


def nights_between(first: date, last: date, every_days: int, *, with_last: bool = False) -> list[date]:
    """Nights from the first on, every so many days, up to the last.

    Args:
        first: first night.
        last: no night comes after it.
        every_days: days between nights.
        with_last: the last is a night whatever the step: the end of a season tells what came of it.

    Raises:
        HistoryError: the last lies before the first.
    """
    if last < first:
        raise HistoryError(f"--to {last} lies before --from {first}; swap them")
    nights = [first + timedelta(days=days) for days in range(0, (last - first).days + 1, every_days)]
    return [*nights, last] if with_last and nights[-1] < last else nights


def season(settings: Settings, name: str) -> SeasonSettings:
    """A season of the settings.

    Raises:
        SettingsError: there is none of that name; says which there are.
    """
    if name in settings.seasons:
        return settings.seasons[name]
    close = difflib.get_close_matches(name, settings.seasons, n=1)
    known = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(settings.seasons) or 'none'}"
    raise SettingsError(
        f"{SETTINGS_FILE}: no season {name!r} in `seasons`; {known}. Add a line such as "
        f"`{name}: 2010-09-01 to 2010-12-24`, or give --from and --to"
    )


def backfill(home: Path, nights: Sequence[date], *, force: bool = False, tell: Tell = print) -> Backfilled:
    """Make every night that does not stand.

    Args:
        home: the home.
        nights: nights in order.
        force: make those that stand anew, too.
        tell: told a line per night.

    Raises:
        HistoryError: not one of the nights is possible.
        HomeBusyError: another run holds the home when the backfill begins.
        AlmanacError: a night failed; the nights before it stand, and the same command goes on from there.
    """
    began = time.monotonic()
    settings = preflight(home)
    refuse_impossible_nights(settings, nights[0], nights[-1])
    lake = Lake(home, settings.compute)
    with home_lock(home), Runs(home) as runs:
        runs.execute("ingest")
    skipped = _impossible(lake, settings, nights)
    wanted = [night for night in nights if night not in skipped]
    for night, why in skipped.items():
        tell(f"{night}  skipped: {why}")
    if not wanted:
        raise HistoryError(
            f"{home}: none of the {len(nights)} nights from {nights[0]} to {nights[-1]} can be forecast: "
            + "; ".join(dict.fromkeys(skipped.values()))
        )
    made: list[date] = []
    with Runs(home) as runs:
        for night in wanted:
            with home_lock(home, wait_seconds=_WAIT_SECONDS):
                if not force and _stands(lake, night, tell):
                    continue
                started = time.monotonic()
                runs.execute("backfill", night, force=force)
                made.append(night)
                vintage = own(vintages(lake, night))
                tell(f"{night}  {_described(vintage)}, {time.monotonic() - started:.1f} s")
        with home_lock(home, wait_seconds=_WAIT_SECONDS):
            runs.execute("publish", wanted[-1])
    kept = tuple(night for night in wanted if night not in made)
    return Backfilled(tuple(made), kept, skipped, time.monotonic() - began)


def _impossible(lake: Lake, settings: Settings, nights: Sequence[date]) -> dict[date, str]:
    """Nights that no orders speak for: before there is enough to train on, or after the last order."""
    first, last = known_days(lake)
    earliest = first + timedelta(days=settings.training.min_history_days - 1)
    found = {}
    for night in nights:
        if night < earliest:
            found[night] = (
                f"orders begin on {first}, and training needs {settings.training.min_history_days} days "
                f"(training.min_history_days): the first possible night is {earliest}"
            )
        elif night > last:
            found[night] = f"orders end on {last}: the last possible night is {last}"
    return found


def _stands(lake: Lake, night: date, tell: Tell) -> bool:
    """Whether a night's vintage stands as it was made; says so where it does not for a reason that a person should know."""
    vintage = own(vintages(lake, night))
    if vintage is None:
        return False
    state = vintage.state(lake)
    if state == "removed":
        tell(f"{night}  removed by retention on {vintage.removed_on}; --force makes it again")
    elif state == "missing":
        tell(f"{night}  files of its forecasts are gone; made again from the same facts and version")
    elif state == "altered":
        tell(f"{night}  files of its forecasts are not what was written; made again from the same facts and version")
    return state in {"stands", "removed"}


def _described(vintage: Vintage | None) -> str:
    if vintage is None:
        return "no forecast"
    return f"{vintage.series:,} series by {vintage.model_version} (trained as of {vintage.trained_as_of})"
