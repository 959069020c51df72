"""The recipe of a model: what shapes it beside its data, kept with every version so that it can be made again later.

A recipe has two halves. The *model's* half (forecaster, training, language model) is what a challenge puts to the test: a past
origin can be trained with it. The *shop's* half (calendar, countries, horizon, locations) says what is asked and known: when
it changes the model must be trained again, but the lake knows only today's answer, so there is nothing to set side by side.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from pydantic import ValidationError

from pipeline.as_of import text_known
from pipeline.enrichment.language_model import find_language_model
from pipeline.errors import ModelError
from pipeline.lake import Lake
from pipeline.model_settings import TrainingSettings
from pipeline.models.networks.architectures import ARCHITECTURES
from pipeline.models.registry import MODEL
from pipeline.settings import Settings

_CADENCE = {"retrain_every_days", "update_every_days", "update_steps", "replay_share", "pretrain_every_days"}
"""Training settings that say when to train and how to go on; they do not shape a new model."""
_MACHINE = {"processes", "accumulate", "gradient_checkpointing"}
"""Fine-tuning settings that say how a machine computes the same weights."""
_FINE_TUNED = {"fusion", "text_regression", "chronos"}
"""Members that read `fine_tuning`."""
_ADDED = {"augmentation", "adversarial"}
"""Training settings that came later and are off by default: off they stay unsaid, or every home would train anew."""


@dataclass(frozen=True)
class Recipe:
    """What shapes a model beside its data.

    Attributes:
        model: forecaster, by its name in the registry.
        text: language model whose vectors it reads, and the hash of its weights; empty where no text was known.
        sections: sections of the settings that the forecaster reads, as plain values.
        language_model: the section `language_model`, to find that model again.
        shop: calendar, countries, horizon and locations.
    """

    model: str
    text: str
    sections: Mapping[str, Any]
    language_model: Mapping[str, Any]
    shop: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """16 hex digits over all that shapes the model."""
        shaping = {"model": self.model, "text": self.text, **self.sections, **self.shop}
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:16]

    def makes_the_model_of(self, other: "Recipe") -> bool:
        """Whether the same data would give the same model, the shop's half left aside."""
        mine, theirs = ((one.model, one.text, _plain(one.sections)) for one in (self, other))
        return mine == theirs

    def applied_to(self, settings: Settings) -> Settings:
        """Settings with the model's half of this recipe, the rest as they are.

        What the recipe leaves unsaid was not there when it was made, or was off: it takes its default, not today's value.

        Raises:
            ModelError: this version of Almanac does not know a setting of the recipe.
        """
        content = settings.model_dump()
        for name, values in {**self.sections, "language_model": self.language_model}.items():
            kept = {key: value for key, value in content.get(name, {}).items() if key in _CADENCE | _MACHINE}
            content[name] = {**kept, **values}
        try:
            return Settings.model_validate(content)
        except ValidationError as error:
            places = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
            raise ModelError(f"settings of the recipe that this version does not know: {places}") from error

    def to_json(self) -> dict[str, Any]:
        """As plain values, for an artefact."""
        return {
            "model": self.model,
            "text": self.text,
            "settings": {name: dict(values) for name, values in self.sections.items()},
            "language_model": dict(self.language_model),
            "shop": dict(self.shop),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Recipe":
        """Undo `to_json`."""
        return cls(stored["model"], stored["text"], stored["settings"], stored["language_model"], stored["shop"])


def recipe_of(lake: Lake, settings: Settings, as_of: date) -> Recipe:
    """The recipe of a model that is trained on a night.

    Cadence, updates, machine and reports do not shape it. Whether a text was known and encoded by the night does: a
    network trained without text vectors cannot read any.

    Args:
        lake: the home's lake.
        settings: the home's settings.
        as_of: the night.
    """
    encoded = bool(lake.partitions("item_text_features")) and text_known(lake, as_of)
    sections = {"training": _of_training(settings.training)}
    if MODEL not in ARCHITECTURES:
        sections |= _of_members(settings)
    return Recipe(
        model=MODEL,
        text=find_language_model(settings.language_model, home=lake.home).model_id if encoded else "",
        sections=sections,
        language_model=settings.language_model.model_dump(mode="json"),
        shop={
            "calendar": settings.calendar.model_dump(mode="json"),
            "countries": list(settings.holiday_countries),
            "horizon_days": settings.forecast.horizon_days,
            "by_location": settings.shop.by_location,
        },
    )


def _of_training(training: TrainingSettings) -> dict[str, Any]:
    values = training.model_dump(mode="json", exclude=_CADENCE)
    off = TrainingSettings().model_dump(mode="json", include=_ADDED)
    return {name: value for name, value in values.items() if name not in off or value != off[name]}


def _of_members(settings: Settings) -> dict[str, Any]:
    """Sections that only forecasters made of others, or of pretrained ones, read."""
    members = settings.members.model_dump(mode="json")
    on = {name for name, one in members.items() if one["on"]}
    found: dict[str, Any] = {
        # how a member that is off would be trained shapes nothing
        "members": {name: one if name in on else {"on": False} for name, one in members.items()},
        "ensemble": settings.ensemble.model_dump(mode="json"),
    }
    if on & _FINE_TUNED:
        found["fine_tuning"] = settings.fine_tuning.model_dump(mode="json", exclude=_MACHINE)
    return found


def _plain(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)
