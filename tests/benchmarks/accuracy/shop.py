"""Homes that accuracy is measured on: every stage before the forecasters, run once."""

import sys
from pathlib import Path
from typing import Any

from pipeline.as_of import known_days
from pipeline.cleaning.clean import clean
from pipeline.enrichment.calendar import build_calendar
from pipeline.enrichment.promotions import take_over_promotions
from pipeline.enrichment.texts import encode_items
from pipeline.examples.homes import init_home
from pipeline.ingestion import ingest
from pipeline.lake import Lake
from pipeline.settings import SETTINGS_FILE, Settings, load_settings
from pipeline.validation.lines import validate_lines

SHARED_ORDERS = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "online_retail_II" / "orders"
"""Online Retail II, where a checkout has it beside itself."""


def make_home(home: Path, example: str, orders: Path | None = None) -> Settings:
    """A home of an example, or the one that is there, with everything in that its stages take in."""
    if not (home / SETTINGS_FILE).exists():
        init_home(home, example, orders=orders)
    settings = load_settings(home)
    lake = Lake(home, settings.compute)
    ingest(lake, settings, progress=tell)
    validate_lines(lake, settings)
    clean(lake, settings, progress=tell)
    build_calendar(lake, settings, *known_days(lake))
    take_over_promotions(lake, settings.shop)
    encode_items(lake, settings, progress=tell)
    return settings


def changed(settings: Settings, **rooms: dict[str, Any]) -> Settings:
    """Settings with some fields of some rooms changed."""
    content = settings.model_dump()
    for room, fields in rooms.items():
        content[room] |= fields
    return Settings.model_validate(content)


def tell(what: str, done: int, of: int) -> None:
    """Progress on standard error, so that the Markdown can be piped: one line in a terminal, else one of each work."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what} {done}/{of}", end="", file=sys.stderr, flush=True)
    elif what.startswith(("ablations", "promotions")) or (what.startswith("backtest") and what.count(",") == 0):
        print(what, file=sys.stderr, flush=True)
