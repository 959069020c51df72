"""Season lift: the night's model with the season of items of like texts, without it, and with the texts of other items.

Scored are items with a history but not of last year: first sold at least 28 days before the night, and less than 365, so that a
year ago the days ahead had begun without them.
"""

from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np

from pipeline.models.ensemble import FittedEnsemble
from pipeline.models.launches.facts import ESTABLISHED_DAYS
from pipeline.models.panel import Panel
from pipeline.models.season_lift import STRETCH, YEAR, SeasonLift
from tests.benchmarks.accuracy.scores import Bar, table
from tests.benchmarks.accuracy.shop import tell
from tests.benchmarks.text.shop import TextShop

AFTER_THE_PEAK = (date(2011, 1, 5), date(2011, 2, 1))
ONSET = date(2010, 11, 1)
TWINS = 5
"""Shuffles of the texts, whose errors are averaged."""
_WITH, _WITHOUT = "with the lift", "without"
_DRAWS = 2000


@dataclass
class Night:
    """What the forecasts of one night made of the items with a history but not of last year: lists over items.

    Attributes:
        strength: of the lift that the training chose.
        units: units that came in the 28 days.
        totals: name of the forecast → absolute error of their sum.
        days: name of the forecast → sum of the absolute errors of the days.
    """

    strength: float
    units: list[float]
    totals: dict[str, list[float]] = field(default_factory=dict)
    days: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Lifts:
    """What was measured.

    Attributes:
        nights: night → what its forecasts made.
    """

    nights: dict[str, Night]

    def change(
        self, of: str, nights: tuple[date, ...], names: tuple[str, ...] = (_WITH,)
    ) -> tuple[float, float, float]:
        """By how much the error with the lift differs from that without, with the 95 % interval of a bootstrap over items.

        Args:
            of: "totals" or "days".
            nights: nights, taken together.
            names: forecasts with a lift, whose errors are averaged.
        """
        found = [getattr(self.nights[night.isoformat()], of) for night in nights]
        mine = np.concatenate([np.mean([errors[name] for name in names], axis=0) for errors in found])
        none = np.concatenate([errors[_WITHOUT] for errors in found])
        drawn = np.random.default_rng(0).integers(len(mine), size=(_DRAWS, len(mine)))
        low, high = np.quantile(mine[drawn].sum(axis=1) / none[drawn].sum(axis=1) - 1, [0.025, 0.975])
        return float(mine.sum() / none.sum() - 1), float(low), float(high)

    @property
    def twins(self) -> tuple[str, ...]:
        """Names of the shuffled twins."""
        return tuple(f"shuffled {twin + 1}" for twin in range(TWINS))


def run(shop: TextShop) -> Lifts:
    """Train the night's model as shipped on each night, and forecast with its lift, without, and with shuffled twins."""
    measured = Lifts({})
    for night in (*AFTER_THE_PEAK, ONSET):
        known = shop.known(night)
        fitted = shop.trained(known)
        measured.nights[night.isoformat()] = of_night(shop, known, fitted)
        tell(f"lift: {night}", 1, 1)
    return measured


def of_night(shop: TextShop, known: Panel, fitted: FittedEnsemble) -> Night:
    """Score one night, whose model is fitted on what was known."""
    age = known.history - known.first_sold
    rows = np.flatnonzero((age >= ESTABLISHED_DAYS) & (age < YEAR))
    mine = known.rows(rows)
    came = shop.days(mine, STRETCH)
    plain = replace(fitted, season_lift=None).forecast(mine, STRETCH).mean
    night = Night(fitted.season_lift.strength if fitted.season_lift else 0.0, came.sum(axis=1).tolist())

    def add(name: str, mean: np.ndarray) -> None:
        night.totals[name] = np.abs(mean.sum(axis=1) - came.sum(axis=1)).tolist()
        night.days[name] = np.abs(mean - came).sum(axis=1).tolist()

    add(_WITHOUT, plain)
    add(_WITH, fitted.forecast(mine, STRETCH).mean)
    for twin in range(TWINS):
        # every item has the words of another, in the library and among those that are asked for; the strength stays, so that
        # the twin shows what the words told and not that nothing is kept of it
        dealt = known.text[np.random.default_rng([twin, known.as_of.toordinal()]).permutation(known.series)]
        lift = SeasonLift.fit(replace(known, text=dealt))
        if lift is not None and fitted.season_lift is not None:
            lift = replace(lift, strength=fitted.season_lift.strength)
        factors = lift.factors(replace(mine, text=dealt[rows]), STRETCH) if lift is not None else None
        add(f"shuffled {twin + 1}", plain if factors is None else plain * factors)
    return night


def bars(measured: Lifts) -> list[Bar]:
    """The bars of the measure."""
    both = " and ".join(map(str, AFTER_THE_PEAK))
    gain, low, high = measured.change("totals", AFTER_THE_PEAK)
    found = [
        Bar(
            f"season lift, 28 days after {both}: WAPE of totals at least 4 % below the same forecast without",
            f"{_shown(gain, low, high)}; "
            + ", ".join(f"{night}: {_shown(*measured.change('totals', (night,)))}" for night in AFTER_THE_PEAK),
            gain <= -0.04 and high < 0,
        )
    ]
    to_twin, low, high = measured.change("totals", AFTER_THE_PEAK, measured.twins)
    found.append(
        Bar("the same of its shuffled twins: no gain (above -1 %)", _shown(to_twin, low, high), to_twin > -0.01)
    )
    for of in ("totals", "days"):
        harm, low, high = measured.change(of, (ONSET,))
        found.append(
            Bar(f"season lift, 28 days after {ONSET}: WAPE of {of} within +1 %", _shown(harm, low, high), harm <= 0.01)
        )
    return found


def markdown(measured: Lifts) -> str:
    """The table of the README."""
    rows = []
    for name, night in measured.nights.items():
        day = date.fromisoformat(name)
        cells = [name, f"{len(night.units)}", f"{night.strength:.2f}"]
        for of in ("totals", "days"):
            errors: dict[str, list[float]] = getattr(night, of)
            cells += [f"{sum(errors[which]) / sum(night.units):.3f}" for which in (_WITHOUT, _WITH)]
            cells.append(_shown(*measured.change(of, (day,))))
            cells.append(_shown(*measured.change(of, (day,), measured.twins)))
        rows.append(cells)
    header = ["night", "items", "strength"]
    for of in ("28-day totals", "days"):
        header += [f"{of}: WAPE without", "with", "change", "shuffled"]
    return table(header, rows)


def _shown(change: float, low: float, high: float) -> str:
    return f"{change:+.1%} [{low:+.1%}, {high:+.1%}]"
