"""Season lift: items without a last year of their own follow the season that items of like texts had a year ago.

What is read from the library of items with a last year is a step: how much more they sold on the days ahead, a year ago, than on
the days before those, against the shop's own step. The recent level of a forecast already holds the season of the days that it
is read from, so a month against an even year would count that twice; and both sides of the step are of one year, so that an
item that faded since is not taken for one of the early months. Where the shop has no last year nothing is known, and nothing
is changed.

Two things say how far forecasts follow. Whether texts tell of the step at all is asked of the library: do its items step as their
own neighbours do? Whether last year comes back is asked of the shop's past: what would following have made of a plain forecast of
such items on past nights, with the steps that were known then? Nothing of it is kept where it would have been worse than none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.models.base import Array
from pipeline.models.handover import YOUNG_DAYS
from pipeline.models.launches.similar import Neighbours, nearest
from pipeline.models.panel import Panel

NAME = "season_lift"
YEAR = 365
"""Days from which an item has a last year of its own."""
BASE_DAYS = 56
"""Days that the recent level of a forecast is read from."""
STRETCH = 28
"""Days ahead that have one step."""
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
"""By what share of the step a forecast is moved, in logs; these are tried."""
USUAL = 0.75
"""Where no past night tells."""
_USUAL_MOVE = 0.1
"""It counts as a night more, on which plain forecasts would have been moved by this share of their units."""
_FADE = 28
"""Days of age on which the lift comes in, before the item is young no longer, and goes, before it has its last year."""
_NIGHTS = 12
"""Past nights that are asked, one a stretch."""
_LIKE = (100, 6.0)
"""Neighbours, and how sharply the nearest count: steps of one year are noisy, and a wide circle served best on real orders."""
_KNOWN_BASE = 28
_SEEN_DAYS = 14
_LEAST_SALES = 4.0
_PRIOR = 2.0
"""Sales that both sides of a step are believed to have beside those seen."""
_MOST = 1.5
_LEAST_SERIES = 30
_ASKED = 1000
"""Items of the library that are set beside their own neighbours."""
_SERIES = 2000
_AHEAD_DAYS = 91
"""Days after its training on which a lift still finds every item that has a last year by then."""


@dataclass(frozen=True)
class SeasonLift:
    """The items that others are set beside, and how far these follow them.

    Attributes:
        strength: share of the step that a forecast is moved by, in logs.
        first_day: day of the first column.
        library: (N, D) vectors of their texts, half precision.
        sold: (N, T) log1p of the units of each day, single large orders cut, half precision.
        first_sold: (N,) column of the first sale, 0 for earlier ones too.
        opened: (T,) the shop was open.
        nights: past nights that the strength was chosen on.
        gain: by how much following changed the error of such items' sums on those nights, as a share of their units.
    """

    strength: float
    first_day: date
    library: NDArray[np.float16]
    sold: NDArray[np.float16]
    first_sold: NDArray[np.int64]
    opened: NDArray[np.bool_]
    nights: int = 0
    gain: float = 0.0

    @classmethod
    def fit(cls, panel: Panel) -> "SeasonLift | None":
        """Choose the strength on the past nights of a panel, 0 where following would have been worse; None in a shop without texts.

        Args:
            panel: what was known on the night.
        """
        if not panel.text.any():
            return None
        library = cls._of(panel, YEAR + BASE_DAYS + _NIGHTS * STRETCH)
        nights = [panel.history - back * STRETCH for back in range(1, _NIGHTS + 1)]
        errors = [found for night in nights if (found := _past_error(library, panel, night))]
        lift = replace(cls._of(panel, YEAR + BASE_DAYS), nights=len(errors))
        if not errors:
            return lift
        moves = [_USUAL_MOVE, *(move for _, move in errors)]
        best = [STRENGTHS[int(np.argmin([error(strength) for strength in STRENGTHS]))] for error, _ in errors]
        strength = float(np.average([USUAL, *best], weights=moves))
        gain = float(np.mean([error(strength) for error, _ in errors]))
        return replace(lift, strength=strength if gain < 0 else 0.0, gain=gain)

    @classmethod
    def _of(cls, panel: Panel, days: int) -> "SeasonLift":
        """The last days of all items of a panel that may have a last year on some night until the next training."""
        begins = max(0, panel.history - days)
        rows = np.flatnonzero((panel.first_sold <= panel.history - YEAR + _AHEAD_DAYS) & panel.text.any(axis=1))
        return cls(
            strength=USUAL,
            first_day=panel.first_day + timedelta(days=begins),
            library=panel.text[rows].astype(np.float16),
            sold=np.log1p(panel.units_winsorised[rows, begins:]).astype(np.float16),
            first_sold=np.maximum(panel.first_sold[rows] - begins, 0),
            opened=~panel.closed[begins : panel.history],
        )

    def factors(self, panel: Panel, horizon: int) -> Array | None:
        """(S, H) what each day of a forecast from own sales is multiplied by; None where nothing is.

        Args:
            panel: what was known on the night, at least a year of history where the shop has that.
            horizon: days ahead.

        Raises:
            ModelError: the texts were read by another language model.
        """
        share = self.strength * _share(panel.history - panel.first_sold)
        rows = np.flatnonzero((share > 0) & panel.text.any(axis=1))
        steps = self.steps(panel.text[rows], panel.as_of, horizon) if len(rows) else None
        if steps is None:
            return None
        out = np.ones((panel.series, horizon))
        stretch = np.arange(horizon) // STRETCH
        out[rows] = np.exp(_bounded(share[rows, None] * steps))[:, stretch]
        return out

    def steps(self, text: NDArray[Any], night: date, horizon: int) -> Array | None:
        """(Q, stretches) log of how items of like texts went, a year before a night, from the days before to the days ahead.

        The last stretch may be shorter than the others.

        Args:
            text: (Q, D) vectors of texts.
            night: the last day known.
            horizon: days ahead.

        Returns:
            Zero for a stretch whose days of a year ago are not known, or on which texts told nothing; None where that is so of all.
        """
        year_ago = (night - self.first_day).days + 1 - YEAR
        begins = max(0, year_ago - BASE_DAYS)
        ends = min(year_ago + horizon, self.sold.shape[1])
        if year_ago - begins < _KNOWN_BASE or year_ago + min(STRETCH, horizon) > ends:
            return None
        sums = _sums(self.sold[:, begins:ends].astype(np.float64))
        there = self.first_sold <= year_ago - _SEEN_DAYS
        rows = np.flatnonzero(there & (sums[:, -1] >= _LEAST_SALES))
        if not len(rows):
            return None
        own = np.zeros((len(rows), -(-horizon // STRETCH)))
        opened = self.opened[begins:ends] & (np.arange(begins, ends) >= self.first_sold[rows, None])
        sums, days = sums[rows], _sums(opened.astype(np.float64))
        for number in range(own.shape[1]):
            first = year_ago + number * STRETCH - begins
            last = min(first + STRETCH, year_ago + horizon - begins)
            if last > ends - begins:
                break
            before, ahead = year_ago - begins, (sums[:, last] - sums[:, first], days[:, last] - days[:, first])
            own[:, number] = _step((sums[:, before], days[:, before]), ahead)
        told = _told(self.library[rows], own)
        return _near(self.library[rows], text).mean(own) * told if told.any() else None

    def save(self, folder: Path) -> None:
        """Write the library (safetensors); `to_json` is written by the ensemble."""
        from safetensors.numpy import save_file

        arrays = {name: getattr(self, name) for name in ("library", "sold", "first_sold", "opened")}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / f"{NAME}.safetensors")

    def to_json(self) -> dict[str, Any]:
        """All but the library."""
        return {
            "strength": self.strength,
            "first_day": self.first_day.isoformat(),
            "nights": self.nights,
            "gain": self.gain,
        }

    @classmethod
    def load(cls, folder: Path, stored: Mapping[str, Any]) -> "SeasonLift":
        """Undo `save` and `to_json`.

        Raises:
            ModelError: the library is missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = folder / f"{NAME}.safetensors"
        try:
            arrays = load_file(path)
            return cls(
                strength=float(stored["strength"]),
                first_day=date.fromisoformat(stored["first_day"]),
                library=arrays["library"],
                sold=arrays["sold"],
                first_sold=arrays["first_sold"],
                opened=arrays["opened"],
                nights=int(stored["nights"]),
                gain=float(stored["gain"]),
            )
        except (OSError, SafetensorError, KeyError) as error:
            raise ModelError(f"{path}: the stored season lift cannot be read ({error}); train again") from error


def lifted(lift: SeasonLift | None, panel: Panel, horizon: int, failed: dict[str, str]) -> Array | None:
    """See `SeasonLift.factors`; None too where the texts are of another language model, which `failed` then says."""
    try:
        return lift.factors(panel, horizon) if lift else None
    except ModelError as error:
        failed[NAME] = str(error)
        return None


def without_last_year(panel: Panel) -> NDArray[np.bool_]:
    """(S,) series that were first sold after the days ahead began a year ago, and are young no longer: those that a lift may move."""
    return np.asarray(_share(panel.history - panel.first_sold) > 0)


def _share(age: NDArray[np.int64]) -> Array:
    """Share of the lift that an item of an age has: what a launch sells moves for other reasons than the season."""
    comes, goes = (age - YOUNG_DAYS) / _FADE + 1, (YEAR - age) / _FADE
    return np.asarray(np.clip(np.minimum(comes, goes), 0, 1))


def _step(before: tuple[Array, Array], ahead: tuple[Array, Array]) -> Array:
    """(N,) log of the step of each item against that of all, from the (sales, open days on sale) of both sides; zero on average."""
    rates = [sold.sum() / max(days.sum(), 1.0) for sold, days in (before, ahead)]
    expected = [rate * days for rate, (_, days) in zip(rates, (before, ahead), strict=True)]
    scale = (before[0] + ahead[0]) / np.maximum(expected[0] + expected[1], 1e-9)
    logs = [
        np.log((sold + _PRIOR) / (scale * even + _PRIOR))
        for (sold, _), even in zip((before, ahead), expected, strict=True)
    ]
    step = logs[1] - logs[0]
    return np.asarray(step - step.mean())


def _past_error(lift: SeasonLift, panel: Panel, night: int) -> tuple[Callable[[float], float], float] | None:
    """What a strength adds to the error of a plain forecast of the stretch after a past night, and how far the step moves it.

    The plain forecast is the mean of the recent days, times the step that the shop made as a whole.

    Args:
        lift: the library of the panel.
        panel: what is known today.
        night: columns known then.

    Returns:
        Both as shares of the forecast's units; None where the night has no last year, or too few items to be lifted.
    """
    if night < YEAR + _KNOWN_BASE:
        return None
    past, rows = panel.until(night), np.flatnonzero(panel.first_sold < night)
    first = np.maximum(panel.first_sold[rows], night - BASE_DAYS)
    recent = panel.units_winsorised[rows, night - BASE_DAYS : night].sum(axis=1, dtype=np.float64)
    plain = recent / (night - first) * STRETCH
    came = panel.units_winsorised[rows, night : night + STRETCH].sum(axis=1, dtype=np.float64)
    if not plain.sum() or not came.sum():
        return None
    plain *= came.sum() / plain.sum()
    mine = np.flatnonzero(without_last_year(past)[rows] & panel.text[rows].any(axis=1) & (plain > 0))
    mine = mine[:: max(1, -(-len(mine) // _SERIES))]
    steps = lift.steps(panel.text[rows[mine]], past.as_of, STRETCH) if len(mine) >= _LEAST_SERIES else None
    if steps is None:
        return None
    moved = steps[:, 0] * _share(night - panel.first_sold[rows[mine]])
    plain, came = plain[mine], came[mine]

    def error(strength: float) -> float:
        added = np.abs(plain * np.exp(_bounded(strength * moved)) - came) - np.abs(plain - came)
        return float(added.sum() / plain.sum())

    return error, float(np.abs(plain * np.expm1(_bounded(moved))).sum() / plain.sum())


def _bounded(logs: Array) -> Array:
    return np.clip(logs, -_MOST, _MOST)


def _near(library: NDArray[Any], text: NDArray[Any], barred: NDArray[np.int64] | None = None) -> Neighbours:
    count, sharpness = _LIKE
    return nearest(library, text, count=count, sharpness=sharpness, barred=barred)


def _told(library: NDArray[Any], own: Array) -> Array:
    """(stretches,) how far items step as their neighbours do, between 0 and 1: the slope of their own (N, stretches) steps."""
    asked = np.arange(0, len(library), -(-len(library) // _ASKED))
    theirs = _near(library, library[asked], barred=asked).mean(own)
    slope = (own[asked] * theirs).sum(axis=0) / np.maximum((theirs**2).sum(axis=0), 1e-9)
    return np.asarray(np.clip(slope, 0.0, 1.0))


def _sums(values: Array) -> Array:
    """(N, T + 1) running sums over the columns."""
    sums = np.zeros((len(values), values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums
