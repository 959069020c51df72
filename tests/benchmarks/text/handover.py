"""Handing over: items 8 to 28 days old, forecast from their own sales, as launches went, and as the night's model hands over."""

from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.models.ensemble import LAUNCHES
from pipeline.models.quantiles import WQL_LEVELS, pinball
from pipeline.settings import QUANTILES
from tests.benchmarks.accuracy.scores import Bar, table
from tests.benchmarks.accuracy.shop import tell
from tests.benchmarks.text.shop import CUT_OFFS, TextShop

YOUNGEST, OLDEST = 8, 28
DAYS = 28
OWN, LAUNCHED, HANDED = "own sales", "launches", "handed over"
_IN_QUANTILES = [QUANTILES.index(level) for level in WQL_LEVELS]


@dataclass(frozen=True)
class HandedOver:
    """What was measured, over all cut-offs.

    Attributes:
        items: young items that were forecast.
        units: units that came of them.
        days: cut-off → days of handing over that its training chose.
        totals: name → sum of the absolute errors of 28-day totals.
        loss: name → sum of the losses of days, as WQL sums them.
    """

    items: int
    units: float
    days: dict[str, float]
    totals: dict[str, float]
    loss: dict[str, float] = field(default_factory=dict)


def run(shop: TextShop) -> HandedOver:
    """Train the night's model as shipped at every cut-off that knows launches, and ask it for the items that are young then."""
    items, units = 0, 0.0
    days: dict[str, float] = {}
    totals, loss = (dict.fromkeys((OWN, LAUNCHED, HANDED), 0.0) for _ in range(2))
    for cut_off in CUT_OFFS:
        known = shop.known(cut_off)
        age = known.history - known.first_sold
        mine = known.rows(np.flatnonzero((age >= YOUNGEST) & (age <= OLDEST)))
        fitted = shop.trained(known)
        if LAUNCHES not in fitted.members or not mine.series:
            continue
        came = shop.days(mine, DAYS)
        alone = {name: member for name, member in fitted.members.items() if name != LAUNCHES}
        answers = {
            OWN: replace(fitted, members=alone).forecast(mine, DAYS),
            LAUNCHED: fitted.members[LAUNCHES].forecast(mine, DAYS),
            HANDED: fitted.forecast(mine, DAYS),
        }
        for name, answer in answers.items():
            totals[name] += float(np.abs(answer.mean.sum(axis=1) - came.sum(axis=1)).sum())
            quantiles = answer.quantiles[..., _IN_QUANTILES].reshape(-1, len(WQL_LEVELS))
            loss[name] += float(2 * pinball(came.reshape(-1), quantiles, np.array(WQL_LEVELS)).mean(axis=1).sum())
        items, units = items + mine.series, units + float(came.sum())
        days[cut_off.isoformat()] = fitted.handover_days
        tell(f"handover: {cut_off}", 1, 1)
    return HandedOver(items, units, days, totals, loss)


def bars(measured: HandedOver) -> list[Bar]:
    """The bars of the measure."""
    found = []
    for title, errors in (("WAPE of 28-day totals", measured.totals), ("WQL of days", measured.loss)):
        worse = errors[HANDED] / min(errors[OWN], errors[LAUNCHED]) - 1
        name = f"items {YOUNGEST} to {OLDEST} days old: {title} at most 1 % above the better of both"
        found.append(Bar(name, f"{worse:+.1%}", worse <= 0.01))
    return found


def markdown(measured: HandedOver) -> str:
    """The table of the README."""
    rows = [
        [name, f"{measured.totals[name] / measured.units:.3f}", f"{measured.loss[name] / measured.units:.3f}"]
        for name in measured.totals
    ]
    return table([f"forecast of {measured.items} young items from", "WAPE of 28-day totals", "WQL of days"], rows)
