"""`almanac tune`: the origins of a search, cut from the lake, and the search itself (`pipeline/training/search.py`)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from pipeline.as_of import as_of_view, known_days
from pipeline.backtesting.backtest import actuals
from pipeline.backtesting.origins import plan_origins, scored_rows
from pipeline.backtesting.scores import Gain, paired_gain
from pipeline.backtesting.scoring import origin_series
from pipeline.errors import HistoryError, HomeBusyError, SettingsError
from pipeline.lake import Lake
from pipeline.migrations import bring_up_to_date
from pipeline.models.panel import Panel
from pipeline.orchestration.runs import last_day_over, refuse_impossible_nights
from pipeline.settings import SETTINGS_FILE, Settings, load_settings
from pipeline.training.gate import MIN_ORIGINS
from pipeline.training.panel import MAX_DAYS, build_panel
from pipeline.training.search import Case, Question, networks_on, search, search_origins
from pipeline.training.search_trials import Found
from resources.compute import pick_compute
from resources.lake import home_lock
from resources.progress import REPORTER


@dataclass(frozen=True)
class Tuned:
    """What a search has found, and whether it is more than chance.

    Attributes:
        found: the trials.
        gain: of the best trial over today's settings, by items; None where nothing was better.
    """

    found: Found
    gain: Gain | None


def tune(home: Path, minutes: float, *, as_of: date | None = None, trials: int | None = None) -> Tuned:
    """Search better settings of the networks that are on.

    The home is held while the origins are cut, not while they are trained on: nights go on beside a search.

    Args:
        home: the home.
        minutes: most minutes of this call, which begin when the origins are cut.
        as_of: the night before whose backtest the origins lie; default: the last day with orders.
        trials: most trials, those of earlier calls included.

    Raises:
        HistoryError: no orders, or too few for two origins.
        SettingsError: no network is on, or the minutes do not suffice.
        HomeBusyError: another run, or another search, is at work in the home.
    """
    if not minutes > 0:
        raise SettingsError(f"--minutes {minutes:g}: a search needs some; give 60 or more")
    settings = load_settings(home)
    networks = networks_on(settings)
    if as_of is not None:
        refuse_impossible_nights(settings, as_of, as_of)
    lake = Lake(home, settings.compute)
    compute = pick_compute(settings.compute)
    folder = home / "training" / "search"
    try:
        with _searching(folder):
            with home_lock(home):
                bring_up_to_date(lake)
                night = as_of or min(known_days(lake)[1], last_day_over(settings))
                cases = cut_cases(lake, settings, night)
            question = Question(settings, networks, cases, folder, home, compute, progress=REPORTER)
            found = search(question, minutes=minutes, trials=trials)
    finally:
        REPORTER.close()
    best = found.best
    if best.is_today:
        return Tuned(found, None)
    items = np.arange(len(best.losses))
    return Tuned(found, paired_gain(best.losses, found.today.losses, items, seed=settings.training.seed))


def last_day_of_search(settings: Settings, first_day: date, as_of: date) -> date:
    """Last day before those that the night's backtest scores, or that the gate would judge a challenge by.

    The gate asks for three origins at least, and for rolling ones where too few of `backtest.on` are possible.

    Args:
        settings: all settings.
        first_day: first day with demand.
        as_of: the night.

    Raises:
        HistoryError: the backtest itself has no origin.
    """
    backtest = settings.backtest
    most = backtest.model_copy(update={"origins": max(backtest.origins, MIN_ORIGINS)})
    rolling = most.model_copy(update={"on": ()})
    plans = [
        plan_origins(settings.model_copy(update={"backtest": asked}), first_day, as_of) for asked in (most, rolling)
    ]
    scored = [origin for plan in plans for origin in plan.origins]
    if not scored:
        raise plans[0].too_little(settings, plans[0].skipped)
    return min(scored)


def cut_cases(lake: Lake, settings: Settings, as_of: date) -> tuple[Case, ...]:
    """Origins of the search of a night, newest first, each with what it knew and with what came.

    What came is read as the last day of the search knew it: neither a day nor a correction after it can reach a trial.

    Args:
        lake: the home's lake.
        settings: all settings.
        as_of: the night.

    Raises:
        HistoryError: too little history, or nothing to score at an origin.
    """
    by_location = settings.shop.by_location
    with as_of_view(lake, as_of, by_location=by_location, since=as_of) as view:
        first_day = view.first_day
    last_day = last_day_of_search(settings, first_day, as_of)
    origins = search_origins(settings, first_day, last_day)
    known = [_known(lake, settings, origin) for origin in origins]
    with as_of_view(lake, last_day, by_location=by_location, since=min(origins)) as view:
        came = [actuals(view, origin_series(scored), settings.backtest.horizon_days) for _, scored in known]
    _refuse_nothing_sold(origins, came)
    return tuple(Case(panel, scored, actual) for (panel, scored), actual in zip(known, came, strict=True))


def _known(lake: Lake, settings: Settings, origin: date) -> tuple[Panel, Panel]:
    """The panel of an origin, and the series of it that are scored, as the backtest has them."""
    horizon = max(settings.backtest.horizon_days, settings.forecast.horizon_days)
    since = origin - timedelta(days=MAX_DAYS - 1)
    with as_of_view(lake, origin, by_location=settings.shop.by_location, since=since) as view:
        panel = build_panel(view, settings, horizon=horizon, home=lake.home)
    rows = scored_rows(panel, settings.backtest)
    if not len(rows):
        raise HistoryError(
            f"the origin {origin} of the search: no item was sold on {settings.backtest.min_sale_days} days of the year before "
            f"it; lower backtest.min_sale_days in {SETTINGS_FILE}"
        )
    return panel, panel.rows(rows)


def _refuse_nothing_sold(origins: Sequence[date], came: Sequence[np.ndarray]) -> None:
    for origin, actual in zip(origins, came, strict=True):
        if actual.sum() <= 0:
            raise HistoryError(
                f"the origin {origin} of the search: nothing was sold in the days after it; choose another --as-of, or other "
                f"days between origins (backtest.every_days in {SETTINGS_FILE})"
            )


@contextmanager
def _searching(folder: Path) -> Iterator[None]:
    """Hold the searches of a home: a second one would take the trial of the first for one that was killed."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise HomeBusyError(f"{folder}: another search is at work in this home; wait for it to end") from error
    try:
        yield
    finally:
        lock.release()
