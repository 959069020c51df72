"""How far data and errors have moved since the champion's network was trained; measured every night.

Data: the last weeks are set against the stretches of as many weeks that the training saw in its last quarter, and around
the same weeks a year ago; the least distance counts. A Christmas that is like last Christmas has not drifted, nor has a shop
that grows slowly; demand or prices that are like neither have, until a new network has learned them. Where the same weeks a
year ago are not known, a first season cannot be told from drift: the measures then inform and trigger nothing.

Errors: forecasts 1 to 7 days ahead of the last weeks against those of the first weeks after the training, each WQL by how
hard the days were to forecast (how far the days of an item lay from their own mean), so that a quiet January is not held
against a model that was measured in a busy November.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.as_of import AsOfView
from pipeline.lake import Lake
from pipeline.settings import DriftSettings

YEAR = 364
"""52 weeks: the same weekdays a year before."""
QUARTER_WEEKS = 13
"""Weeks before the training that tonight's may be like."""
SEASON_WEEKS = 2
"""Weeks by which a season may come earlier or later than a year ago."""
LEADS = 7
"""Days ahead that errors are measured at; nights a week apart then score every day once."""
LEAST_DAYS = 14
"""Scored days below which errors are not compared."""

_LEAST_AMOUNT = 100.0
_LEAST_SHARE = 1e-4
_ROOM = Path(__file__).parent
_WEEKS, _ERRORS = ((_ROOM / name).read_text(encoding="utf-8") for name in ("drift_weeks.sql", "drift_errors.sql"))

Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """One row of `drift`: a measure, and the threshold beyond which the night trains (None: it only informs)."""

    measure: str
    value: float
    threshold: float | None
    days: int

    @property
    def is_drift(self) -> bool:
        """The value lies beyond its threshold."""
        return self.threshold is not None and self.value > self.threshold


def drift_since(trained: date, as_of: date, settings: DriftSettings) -> date:
    """First day that a night's view must hold to measure drift against a training."""
    return as_of - timedelta(days=7 * _weeks(trained, as_of, settings))


def measure_drift(view: AsOfView, lake: Lake, settings: DriftSettings, trained: date) -> list[Measure]:
    """Measure the drift of a night.

    Args:
        view: what the night knows, at least from `drift_since` on.
        lake: where the forecasts of earlier nights stand; of them only nights before this one are read.
        settings: how many days, and thresholds.
        trained: night on which the champion's network was trained.

    Returns:
        Measures, those that cannot be told left out.
    """
    return [*_data_drift(view, settings, trained), *_error_drift(view, lake, settings, trained)]


def describe(measures: list[Measure]) -> str:
    """What drifted, in words; empty when nothing did."""
    return ", ".join(f"{one.measure} {one.value:.2f} > {one.threshold:g}" for one in measures if one.is_drift)


def write_drift(lake: Lake, as_of: date, model_version: str, measures: list[Measure]) -> int:
    """Write the rows of a night, replacing those it had."""
    rows = [
        {
            "measure": one.measure,
            "value": one.value,
            "threshold": one.threshold,
            "is_drift": one.is_drift,
            "model_version": model_version,
            "days": one.days,
        }
        for one in measures
    ]
    if not rows:
        return 0
    with lake.connect() as con:
        return lake.write(con, "drift", {"as_of": as_of}, pa.Table.from_pylist(rows))


def psi(before: Counts, after: Counts) -> float:
    """Population stability index Σ (p − q)·ln(p / q) of two (B,) counts; an empty bin counts as one in ten thousand."""
    old, new = (np.maximum(counts / max(counts.sum(), 1.0), _LEAST_SHARE) for counts in (before, after))
    return float(((new - old) * np.log(new / old)).sum())


def least_psi(weeks: Counts, stretch: int, starts: Iterable[int]) -> float | None:
    """Least PSI of the newest stretch of weeks against the stretches whose newest week is one of `starts`.

    Args:
        weeks: (W, B) counts per week, week 0 the newest.
        stretch: weeks of a stretch.
        starts: where stretches begin; those that are not there whole are left out.

    Returns:
        None where there are too few counts on either side.
    """
    newest = weeks[:stretch].sum(axis=0)
    found = [
        psi(counts, newest)
        for at in starts
        if at + stretch <= len(weeks) and (counts := weeks[at : at + stretch].sum(axis=0)).sum() >= _LEAST_AMOUNT
    ]
    return min(found) if found and newest.sum() >= _LEAST_AMOUNT else None


def _stretch(settings: DriftSettings) -> int:
    return settings.days // 7


def _weeks(trained: date, as_of: date, settings: DriftSettings) -> int:
    """Weeks that are read: the last year of the training, and the latest a season of a year ago may have come."""
    return -(-(as_of - trained).days // 7) + YEAR // 7 + SEASON_WEEKS + _stretch(settings)


def _data_drift(view: AsOfView, settings: DriftSettings, trained: date) -> Iterator[Measure]:
    stretch, year = _stretch(settings), YEAR // 7
    first = -(-(view.as_of - trained).days // 7)
    # only whole weeks of the shop
    weeks = min(_weeks(trained, view.as_of, settings), ((view.as_of - view.begins).days + 1) // 7)
    seen = range(first, first + QUARTER_WEEKS + 1)
    starts = {*seen, *range(max(first, year - SEASON_WEEKS), year + SEASON_WEEKS + 1)}
    values = {"as_of": view.as_of, "trained": trained, "weeks": weeks}
    counts = _by_week(view.con.execute(_WEEKS, values).fetchnumpy(), weeks)
    for name in ("units", "price", "assortment"):
        value = least_psi(counts[name], stretch, starts) if name in counts else None
        if value is not None:
            yield Measure(f"psi:{name}", value, settings.max_psi if weeks >= year + stretch else None, 7 * stretch)
    if "unseen" in counts and (newest := counts["unseen"][:stretch].sum(axis=0)).sum() > 0:
        yield Measure("share:unseen_items", float(newest[1] / newest.sum()), None, 7 * stretch)
    year_ago = _units_between(view, YEAR + 7 * stretch, YEAR)
    if weeks >= year + stretch and year_ago > 0:
        value = _units_between(view, 7 * stretch, 0) / year_ago
        yield Measure("ratio:units_year_ago", value, None, 7 * stretch)


def _by_week(found: Mapping[str, NDArray[np.generic]], weeks: int) -> dict[str, Counts]:
    """Measure → (W, B) counts."""
    counts: dict[str, Counts] = {}
    names = np.asarray(found["measure"], dtype=np.str_)
    for name in np.unique(names):
        mine = names == name
        week, amount = np.asarray(found["week"])[mine].astype(np.int64), np.asarray(found["amount"])[mine]
        bins, place = np.unique(np.asarray(found["bin"])[mine], return_inverse=True)
        counts[str(name)] = np.zeros((weeks, len(bins)))
        np.add.at(counts[str(name)], (week, place), amount)
    return counts


def _units_between(view: AsOfView, after: int, to: int) -> float:
    """Units of the days from `after` − 1 to `to` days before the night."""
    query = "SELECT coalesce(sum(units), 0) FROM shop_days WHERE day > $1::DATE AND day <= $2::DATE"
    ends = [view.as_of - timedelta(days=after), view.as_of - timedelta(days=to)]
    return float(view.con.execute(query, ends).fetchall()[0][0])


@dataclass(frozen=True)
class _Errors:
    days: int
    units: float
    expected: float
    loss: float
    spread: float


def _error_drift(view: AsOfView, lake: Lake, settings: DriftSettings, trained: date) -> Iterator[Measure]:
    recent_from = view.as_of - timedelta(days=settings.days)
    recent = _errors(view, lake, recent_from, view.as_of)
    if recent is None:
        return
    yield Measure("error:wql", recent.loss / recent.units, None, recent.days)
    yield Measure("error:bias", (recent.expected - recent.units) / recent.units, None, recent.days)
    began = _errors(view, lake, trained, min(trained + timedelta(days=settings.days), recent_from))
    if began is not None and began.loss > 0 and recent.spread > 0:
        ratio = (recent.loss / recent.spread) / (began.loss / began.spread)
        yield Measure("error:wql_ratio", ratio, settings.max_error_ratio, recent.days)


def _errors(view: AsOfView, lake: Lake, after: date, to: date) -> _Errors | None:
    """Errors of the forecasts for the days after `after` up to `to`; None with fewer than `LEAST_DAYS` of them."""
    if view.begins > after:
        return None
    chosen = _chosen_nights(lake, after, to)
    if LEADS * len(chosen) < LEAST_DAYS:
        return None
    folder = lake.folder("forecasts")
    files = [path for night in chosen for path in sorted((folder / f"as_of={night}").glob("*.parquet"))]
    view.con.execute(f"CREATE OR REPLACE TEMP VIEW drift_forecasts AS {lake.select('forecasts', files=files)}")
    view.con.execute(
        "CREATE OR REPLACE TEMP TABLE drift_nights AS "
        "SELECT unnest($1::DATE[]) AS as_of, unnest($2::VARCHAR[]) AS model_version",
        [list(chosen), list(chosen.values())],
    )
    errors = _Errors(*view.con.execute(_ERRORS).fetchall()[0])
    view.con.execute("DROP VIEW drift_forecasts; DROP TABLE drift_nights")
    return errors if errors.days >= LEAST_DAYS and errors.units > 0 and errors.spread > 0 else None


def _chosen_nights(lake: Lake, after: date, to: date) -> dict[date, str]:
    """Nights at least a week apart whose forecasts score days after `after` up to `to`, with the version that spoke.

    A night's own version is the newest that nobody named; nights whose forecasts retention removed are left out.
    """
    folder = lake.folder("vintages")
    nights = [after + timedelta(days=day) for day in range((to - after).days - LEADS + 1)]
    files = [path for night in nights for path in sorted((folder / f"as_of={night}").glob("*.parquet"))]
    with lake.connect() as con:
        rows = con.execute(
            f"SELECT as_of, max_by(model_version, made_at) FROM ({lake.select('vintages', files=files)}) "
            "WHERE NOT is_named AND removed_on IS NULL GROUP BY as_of ORDER BY as_of DESC"
        ).fetchall()
    chosen: dict[date, str] = {}
    for night, version in rows:
        if not chosen or (min(chosen) - night).days >= LEADS:
            chosen[night] = version
    return chosen
