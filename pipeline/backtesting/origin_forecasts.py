"""The forecasts of one origin: every model fitted to what the origin knew, or taken from the cache."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.as_of import AsOfView
from pipeline.backtesting.memory import PeakMemory
from pipeline.backtesting.origins import scored_rows
from pipeline.backtesting.scoring import OriginSeries, origin_series
from pipeline.backtesting.store import Made, Store
from pipeline.backtesting.sums import forecast_sums
from pipeline.errors import HistoryError, heed_stop
from pipeline.models.base import Compute, Fitted, Forecaster, Progress
from pipeline.models.controls import control_of
from pipeline.models.ensemble import members_of
from pipeline.models.panel import Panel
from pipeline.models.registry import pretrained_ids
from pipeline.settings import Settings

Maker = Callable[[str, Settings, Path], Forecaster]
"""Makes a forecaster from its name, the settings, and the folder of the home."""


@dataclass(frozen=True)
class OriginForecasts:
    """One origin that was forecast.

    Attributes:
        series: the scored series, as known at the origin.
        files: model → file of its forecasts.
        made: model → what making them took.
        reused: how many of them stood in the cache.
        failed: models that could not answer, with the reason; never the first.
    """

    series: OriginSeries
    files: Mapping[str, Path]
    made: Mapping[str, Made]
    reused: int
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def degraded(self) -> dict[str, str]:
        """Models that answered without some of their members, with the reason."""
        return {model: f"{model} without {made.failed}" for model, made in self.made.items() if made.failed}


@dataclass(frozen=True)
class OriginWork:
    """What is the same for all origins of a backtest.

    Attributes:
        settings: all settings.
        models: forecasters by name, some of them under a control (see `pipeline.models.controls`).
        make: makes a forecaster by name.
        compute: what they may use of the machine.
        store: forecasts already made.
        home: folder of the home, which a relative language model is relative to.
        progress: told (what, done, of).
        origins: number of origins, for the progress.
    """

    settings: Settings
    models: tuple[str, ...]
    make: Maker
    compute: Compute
    store: Store
    home: Path
    progress: Progress
    origins: int

    def forecast(self, view: AsOfView, number: int) -> OriginForecasts:
        """Forecast one origin with all models.

        Args:
            view: what the origin knew.
            number: which origin of the backtest it is, from 0.

        Raises:
            HistoryError: no item was sold often enough to be scored, or a model cannot be fitted to so little.
            AlmanacError: what stops the first model, the one under test.
        """
        from pipeline.training.panel import build_panel

        # the horizon the night trains for: a model trained for fewer days would be another model
        horizon = max(self.settings.backtest.horizon_days, self.settings.forecast.horizon_days)
        panel = build_panel(view, self.settings, horizon=horizon, home=self.home)
        rows = scored_rows(panel, self.settings.backtest)
        if not len(rows):
            raise HistoryError(
                f"no item was sold on {self.settings.backtest.min_sale_days} days of the year before it; "
                "lower backtest.min_sale_days"
            )
        scored = panel.rows(rows)
        known_by_then = panel.fingerprint()
        files = {
            model: self.store.path(
                known_by_then,
                view.as_of,
                model,
                settings=self.settings,
                compute=self.compute,
                pretrained=pretrained_ids(control_of(model)[0], self.settings, self.home),
            )
            for model in self.models
        }
        made: dict[str, Made] = {}
        failed: dict[str, str] = {}
        reused = 0
        for step, model in enumerate(self.models, start=number * len(self.models)):
            self.progress(f"backtest {view.as_of}: {model}", step, self.origins * len(self.models))
            known = self.store.made(files[model])
            if known is not None and known.failed:
                known = None  # whatever kept a member from answering may have passed
            reused += known is not None
            try:
                made[model] = known or self._make(files, model, panel, rows)
            except HistoryError:
                raise
            except Exception as error:  # whatever a library trips over in one forecaster; the others are still compared
                heed_stop(error)
                if model == self.models[0]:
                    raise
                failed[model] = f"{type(error).__name__}: {error}"
        return OriginForecasts(origin_series(scored), files, made, reused, failed)

    def _make(self, files: Mapping[str, Path], model: str, panel: Panel, rows: NDArray[np.int64]) -> Made:
        """Fit one model on the whole panel, forecast the scored rows, and keep the result.

        Members of an ensemble that are asked for too are asked once, while they are at hand.
        """
        name, control = control_of(model)
        panel = control(panel) if control else panel
        scored = panel.rows(rows)
        tell = self._within(panel.as_of, model)
        with PeakMemory() as memory:
            started = time.perf_counter()
            forecaster = self.make(name, self.settings, self.home)
            fitted = forecaster.fit(panel, folder=files[model].with_suffix(""), compute=self.compute, progress=tell)
            fit_seconds = time.perf_counter() - started
            made = self._answer(files[model], model, fitted, scored, fit_seconds)
        made = replace(made, peak_mb=memory.peak_mb)
        self.store.note(files[model], made)
        for name, member in () if control else members_of(fitted).items():
            if name in files and self.store.made(files[name]) is None:
                part = self._answer(files[name], name, member, scored, member.report.seconds)
                # its memory cannot be told from that of the others
                self.store.note(files[name], replace(part, peak_mb=float("nan")))
        return made

    def _answer(self, file: Path, model: str, fitted: Fitted, scored: Panel, fit_seconds: float) -> Made:
        started = time.perf_counter()
        forecast = fitted.forecast(
            scored, self.settings.backtest.horizon_days, grid=True, progress=self._within(scored.as_of, model)
        )
        sums = forecast_sums(scored, forecast, fitted.dependence, model)
        failed = "; ".join(f"{name}: {why}" for name, why in forecast.failed.items())
        made = Made(fit_seconds, time.perf_counter() - started, forecast.fallbacks, failed=failed)
        self.store.write(file, model, scored, forecast, sums=sums, made=made)
        return made

    def _within(self, origin: date, model: str) -> Progress:
        """Progress within one model's work."""

        def tell(what: str, done: int, of: int) -> None:
            self.progress(f"backtest {origin}: {model}" + ("" if what == model else f", {what}"), done, of)

        return tell
