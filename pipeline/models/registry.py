"""Forecasters by name: the one list of what there is. Modules are imported when asked for; torch costs seconds."""

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import AlmanacError, ModelError, SettingsError
from pipeline.model_settings import MemberSettings
from pipeline.models.base import Compute, Fitted, Forecaster
from pipeline.models.networks.architectures import ARCHITECTURES
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.models.networks.encoder import Encoder

MODEL = "ensemble"
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


def _seasonal_naive_year(settings: Settings, home: Path | None) -> Forecaster:  # noqa: ARG001 - nothing to set
    from pipeline.models.seasonal_naive_year import SeasonalNaiveYear

    return SeasonalNaiveYear()


def _croston(settings: Settings, home: Path | None) -> Forecaster:  # noqa: ARG001 - nothing to set
    from pipeline.models.croston import Croston

    return Croston()


def _launches(settings: Settings, home: Path | None) -> Forecaster:
    from pipeline.models.launches.forecaster import Launches
    from pipeline.models.seasons.tuned import SeasonTuning

    member, seed = settings.members.launches, settings.training.seed
    tuning = SeasonTuning(member, settings.fine_tuning, settings.language_model, seed, home) if member.tune else None
    return Launches(settings.training, tuning)


def _chronos(settings: Settings, home: Path | None) -> Forecaster:
    from pipeline.models.chronos import Chronos

    return Chronos(settings.members.chronos, settings.fine_tuning, settings.training, home)


def _lightgbm(settings: Settings, home: Path | None) -> Forecaster:  # noqa: ARG001 - reads no language model
    from pipeline.models.gradient_boosting.forecaster import LightgbmQuantiles

    return LightgbmQuantiles(settings.training, settings.members.lightgbm.max_seconds)


def _network(name: str, settings: Settings, home: Path | None) -> Forecaster:  # noqa: ARG001 - see make
    from pipeline.models.networks.forecaster import NetworkForecaster

    return NetworkForecaster(settings.training, name)


def start_from(forecaster: Forecaster, encoders: "Mapping[str, Encoder]") -> Forecaster:
    """The same forecaster, its networks starting from pretrained encoders, by architecture."""
    from pipeline.models.ensemble import Ensemble
    from pipeline.models.networks.forecaster import NetworkForecaster

    if isinstance(forecaster, Ensemble):
        return replace(
            forecaster, members={name: start_from(one, encoders) for name, one in forecaster.members.items()}
        )
    if isinstance(forecaster, NetworkForecaster):
        return replace(forecaster, encoder=encoders.get(forecaster.name))
    return forecaster


def _text_regression(settings: Settings, home: Path | None) -> Forecaster:
    from pipeline.models.text_regression import TextRegression

    member = settings.members.text_regression
    return TextRegression(member, settings.fine_tuning, settings.training, settings.language_model, home)


def _fusion(settings: Settings, home: Path | None) -> Forecaster:
    from pipeline.models.fusion import Fusion

    return Fusion(settings.members.fusion, settings.fine_tuning, settings.training, settings.language_model, home)


def _ensemble(settings: Settings, home: Path | None) -> Forecaster:
    from pipeline.models.ensemble import LAUNCHES, Ensemble

    members = {}
    for name in type(settings.members).model_fields:
        if getattr(settings.members, name).on:
            members[name] = make(name, settings, home)
    if not members.keys() - {LAUNCHES}:
        raise SettingsError(
            "no forecaster is on that speaks for all items: set `on: true` for at least one of `members` in almanac.yaml, "
            f"beside {LAUNCHES}"
        )
    return Ensemble(members, settings.ensemble, settings.training.validation_days)


FORECASTERS: dict[str, Callable[[Settings, Path | None], Forecaster]] = {
    "ensemble": _ensemble,
    **{name: partial(_network, name) for name in ARCHITECTURES},
    "seasonal_naive": _seasonal_naive,
    "auto_ets": _auto_ets,
    "dynamic_theta": _dynamic_theta,
    "seasonal_naive_year": _seasonal_naive_year,
    "croston": _croston,
    "lightgbm": _lightgbm,
    "launches": _launches,
    "chronos": _chronos,
    "text_regression": _text_regression,
    "fusion": _fusion,
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
    member = getattr(settings.members, name, None)
    if isinstance(member, MemberSettings):
        seconds = member.max_seconds if member.has_own_budget else settings.training.max_seconds
        budget = {"max_seconds": seconds}
        members = settings.members.model_copy(update={name: member.model_copy(update=budget)})
        training = settings.training.model_copy(update=budget)
        settings = settings.model_copy(update={"members": members, "training": training})
    return FORECASTERS[name](settings, home)


def pretrained_ids(name: str, settings: Settings, home: Path | None = None) -> tuple[str, ...]:
    """Ids, which hold a hash of the files, of the pretrained models that a forecaster reads beside the panel.

    One that is not there has none: fitting says so, and says it better.

    Args:
        name: of `FORECASTERS`.
        settings: the home's settings.
        home: folder that relative folders are relative to.
    """
    from pipeline.models.language_model import find_language_model
    from pipeline.models.pretrained.base import find_base

    if name == MODEL:
        on = [member for member in type(settings.members).model_fields if getattr(settings.members, member).on]
        return tuple(one for member in on for one in pretrained_ids(member, settings, home))
    try:
        if name == "chronos":
            return (find_base(settings.members.chronos, home).model_id,)
        if name in {"text_regression", "fusion"} or (name == "launches" and settings.members.launches.tune):
            return (find_language_model(settings.language_model, home=home).model_id,)
    except AlmanacError:
        pass
    return ()


_LOADERS_WITHOUT_WEIGHTS = {
    "seasonal_naive": "seasonal_naive:FittedSeasonalNaive.load",
    "seasonal_naive_year": "seasonal_naive_year:FittedSeasonalNaiveYear.load",
    "auto_ets": "statistical:load_statistical",
    "dynamic_theta": "statistical:load_statistical",
    "croston": "croston:FittedCroston.load",
}
"""Module and function that read a kind of forecaster back from its folder."""
_LOADERS = {
    **dict.fromkeys(ARCHITECTURES, "networks.forecaster:load_network"),
    "lightgbm": "gradient_boosting.forecaster:load_lightgbm",
    "launches": "launches.forecaster:load_launches",
    "chronos": "chronos:load_chronos",
    "text_regression": "text_regression:load_text_regression",
    "fusion": "fusion:load_fusion",
}
"""The same for those that compute with weights, and are told what they may use of the machine."""


def _loader(place: str) -> Callable[..., Fitted]:
    module, _, function = place.partition(":")
    found: Callable[..., Fitted] = attrgetter(function)(importlib.import_module(f"pipeline.models.{module}"))
    return found


def members_in(folder: Path) -> tuple[str, ...]:
    """Members that a stored ensemble was trained with; none of any other forecaster."""
    from pipeline.models import ensemble

    path = folder / ensemble.DESCRIPTION_FILE
    return tuple(json.loads(path.read_text(encoding="utf-8"))["members"]) if path.is_file() else ()


def load(folder: Path, compute: Compute | None = None) -> Fitted:
    """Read back what any forecaster's `save` wrote; safetensors and JSON only.

    Args:
        folder: where it was saved.
        compute: what it may use of the machine; default: the CPU.

    Raises:
        ModelError: the folder holds no stored forecaster that this version knows.
    """
    from pipeline.models import description, ensemble
    from pipeline.models.finetuning import stored
    from pipeline.models.networks import forecaster as networks

    if (folder / ensemble.DESCRIPTION_FILE).is_file():
        return ensemble.load_ensemble(folder, partial(load, compute=compute))
    described = [folder / name for name in (networks.MODEL_FILE, description.DESCRIPTION_FILE, stored.MODEL_FILE)]
    path = next((path for path in described if path.is_file()), None)
    if path is None:
        raise ModelError(f"{folder}: no stored forecaster ({' or '.join(p.name for p in described)}); train again")
    try:
        kind = json.loads(path.read_text(encoding="utf-8")).get("kind")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); train again") from error
    if kind in _LOADERS_WITHOUT_WEIGHTS:
        return _loader(_LOADERS_WITHOUT_WEIGHTS[kind])(folder)
    if kind in _LOADERS:
        return _loader(_LOADERS[kind])(folder, compute)
    raise ModelError(f"{path}: describes a {kind!r}, which this version does not know; train again")
