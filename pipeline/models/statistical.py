"""AutoETS and dynamic optimised Theta (statsforecast), one model per series, weekly season.

The peers that the network must beat, so they are given what helps them: history from the first sale on with outliers
pulled in, their own prediction intervals at every level of the contract, whole units, a real mean. Their parameters are
estimated from the panel they forecast, as is their custom, so `fit` has nothing to learn.

One series that cannot be fitted does not stop the others: seasonal naive answers for it, and `Forecast.fallbacks`
counts it. statsforecast 2.1 is compiled C++ (nothing compiles at run time) and holds the GIL: threads gain nothing
(51 ms a series with one or two), so the work goes over processes.
"""

import multiprocessing
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import (
    Array,
    Compute,
    Dependence,
    Fitted,
    Forecast,
    Progress,
    TrainingReport,
    levels_of,
    silent,
)
from pipeline.models.description import read_description, save_description
from pipeline.models.panel import Panel
from pipeline.models.seasonal_naive import repeat_last_week
from pipeline.models.untrained import SEASON, require_two_weeks

Kind = Literal["auto_ets", "dynamic_theta"]

MAX_DAYS = 730
"""Days of history that are fitted: with a weekly season, two years hold all that these models can use."""
MIN_DAYS = 2 * SEASON + 1
"""Shorter series go to seasonal naive at once; statsforecast refuses them as tiny datasets."""
WILD = 10.0
"""A mean beyond this many times the largest day ever seen is an exploded trend: seasonal naive answers instead."""
_CHUNK = 24
_WORTH_PROCESSES = 120


@dataclass(frozen=True)
class Statistical:
    """One of the two statistical forecasters.

    Attributes:
        name: which.
    """

    name: Kind

    def fit(
        self,
        panel: Panel,
        *,
        folder: Path,  # noqa: ARG002 - nothing to resume from
        compute: Compute,
        progress: Progress = silent,
        start: Fitted | None = None,  # noqa: ARG002 - fitted anew in a moment
    ) -> "FittedStatistical":
        """Take note of how many processes may be used; the parameters are estimated in `forecast`.

        Raises:
            HistoryError: less than two weeks of history.
        """
        require_two_weeks(panel, self.name)
        progress(self.name, 1, 1)
        return FittedStatistical(
            name=self.name,
            fitted_on=panel.as_of.isoformat(),
            processes=max(1, compute.threads),
            report=TrainingReport(stopped="estimated per series when forecasting"),
        )


@dataclass(frozen=True)
class FittedStatistical:
    """A statistical forecaster, ready for any panel."""

    name: Kind
    fitted_on: str
    processes: int = 1
    lookback_days: int = MAX_DAYS
    dependence: Dependence = field(default_factory=Dependence)
    report: TrainingReport = field(default_factory=TrainingReport)

    @property
    def validated(self) -> None:
        """Nothing is held back."""

    def forecast(self, panel: Panel, horizon: int, *, grid: bool = False, progress: Progress = silent) -> Forecast:
        """Estimate and forecast every series; see `pipeline.models.base.Fitted`."""
        levels = levels_of(grid)
        series = [
            _from_first_sale(row, first) for row, first in zip(panel.units_winsorised, panel.first_sold, strict=True)
        ]
        mean = np.zeros((panel.series, horizon))
        quantiles = np.zeros((panel.series, horizon, len(levels)))
        failed = np.zeros(panel.series, dtype=bool)
        done = 0
        for answers in self._answers(series, horizon, levels):
            for answer in answers:
                if answer is None:
                    failed[done] = True
                else:
                    mean[done], quantiles[done] = answer
                done += 1
            progress(self.name, done, panel.series)
        if failed.any():
            mean[failed], quantiles[failed] = repeat_last_week(
                panel.units_winsorised[failed], panel.first_sold[failed], horizon, levels
            )
        return Forecast.of_levels(mean, quantiles, levels, grid=grid, fallbacks=int(failed.sum()))

    def _answers(
        self, series: list[Array], horizon: int, levels: Sequence[float]
    ) -> Iterator[list[tuple[Array, Array] | None]]:
        """Answers in the order of the series, chunk by chunk, over processes where that is worth their start."""
        chunks = [series[start : start + _CHUNK] for start in range(0, len(series), _CHUNK)]
        work = partial(_forecast_chunk, self.name, horizon=horizon, levels=tuple(levels))
        if self.processes == 1 or len(series) < _WORTH_PROCESSES:
            yield from map(work, chunks)
            return
        # spawn: a fork would copy the locks of torch's and DuckDB's threads
        with ProcessPoolExecutor(self.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield from pool.map(work, chunks)

    def save(self, folder: Path) -> None:
        """Write what it is; there are no weights."""
        save_description(folder, {"kind": self.name, "fitted_on": self.fitted_on, "processes": self.processes})

    def describe(self) -> dict[str, Any]:
        """What it is."""
        return {"kind": self.name, "season": SEASON, "max_days": MAX_DAYS, "fitted_on": self.fitted_on}


def load_statistical(folder: Path) -> FittedStatistical:
    """Read back what `save` wrote."""
    content = read_description(folder, "auto_ets", "dynamic_theta")
    return FittedStatistical(content["kind"], content["fitted_on"], int(content["processes"]), report=TrainingReport())


def _from_first_sale(units: NDArray[np.float32], first_sold: int) -> Array:
    start = max(int(first_sold), len(units) - MAX_DAYS)
    return units[start:].astype(np.float64)


def _forecast_chunk(
    kind: Kind, series: list[Array], *, horizon: int, levels: Sequence[float]
) -> list[tuple[Array, Array] | None]:
    """Forecast some series, in whatever process; None for one that cannot be fitted."""
    return [_forecast_one(kind, units, horizon, levels) for units in series]


def _forecast_one(kind: Kind, units: Array, horizon: int, levels: Sequence[float]) -> tuple[Array, Array] | None:
    """Mean (H,) and quantiles (H, Q) of one series, or None when it cannot be fitted or explodes."""
    from statsforecast.models import AutoETS, DynamicOptimizedTheta

    if len(units) < MIN_DAYS or not units.any():
        return None
    model = (AutoETS if kind == "auto_ets" else DynamicOptimizedTheta)(season_length=SEASON)
    widths = [round(200 * abs(level - 0.5), 6) for level in levels]
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            answer = model.forecast(y=units, h=horizon, level=sorted(set(widths)))
    except Exception:  # whatever the optimiser trips over on one series; counted as a fallback by the caller
        return None
    mean = np.asarray(answer["mean"], dtype=np.float64)
    columns = [answer[f"{'lo' if level < 0.5 else 'hi'}-{width}"] for level, width in zip(levels, widths, strict=True)]
    quantiles = np.stack(columns, axis=1).astype(np.float64)
    if not (np.isfinite(mean).all() and np.isfinite(quantiles).all()) or mean.max() > WILD * units.max():
        return None
    return mean, quantiles
