"""When a night trains, and when it re-uses the champion."""

import hashlib
import json
from datetime import date

from pipeline.lake import Lake
from pipeline.settings import Settings


def settings_hash(settings: Settings) -> str:
    """Hash of the settings that shape a model (16 hex digits); machine and reports do not."""
    shaping = {
        "training": settings.training.model_dump(mode="json"),
        "language_model": settings.language_model.model_dump(mode="json", exclude={"batch_size"}),
        "calendar": settings.calendar.model_dump(mode="json"),
        "horizon_days": settings.forecast.horizon_days,
        "by_location": settings.shop.by_location,
    }
    return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:16]


def training_due(
    lake: Lake, settings: Settings, as_of: date, champion: str | None, champion_as_of: date | None
) -> str | None:
    """Why this night must train, or None when the champion serves.

    Args:
        lake: the home's lake; `model_versions` says with which settings a version was trained.
        settings: the home's settings.
        as_of: the night.
        champion: model version that the night could use.
        champion_as_of: night whose knowledge it was trained on.
    """
    if champion is None or champion_as_of is None:
        return "no champion yet"
    age = (as_of - champion_as_of).days
    if age >= settings.training.retrain_every_days:
        return f"the champion is {age} days old"
    with lake.connect() as con:
        rows = con.execute(
            f"SELECT settings_hash FROM ({lake.select('model_versions')}) WHERE model_version = $1", [champion]
        ).fetchall()
    if not rows or rows[0][0] != settings_hash(settings):
        return "settings that shape the model changed"
    return None
