"""Which settings of networks a search tries, and around which values.

The values lie around today's, so that a search asks what a person would: half of it, twice of it, with and without. Whatever
today's value is, it is among them. What belongs here: values and settings. What does not: how they are tried (`search.py`).
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import yaml

from pipeline.model_settings import TrainingSettings
from pipeline.settings import Settings

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Values = Mapping[str, float]
"""Setting → value; a dot leads into a sub-section of `training`."""

SEARCHED = (
    "hidden",
    "dropout",
    "learning_rate",
    "weight_decay",
    "batch_size",
    "history_days",
    "max_steps",
    "augmentation.jitter",
    "augmentation.scaling",
    "augmentation.warping",
    "adversarial",
)
"""Settings of `training` that are searched."""
_WHOLE = {"hidden", "batch_size", "history_days", "max_steps"}
_MOST_STEPS = 10**6
_HIGHEST_DROPOUT = 0.6
_RATE_FACTOR = 4.0


def values_of(training: TrainingSettings) -> dict[str, float]:
    """Values of what is searched."""
    return {name: _value(training, name) for name in SEARCHED}


def space(training: TrainingSettings, history: int, series: int) -> dict[str, "BaseDistribution"]:
    """What is tried of each setting.

    Args:
        training: today's settings.
        history: days of history of the longest panel; steps that it cannot bear (`steps_for`) are not tried.
        series: its series.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    from pipeline.models.networks.schedule import steps_for, steps_of_nights

    today = values_of(training)

    def among(name: str, values: Iterable[float]) -> CategoricalDistribution:
        cast = int if name in _WHOLE else float
        return CategoricalDistribution(sorted({cast(value) for value in (*values, today[name])}))

    def times(name: str, *factors: float, least: int, step: int) -> CategoricalDistribution:
        return among(name, (max(least, step * round(factor * today[name] / step)) for factor in factors))

    enough = steps_of_nights(series * history, training.batch_size)
    steps = min(steps_for(history, training.max_steps), enough)
    most = min(steps_for(history, _MOST_STEPS), enough, 2 * steps)
    rate = today["learning_rate"]
    return {
        # whole heads of attention, whole weeks
        "hidden": times("hidden", 0.5, 1.5, 2, least=4, step=4),
        "dropout": FloatDistribution(0.0, max(_HIGHEST_DROPOUT, today["dropout"])),
        "learning_rate": FloatDistribution(rate / _RATE_FACTOR, rate * _RATE_FACTOR, log=True),
        "weight_decay": among("weight_decay", (0.0, 0.001, 0.01, 0.05, 0.1)),
        "batch_size": times("batch_size", 0.5, 2, least=1, step=1),
        "history_days": times("history_days", 0.5, 1.5, 2, least=28, step=7),
        "max_steps": among("max_steps", (max(1, steps // 2), max(1, 3 * steps // 4), most)),
        "augmentation.jitter": among("augmentation.jitter", (0.0, 0.1, 0.2, 0.4)),
        "augmentation.scaling": among("augmentation.scaling", (0.0, 0.1, 0.2, 0.4)),
        "augmentation.warping": among("augmentation.warping", (0.0, 0.25, 0.5)),
        "adversarial": among("adversarial", (0.0, 0.02, 0.05, 0.1)),
    }


def applied(settings: Settings, values: Values) -> Settings:
    """The settings with some values, as short as a person would write them: three digits, but for today's."""
    today = values_of(settings.training)
    content = settings.training.model_dump()
    for name, value in values.items():
        section, _, key = name.rpartition(".")
        (content[section] if section else content)[key] = _short(name, value, today[name])
    return settings.model_copy(update={"training": TrainingSettings.model_validate(content)})


def changes(before: TrainingSettings, after: TrainingSettings) -> dict[str, float]:
    """Searched settings that differ, with their new value."""
    old, new = values_of(before), values_of(after)
    return {name: value for name, value in new.items() if value != old[name]}


def snippet(changed: Values) -> str:
    """Changed settings as lines for `almanac.yaml`; empty where nothing changed."""
    content: dict[str, Any] = {}
    for name, value in changed.items():
        section, _, key = name.rpartition(".")
        (content.setdefault(section, {}) if section else content)[key] = value
    return yaml.safe_dump({"training": content}, sort_keys=False) if content else ""


def _value(training: TrainingSettings, name: str) -> float:
    value: Any = training
    for part in name.split("."):
        value = getattr(value, part)
    return int(value) if name in _WHOLE else float(value)


def _short(name: str, value: float, today: float) -> float:
    if name in _WHOLE:
        return int(value)
    return value if value == today else float(f"{value:.3g}")
