"""Settings of a home that models are made with."""

from typing import Any

from pipeline.settings import Settings

SHOP = {"name": "Any shop", "country": "GB", "timezone": "Europe/London", "currency": "GBP"}


def settings_with(**rooms: Any) -> Settings:
    """The settings of any shop, with some rooms of them."""
    return Settings.model_validate({"shop": SHOP, "sources": [{"mapping": "any"}]}).model_copy(update=rooms)
