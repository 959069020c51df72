"""What promotions and prices are worth: the same model with them and without, on a US grocer (Complete Journey).

Scored are weekly sums of items in the weeks in which they are on promotion. The plans of those weeks are known to the model
with promotions, as a shop knows its own; both models are otherwise the same, trained on the same items and days.
"""

import tempfile
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.as_of import as_of_view
from pipeline.backtesting.scores import bias, wape
from pipeline.examples.homes import COMPLETE_JOURNEY_NIGHT
from pipeline.lake import Lake
from pipeline.models.base import Compute
from pipeline.models.panel import Panel
from pipeline.models.registry import MODEL, make
from pipeline.settings import Settings
from pipeline.training.panel import build_panel
from tests.benchmarks.accuracy.scores import Bar, table
from tests.benchmarks.accuracy.shop import tell

ORIGINS = (date(2017, 7, 30), date(2017, 8, 27), date(2017, 9, 24), date(2017, 10, 29))
WEEKS = 4
ITEMS = 2000
BAR = 0.05


@dataclass(frozen=True)
class Compared:
    """Item-weeks on promotion of all origins, one entry each.

    Attributes:
        actual: units that came.
        known: expected units by the model with promotions and prices.
        blind: expected units by the same model without.
    """

    actual: NDArray[np.float64]
    known: NDArray[np.float64]
    blind: NDArray[np.float64]


def run(lake: Lake, settings: Settings, compute: Compute) -> Compared:
    """Fit both models at every origin, and collect the item-weeks on promotion."""
    parts = [_origin(lake, settings, compute, origin) for origin in ORIGINS]
    return Compared(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def bars(found: Compared) -> list[Bar]:
    """What the measure asks of promotions and prices."""
    known, blind = wape(found.actual, found.known), wape(found.actual, found.blind)
    told = f"WAPE {known:.4f} with, {blind:.4f} without: {100 * (1 - known / blind):.1f} % ({len(found.actual):,} item-weeks)"
    return [
        Bar(
            "promotions and prices, WAPE of item-weeks 5 % below the same model without",
            told,
            known <= (1 - BAR) * blind,
        )
    ]


def markdown(found: Compared) -> str:
    """The table of the README."""
    rows = [
        [name, f"{wape(found.actual, means):.4f}", f"{bias(found.actual, means):+.2f}"]
        for name, means in (("with promotions and prices", found.known), ("without", found.blind))
    ]
    return table(["the night's model", "WAPE of item-weeks on promotion", "bias"], rows)


def _origin(lake: Lake, settings: Settings, compute: Compute, origin: date) -> tuple[NDArray[np.float64], ...]:
    with as_of_view(lake, origin, by_location=False) as view:
        best = view.con.execute(
            "SELECT item_id, '' FROM demand_daily GROUP BY item_id ORDER BY sum(units) DESC, item_id LIMIT $1", [ITEMS]
        ).fetchall()
        panel = build_panel(view, settings, horizon=7 * WEEKS, series=sorted(best), home=lake.home)
    # the plan of the weeks to come stands in the promotions as they were carried out: a shop knows its own
    planned = _with_plan(lake, settings, panel)
    blind = replace(
        planned,
        promotion=np.zeros_like(planned.promotion[..., :0]),
        promotion_kinds=(),
        price=np.where(np.isnan(planned.price), np.nan, 1.0).astype(np.float32),
    )
    expected = []
    for name, read in (("with", planned), ("without", blind)):
        tell(f"promotions {origin}: {name}", 0, 1)
        with tempfile.TemporaryDirectory() as folder:
            fitted = make(MODEL, settings, lake.home).fit(read, folder=Path(folder), compute=compute)
        expected.append(_weekly(fitted.forecast(read, 7 * WEEKS).mean))
    came = _came(lake, settings, panel)
    ahead = planned.promotion[:, panel.history :].max(axis=2)
    promoted = ahead.reshape(len(ahead), WEEKS, 7).max(axis=2) > 0
    return tuple(values[promoted] for values in (came, *expected))


def _with_plan(lake: Lake, settings: Settings, panel: Panel) -> Panel:
    """The panel with the promotions of the weeks to come, known at all times before."""
    later = panel.as_of + timedelta(days=7 * WEEKS)
    series = list(zip(panel.item_id.tolist(), panel.location.tolist(), strict=True))
    with as_of_view(lake, later, by_location=False) as view:
        carried_out = build_panel(view, settings, horizon=1, series=series, home=lake.home)
    kinds = [carried_out.promotion_kinds.index(kind) for kind in panel.promotion_kinds]
    days = panel.history + 7 * WEEKS
    first = (panel.first_day - carried_out.first_day).days
    return replace(panel, promotion=carried_out.promotion[:, first : first + days, kinds], promotion_lead=None)


def _came(lake: Lake, settings: Settings, panel: Panel) -> NDArray[np.float64]:
    series = list(zip(panel.item_id.tolist(), panel.location.tolist(), strict=True))
    with as_of_view(lake, COMPLETE_JOURNEY_NIGHT, by_location=False) as view:
        whole = build_panel(view, settings, horizon=1, series=series, home=lake.home)
    start = (panel.as_of - whole.first_day).days + 1
    return _weekly(whole.units[:, start : start + 7 * WEEKS].astype(np.float64))


def _weekly(daily: NDArray[np.float64]) -> NDArray[np.float64]:
    summed: NDArray[np.float64] = daily.reshape(len(daily), WEEKS, 7).sum(axis=2)
    return summed
