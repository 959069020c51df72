"""When a night trains a new network, when it updates the champion, and when it re-uses it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from pipeline.lake import Lake
from pipeline.model_settings import TrainingSettings
from pipeline.settings import Settings
from pipeline.training.recipe import recipe_of

FULL = "full"
UPDATE = "update"


@dataclass(frozen=True)
class Trained:
    """One training that a night knows of: a row of `model_versions`.

    Attributes:
        model_version: the version that it made, promoted or not.
        as_of: night whose knowledge it was trained on.
        kind: full or update.
        parent: version that an update started from.
        settings_hash: hash of the settings it was trained with.
    """

    model_version: str
    as_of: date
    kind: str
    parent: str
    settings_hash: str


@dataclass(frozen=True)
class Decision:
    """What a night does about its model, and why in words."""

    action: Literal["reuse", "update", "full"]
    reason: str


def settings_hash(lake: Lake, settings: Settings, as_of: date) -> str:
    """Hash of what shapes a model beside its data (16 hex digits); see `recipe_of`."""
    return recipe_of(lake, settings, as_of).hash


def recorded_trainings(lake: Lake) -> list[Trained]:
    """All trainings of a home, of any night, as `model_versions` has them."""
    with lake.connect() as con:
        rows = con.execute(
            "SELECT model_version, as_of, coalesce(kind, 'full'), coalesce(parent, ''), settings_hash "
            f"FROM ({lake.select('model_versions')}) ORDER BY as_of, model_version"
        ).fetchall()
    return [Trained(*row) for row in rows]


def network_of(trainings: Sequence[Trained], model_version: str) -> Trained | None:
    """The full training whose network a version carries on: itself, or where its line of updates began."""
    by_name = {one.model_version: one for one in trainings}
    one = by_name.get(model_version)
    while one is not None and one.kind == UPDATE:
        one = by_name.get(one.parent)
    return one


def decide(
    trainings: Sequence[Trained],
    as_of: date,
    settings: TrainingSettings,
    *,
    shaped_by: str,
    champion: str | None,
    drift: str = "",
) -> Decision:
    """What a night does about its model.

    Ages count from the last training with today's settings known by the night, whether its version was promoted or not: a
    challenger that lost would lose again tomorrow. While a champion of other settings serves, because theirs lost or a person
    rolled back, there is nothing to update; they challenge it again when their network or the champion's is due for a new one,
    though not before an update would have been.

    Args:
        trainings: trainings of the home; those of later nights are left aside.
        as_of: the night.
        settings: cadence.
        shaped_by: hash of today's settings (`settings_hash`).
        champion: version that the night could use.
        drift: in words, what drifted so far that the night should train; empty when nothing did.
    """
    known = [one for one in trainings if one.as_of <= as_of]
    if champion is None or not known:
        return Decision("full", "no champion yet")
    mine = [one for one in known if one.settings_hash == shaped_by]
    if not mine:
        return Decision("full", "settings or the language model changed")
    age = (as_of - max(one.as_of for one in mine)).days
    if age == 0:
        return Decision("reuse", "the night has trained")
    networks = [one.as_of for one in mine if one.kind == FULL]
    oldest = (as_of - max(networks)).days if networks else None
    if oldest is None or oldest >= settings.retrain_every_days:
        return Decision("full", f"the last new network is {oldest} days old" if networks else "no network known")
    serving = next((one for one in known if one.model_version == champion), None)
    if serving is not None and serving.settings_hash != shaped_by:
        network = network_of(known, champion) or serving
        theirs = settings.retrain_every_days - (as_of - network.as_of).days
        left = min(settings.retrain_every_days - oldest, max(theirs, settings.update_every_days - age))
        return _against_other_settings(champion, left)
    return _between_networks(age, settings, drift)


def _against_other_settings(champion: str, left: int) -> Decision:
    """What a night does whose champion has other settings than today's, which are due to challenge it in so many days."""
    if left > 0:
        return Decision("reuse", f"{champion} is of other settings; today's challenge it again in {left} days")
    return Decision("full", f"{champion} is of other settings, and its network is due for a new one")


def _between_networks(age: int, settings: TrainingSettings, drift: str) -> Decision:
    """What a night does whose champion has today's settings and whose network is not due."""
    if age < settings.update_every_days:
        return Decision("reuse", f"trained {age} days ago")
    if drift:
        return Decision("full", f"drift: {drift}")
    return Decision("update", f"the last training is {age} days old")
