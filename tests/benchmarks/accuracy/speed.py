"""How fast forecasting is, beside AutoETS in the same run: 10,000 series, 91 days, with quantiles."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.backtesting.memory import PeakMemory
from pipeline.models.base import Compute, Fitted
from pipeline.models.panel import Panel
from pipeline.models.registry import make
from pipeline.settings import Settings
from tests.benchmarks.accuracy.scores import Bar, table

SERIES = 10_000
AUTO_ETS_SERIES = 400
HORIZON = 91
SLICE = 2048


@dataclass(frozen=True)
class Speed:
    """What was measured.

    Attributes:
        seconds: of the night's model for all series.
        peak_mb: its memory at its highest.
        auto_ets: seconds of AutoETS for `AUTO_ETS_SERIES` of them.
    """

    seconds: float
    peak_mb: float
    auto_ets: float

    @property
    def times(self) -> float:
        """Series a second, as multiple of AutoETS's."""
        return (SERIES / self.seconds) / (AUTO_ETS_SERIES / self.auto_ets)


def run(fitted: Fitted, panel: Panel, settings: Settings, compute: Compute) -> Speed:
    """Forecast the series of a panel, repeated until there are enough, in the slices that a night has."""
    index = np.resize(np.arange(panel.series), SERIES)
    with PeakMemory() as memory:
        began = time.perf_counter()
        for start in range(0, SERIES, SLICE):
            fitted.forecast(panel.rows(index[start : start + SLICE]), HORIZON)
        seconds = time.perf_counter() - began
    best = np.argsort(-panel.units.sum(axis=1), kind="stable")[: 4 * AUTO_ETS_SERIES : 4]
    peer = make("auto_ets", settings)
    began = time.perf_counter()
    some = panel.rows(np.sort(best).astype(np.int64))
    with tempfile.TemporaryDirectory() as folder:
        peer.fit(some, folder=Path(folder), compute=compute).forecast(some, HORIZON)
    return Speed(seconds, memory.peak_mb, time.perf_counter() - began)


def bars(found: Speed) -> list[Bar]:
    """What the measure asks of speed."""
    told = f"{found.times:.0f} times"
    return [
        Bar("10,000 series × 91 days with quantiles, 20 times AutoETS's series a second", told, found.times >= 20),
        Bar("… at most 3 GB", f"{found.peak_mb / 1024:.1f} GB", found.peak_mb <= 3 * 1024),
    ]


def markdown(found: Speed) -> str:
    """The table of the README."""
    rows = [
        [
            "the night's model",
            f"{SERIES:,}",
            f"{found.seconds:.1f}",
            f"{SERIES / found.seconds:,.0f}",
            f"{found.peak_mb:.0f}",
        ],
        ["AutoETS", f"{AUTO_ETS_SERIES:,}", f"{found.auto_ets:.1f}", f"{AUTO_ETS_SERIES / found.auto_ets:,.0f}", ""],
    ]
    return table(["model", "series", "s", "series a second", "MB"], rows)
