"""Forecasters by name: the one list of what there is. Modules are imported when asked for; torch costs seconds."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pipeline.errors import ModelError
from pipeline.models.base import Compute, Fitted, Forecaster
from pipeline.models.networks.architectures import ARCHITECTURES
from pipeline.settings import Settings

MODEL = "lstm"
"""The forecaster that nights train, and that backtests set beside the baselines."""


def _seasonal_naive(settings: Settings, home: Path | None) -> Forecaster:  # noqa: ARG001 - nothing to set
    from pipeline.models.seasonal_naive import SeasonalNaive

    return SeasonalNaive()


def _auto_ets(settings: Settings, home: Path | None) -> Forecaster:  # noqa: ARG001 - nothing to set
    from pipeline.models.statistical import Statistical

    return Statistical("auto_ets")


def _dynamic_theta(settings: Settings, home: Path | None) -> Forecaster:  # noqa: ARG001 - nothing to set
    from pipeline.models.statistical import Statistical

    return Statistical("dynamic_theta")


def _network(name: str, settings: Settings, home: Path | None) -> Forecaster:  # noqa: ARG001 - see make
    from pipeline.models.networks.forecaster import NetworkForecaster

    return NetworkForecaster(settings.training, name)


FORECASTERS: dict[str, Callable[[Settings, Path | None], Forecaster]] = {
    **{name: partial(_network, name) for name in ARCHITECTURES},
    "seasonal_naive": _seasonal_naive,
    "auto_ets": _auto_ets,
    "dynamic_theta": _dynamic_theta,
}


def make(name: str, settings: Settings, home: Path | None = None) -> Forecaster:
    """The forecaster of a name, with the settings of a home.

    Args:
        name: of `FORECASTERS`.
        settings: the home's settings.
        home: folder that a relative language model is relative to.

    Raises:
        ModelError: no such forecaster.
    """
    if name not in FORECASTERS:
        raise ModelError(f"no forecaster {name!r}; there are {', '.join(FORECASTERS)}")
    return FORECASTERS[name](settings, home)


def load(folder: Path, compute: Compute | None = None) -> Fitted:
    """Read back what any forecaster's `save` wrote; safetensors and JSON only.

    Args:
        folder: where it was saved.
        compute: what it may use of the machine; default: the CPU.

    Raises:
        ModelError: the folder holds no stored forecaster that this version knows.
    """
    from pipeline.models import seasonal_naive, statistical
    from pipeline.models.networks import forecaster as networks

    described = [folder / name for name in (networks.MODEL_FILE, seasonal_naive.DESCRIPTION_FILE)]
    path = next((path for path in described if path.is_file()), None)
    if path is None:
        raise ModelError(f"{folder}: no stored forecaster ({' or '.join(p.name for p in described)}); train again")
    try:
        kind = json.loads(path.read_text(encoding="utf-8")).get("kind")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); train again") from error
    if kind in ARCHITECTURES:
        return networks.load_network(folder, compute)
    if kind == "seasonal_naive":
        return seasonal_naive.load_seasonal_naive(folder)
    if kind in {"auto_ets", "dynamic_theta"}:
        return statistical.load_statistical(folder)
    raise ModelError(f"{path}: describes a {kind!r}, which this version does not know; train again")
