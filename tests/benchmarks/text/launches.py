"""Cold start: launches forecast with words, without, and with the words of other items."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pipeline.errors import HistoryError
from pipeline.models.base import Compute
from pipeline.models.launches.examples import STRETCHES
from pipeline.models.launches.forecaster import Launches
from pipeline.models.panel import Panel
from pipeline.models.quantiles import WQL_LEVELS, pinball
from pipeline.models.seasons.tuned import SeasonTuning
from tests.benchmarks.accuracy.scores import Bar, table
from tests.benchmarks.accuracy.shop import tell
from tests.benchmarks.text.shop import CUT_OFFS, TextShop

TWINS = 5
"""Shuffles of the texts, whose losses are averaged: one alone is off by a percent by chance."""
_DRAWS = 2000
Change = Callable[[Panel], Panel]


@dataclass
class Losses:
    """What a forecaster made of the launches, per stretch of days: lists over launches.

    Attributes:
        error: absolute error of the mean.
        loss: what WQL sums.
        inside: the 80 % interval held.
    """

    error: dict[int, list[float]] = field(default_factory=dict)
    loss: dict[int, list[float]] = field(default_factory=dict)
    inside: dict[int, list[bool]] = field(default_factory=dict)


@dataclass(frozen=True)
class ColdStart:
    """What was measured.

    Attributes:
        forecasters: name → losses; "text", "tuned", "price", "price and code", "shuffled 1" …
        units: per stretch, units that came of each launch.
    """

    forecasters: dict[str, Losses]
    units: dict[int, list[float]]

    def change(self, stretch: int, one: str, of: tuple[str, ...], loss: str) -> tuple[float, float, float]:
        """By how much a forecaster's loss differs from others' (their mean), with the 95 % interval of a bootstrap over launches."""
        mine = np.array(getattr(self.forecasters[one], loss)[stretch])
        theirs = np.mean([getattr(self.forecasters[name], loss)[stretch] for name in of], axis=0)
        drawn = np.random.default_rng(0).integers(len(mine), size=(_DRAWS, len(mine)))
        ratios = mine[drawn].sum(axis=1) / theirs[drawn].sum(axis=1) - 1
        low, high = np.quantile(ratios, [0.025, 0.975])
        return float(mine.sum() / theirs.sum() - 1), float(low), float(high)

    def best_without_text(self, stretch: int, loss: str) -> str:
        """The reference with the least loss."""
        return min(("price", "price and code"), key=lambda name: sum(getattr(self.forecasters[name], loss)[stretch]))

    @property
    def twins(self) -> tuple[str, ...]:
        """Names of the shuffled twins."""
        return tuple(name for name in self.forecasters if name.startswith("shuffled"))


def variants() -> dict[str, tuple[Change, Change]]:
    """Name → what a forecaster is trained on, and what it is asked with."""

    def same(panel: Panel) -> Panel:
        return panel

    def wordless(panel: Panel) -> Panel:
        return replace(panel, text=np.zeros((panel.series, 0), np.float32))

    def uncoded(panel: Panel) -> Panel:
        return replace(wordless(panel), item_id=np.char.add("x", panel.item_id))

    found: dict[str, tuple[Change, Change]] = {
        "text": (same, same),
        "price and code": (wordless, wordless),
        "price": (uncoded, uncoded),
    }
    return found


def run(shop: TextShop) -> ColdStart:
    """Train at every cut-off, ask for the launches that followed, and set beside them what came."""
    measured = ColdStart({}, {})
    for cut_off in CUT_OFFS:
        known = shop.known(cut_off)
        try:
            Launches().fit_to(known)
        except HistoryError as error:
            tell(f"launches: {cut_off}: {error}", 0, 1)
            continue
        asked = shop.launches(cut_off)
        for name, (trained_on, asked_with) in variants().items():
            _measure(measured, name, shop, trained_on(known), [(panel, asked_with(panel)) for panel in asked])
        _measure(measured, "tuned", shop, known, [(panel, panel) for panel in asked], shop.tuning)
        for twin in range(TWINS):
            # one shuffle of all items, launches among them: every item has the words of another
            random = np.random.default_rng([twin, cut_off.toordinal()])
            everything = np.concatenate([known.text, *(panel.text for panel in asked)])
            dealt = everything[random.permutation(len(everything))]
            parts = np.split(dealt, np.cumsum([known.series, *(panel.series for panel in asked)])[:-1])
            _measure(
                measured,
                f"shuffled {twin + 1}",
                shop,
                replace(known, text=parts[0]),
                [(panel, replace(panel, text=part)) for panel, part in zip(asked, parts[1:], strict=True)],
            )
        tell(f"launches: {cut_off}", 1, 1)
    return measured


def _measure(
    measured: ColdStart,
    name: str,
    shop: TextShop,
    known: Panel,
    asked: list[tuple[Panel, Panel]],
    tuning: SeasonTuning | None = None,
) -> None:
    with tempfile.TemporaryDirectory(prefix="almanac-bench-") as folder:
        fitted = Launches(tuning=tuning).fit(known, folder=Path(folder), compute=Compute())
    losses = measured.forecasters.setdefault(name, Losses())
    for launched, panel in asked:
        for stretch, totals in enumerate(fitted.totals(panel)):
            came = shop.came(launched, *STRETCHES[stretch])
            if came is None:
                continue
            quantiles = np.quantile(totals, WQL_LEVELS, axis=1).T
            losses.error.setdefault(stretch, []).extend(np.abs(came - totals.mean(axis=1)).tolist())
            loss = 2 * pinball(came, quantiles, np.array(WQL_LEVELS)).mean(axis=1)
            losses.loss.setdefault(stretch, []).extend(loss.tolist())
            inside = (came >= quantiles[:, 0]) & (came <= quantiles[:, -1])
            losses.inside.setdefault(stretch, []).extend(inside.tolist())
            if name == "text":
                measured.units.setdefault(stretch, []).extend(came.tolist())


def bars(measured: ColdStart) -> list[Bar]:
    """The bars of the measure."""
    least = min(map(len, measured.units.values()))
    found = [Bar("cold start: at least 300 launches in each stretch", f"{least}", least >= 300)]
    for stretch, (begins, ends) in enumerate(STRETCHES):
        days = f"days {begins + 1}-{ends} of a launch"
        for loss, title, bar in (("error", "WAPE", 0.03), ("loss", "WQL", 0.04)):
            best = measured.best_without_text(stretch, loss)
            gain, low, high = measured.change(stretch, "text", (best,), loss)
            shown = f"{gain:+.1%} [{low:+.1%}, {high:+.1%}] against {best}"
            found.append(
                Bar(f"{days}: {title} at least {bar:.0%} below the best without text", shown, gain <= -bar and high < 0)
            )
            to_twin, _, _ = measured.change(stretch, "text", measured.twins, loss)
            found.append(
                Bar(f"{days}: {title} at least 2.5 % below the shuffled twin", f"{to_twin:+.1%}", to_twin <= -0.025)
            )
            of_twin = np.mean([measured.change(stretch, twin, (best,), loss)[0] for twin in measured.twins])
            found.append(
                Bar(f"{days}: {title} of the twin within 1.5 % of no text", f"{of_twin:+.1%}", abs(of_twin) <= 0.015)
            )
        inside = float(np.mean(measured.forecasters["text"].inside[stretch]))
        found.append(Bar(f"{days}: the 80 % interval covers 76-84 %", f"{inside:.1%}", 0.76 <= inside <= 0.84))
    return found


def markdown(measured: ColdStart) -> str:
    """The table of the README."""
    rows = []
    for name, losses in measured.forecasters.items():
        cells: list[str] = [name]
        for stretch in range(len(STRETCHES)):
            units = sum(measured.units[stretch])
            cells += [
                f"{sum(losses.error[stretch]) / units:.3f}",
                f"{sum(losses.loss[stretch]) / units:.3f}",
                f"{np.mean(losses.inside[stretch]):.0%}",
            ]
        rows.append(cells)
    header = ["forecast from"]
    for stretch, (begins, ends) in enumerate(STRETCHES):
        days = f"days {begins + 1}-{ends} ({len(measured.units[stretch])})"
        header += [f"{days}: WAPE", "WQL", "inside 80 %"]
    return table(header, rows)
