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
from pipeline.errors import HistoryError, PermanentError, SettingsError
from pipeline.forecasting.replay import few
from pipeline.forecasting.vintages import State, Vintage, dated_back, own, vintages
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
        refused: nights whose files are gone or altered, and cannot be made again as they were.
        seconds: duration.
    """

    made: tuple[date, ...] = ()
    kept: tuple[date, ...] = ()
    skipped: dict[date, str] = field(default_factory=dict)
    refused: tuple[date, ...] = ()
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
    if close:
        raise SettingsError(f"{SETTINGS_FILE}: no season {name!r} in `seasons`; did you mean {close[0]!r}?")
    raise SettingsError(
        f"{SETTINGS_FILE}: no season {name!r} in `seasons`, which has {', '.join(settings.seasons) or 'none'}; add under "
        f"`seasons:` a line such as `{name}: 2010-09-01 to 2010-12-24`, or give --from and --to"
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
    refused: list[date] = []
    kept: list[Vintage] = []
    with Runs(home) as runs:
        for night in wanted:
            with home_lock(home, wait_seconds=_WAIT_SECONDS):
                before = own(vintages(lake, night))
                state = before.state(lake) if before else None
                if before and not force and state in {"stands", "removed"}:
                    kept.append(before)
                    continue
                started = time.monotonic()
                try:
                    runs.execute("backfill", night, force=force)
                except PermanentError as error:
                    if force or state is None:
                        raise
                    refused.append(night)
                    tell(f"{night}  {error}")
                    continue
                made.append(night)
                tell(
                    f"{night}  {_described(own(vintages(lake, night)), before, state)}, {time.monotonic() - started:.1f} s"
                )
        _tell_of_kept(lake, kept, tell)
        with home_lock(home, wait_seconds=_WAIT_SECONDS):
            runs.execute("publish", wanted[-1])
    stood = tuple(one.as_of for one in kept)
    return Backfilled(tuple(made), stood, skipped, tuple(refused), time.monotonic() - began)


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


def _tell_of_kept(lake: Lake, kept: Sequence[Vintage], tell: Tell) -> None:
    """Say what a person should know of nights that were kept."""
    for one in kept:
        if one.removed_on:
            tell(f"{one.as_of}  removed by retention on {one.removed_on}; --force makes it again")
    late = dated_back(lake, [one for one in kept if not one.removed_on])
    nights = sorted({night for found in late.values() for night in found})
    if nights:
        tell(
            f"{few(list(late))}, delivered since, dates lines back to {len(nights)} of the nights that stand ({nights[0]} to "
            f"{nights[-1]}); they stay as they were made, --force makes them anew"
        )


def _described(vintage: Vintage | None, before: Vintage | None, state: State | None) -> str:
    """What was made of a night, and in place of what."""
    if vintage is None:
        return "no forecast"
    told = f"{vintage.series:,} series by {vintage.model_version} (trained as of {vintage.trained_as_of})"
    if vintage.degraded:
        told += f", DEGRADED: without {vintage.degraded}"
    if before is None or state not in {"missing", "altered"}:
        return told
    harm = "gone" if state == "missing" else "not what was written"
    same = vintage.model_version == before.model_version and vintage.hashes == before.hashes
    outcome = "the same bytes" if same else f"NOT the same bytes as before, which {before.model_version} had made"
    return f"{told}; its files were {harm}: made again, {outcome}"
