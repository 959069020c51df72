"""The one interface of all forecasters.

To add one: a file beside this one with a `Forecaster`, and its name in `registry.py`; nothing else has to know.

`fit` returns a new fitted object and never changes its forecaster; heavy libraries are imported where they are used.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pipeline.models.panel import Panel
from pipeline.models.quantiles import GRID_LEVELS, whole_units
from pipeline.settings import QUANTILES

Array = NDArray[np.float64]
Progress = Callable[[str, int, int], None]
"""Called with (what, done, of) while long work goes on."""


def silent(what: str, done: int, of: int) -> None:
    """The progress of work that nobody watches."""


@dataclass(frozen=True)
class Compute:
    """What a forecaster may use of the machine, as picked by `resources/compute.py`.

    Attributes:
        device: torch device, "cpu" or "cuda".
        threads: CPU threads.
        mixed_precision: bf16 autocast; on GPUs that have it.
    """

    device: str = "cpu"
    threads: int = 2
    mixed_precision: bool = False

    @property
    def usable_device(self) -> str:
        """The device, or the CPU where a model trained on a GPU meets a machine without one."""
        import torch

        return self.device if self.device == "cpu" or torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Stretches:
    """How the sums of stretches of days are spread, learned from sums: days alone do not say it.

    Attributes:
        days: days of a stretch; the first begins with the first day ahead, the others follow.
        spread: (S, B, Q) quantiles of each sum ÷ its mean, at `pipeline.settings.QUANTILES`, non-decreasing; not a
            number where nothing was learned.
    """

    days: int
    spread: Array


@dataclass(frozen=True)
class Forecast:
    """Marginal forecasts of S series for H days.

    Attributes:
        mean: (S, H) expected units.
        quantiles: (S, H, Q) quantiles of units at `pipeline.settings.QUANTILES`: whole units, non-negative, finite
            and non-crossing.
        grid: (S, H, G) the same distribution at the finer `grid_levels`, not rounded, from which sample paths
            are drawn; None when not asked for.
        grid_levels: (G,) levels of `grid`.
        fallbacks: series that a simpler forecaster had to answer for, because this one could not be fitted to them.
        item_share: (S,) share of variance that is common to all days of a series (see `Dependence.item`, which counts where
            this is None).
        stretches: how sums are spread, where the forecaster learned it; they have as many series, and B ≤ H ÷ their days.
        failed: members of an ensemble that could not answer, with the reason.
    """

    mean: Array
    quantiles: Array
    grid: Array | None = None
    grid_levels: Array | None = None
    fallbacks: int = 0
    item_share: Array | None = None
    stretches: Stretches | None = None
    failed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_levels(
        cls, mean: Array, quantiles: Array, levels: Sequence[float], *, grid: bool, fallbacks: int = 0
    ) -> "Forecast":
        """A forecast from quantiles at any levels that hold those of the contract, and of the grid where it is asked for.

        Args:
            mean: (S, H) expected units.
            quantiles: (S, H, L) quantiles, neither rounded nor clipped.
            levels: the L levels, ascending.
            grid: the grid is asked for.
            fallbacks: see `Forecast`.
        """
        mine = [levels.index(level) for level in QUANTILES]
        finer = [levels.index(level) for level in GRID_LEVELS] if grid else []
        return cls(
            mean=np.maximum(mean, 0.0),
            quantiles=whole_units(quantiles[:, :, mine]),
            grid=np.maximum(np.sort(quantiles[:, :, finer], axis=2), 0.0) if grid else None,
            grid_levels=np.array(GRID_LEVELS) if grid else None,
            fallbacks=fallbacks,
        )


def levels_of(grid: bool) -> list[float]:
    """Levels that an answer is made of, ascending: the contract's, and those of the grid where it is asked for."""
    return sorted({*QUANTILES, *(GRID_LEVELS if grid else ())})


@dataclass(frozen=True)
class Dependence:
    """How the days and items of a forecast move together: a Gaussian copula with four factors.

    The normal score of series s on day d is √item·a_s + √market·b_d + √level·c + √rest·e_sd, with a, b, c, e independent
    standard normals and rest = 1 − item − market − level; item and market are estimated on validation residuals, before
    the origin.

    Attributes:
        item: share of variance common to all days of a series.
        market: share of variance common to all series of a day.
        level: share of variance common to all series on all days: the shop as a whole goes otherwise than was known. One
            stretch of validation shows a single draw of it, so it is no estimate of the shop's own; see `calibration.level_share`.
    """

    item: float = 0.1
    market: float = 0.02
    level: float = 0.01


@dataclass(frozen=True)
class TrainingReport:
    """What a training did, for MLflow: parameters, curves and how it ended.

    Attributes:
        parameters: settings and derived sizes.
        curves: metric name → values per validation, with their step in `steps`.
        steps: step of each point of the curves.
        seconds: duration.
        stopped: why it ended: steps, seconds or early stopping.
        parts: reports of the members of an ensemble.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, list[float]] = field(default_factory=dict)
    steps: list[int] = field(default_factory=list)
    seconds: float = 0.0
    stopped: str = ""
    parts: Mapping[str, "TrainingReport"] = field(default_factory=dict)


@runtime_checkable
class Fitted(Protocol):
    """A fitted forecaster."""

    @property
    def name(self) -> str:
        """Name of the forecaster, as in the registry."""
        ...

    @property
    def lookback_days(self) -> int:
        """Days of history up to the night that a panel to forecast from needs; the night counts as one."""
        ...

    @property
    def dependence(self) -> Dependence:
        """How the days and items of its forecasts move together."""
        ...

    @property
    def report(self) -> TrainingReport:
        """What its training did."""
        ...

    @property
    def validated(self) -> "Fitted | None":
        """The same as it stood before it learned the last days, of which it can still be asked without having seen them.

        None for one that holds nothing back, and for one that was read from its folder: it is not stored.
        """
        ...

    def forecast(self, panel: Panel, horizon: int, *, grid: bool = False, progress: Progress = silent) -> Forecast:
        """Forecast `horizon` days after the panel's night, for all its series.

        The same panel gives the same bytes, also when forecast in slices of rows.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and all else (JSON) into an empty or new folder."""
        ...

    def describe(self) -> dict[str, Any]:
        """What it is: kind, sizes, scalers, training window."""
        ...


class Forecaster(Protocol):
    """A way to forecast, with its settings."""

    @property
    def name(self) -> str:
        """Name of the forecaster, as in the registry."""
        ...

    def fit(
        self,
        panel: Panel,
        *,
        folder: Path,
        compute: Compute,
        progress: Progress = silent,
        start: Fitted | None = None,
    ) -> Fitted:
        """Fit on all history of the panel.

        Args:
            panel: what was known on the night.
            folder: explicit folder for checkpoints; a training that was killed resumes from it.
            compute: what it may use of the machine.
            progress: told how far it is.
            start: a fitted forecaster of the same kind to go on from, where training from nothing costs something;
                forecasters that are fitted in a moment leave it aside.

        Returns:
            A new fitted forecaster.

        Raises:
            HistoryError: too little history to fit.
            ModelError: `start` is of another kind, or has seen all days of the panel.
        """
        ...
