"""When a night trains, and when it re-uses the champion."""

import hashlib
import json
from datetime import date

from pipeline.enrichment.language_model import find_language_model
from pipeline.lake import Lake
from pipeline.settings import Settings


def settings_hash(lake: Lake, settings: Settings) -> str:
    """Hash of what shapes a model beside its data (16 hex digits): settings, and the language model's weights.

    Cadence, machine and reports do not shape it. Whether texts were encoded at all does: a network trained without
    text vectors cannot read any.
    """
    encoded = bool(lake.partitions("item_text_features"))
    shaping = {
        "training": settings.training.model_dump(mode="json", exclude={"retrain_every_days"}),
        "text": find_language_model(settings.language_model, home=lake.home).model_id if encoded else "",
        "calendar": settings.calendar.model_dump(mode="json"),
        "countries": settings.holiday_countries,
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
    if not rows or rows[0][0] != settings_hash(lake, settings):
        return "settings or the language model changed"
    return None
