"""From raw lines through cleaning to a night's bytes: later, late and corrected deliveries change none of them."""

from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.cleaning.clean import clean
from pipeline.enrichment.calendar import build_calendar
from pipeline.lake import Lake
from pipeline.settings import Settings
from tests.canaries.deliveries import FIRST, LATER, NIGHT, SETTINGS, deliver, random_lines
from tests.canaries.nights import differing, night_bytes
from tests.canaries.shops import small_settings, write_vectors


@pytest.fixture(scope="module")
def small() -> Settings:
    """The settings of the deliveries with a training of a moment."""
    sections = small_settings().model_dump(include={"training", "forecast"})
    return SETTINGS.model_validate(SETTINGS.model_dump() | sections)


def enriched(lake: Lake, settings: Settings, last: date) -> Lake:
    """What the night does between the deliveries and the training."""
    clean(lake, settings)
    build_calendar(lake, settings, FIRST, last)
    write_vectors(lake)
    return lake


def test_later_deliveries_and_corrections_change_no_byte_of_a_past_night(tmp_path: Path, small: Settings) -> None:
    lines = random_lines(4)
    known = [line for line in lines if line["available_at"].date() <= NIGHT]
    lake = Lake(tmp_path, small.compute)
    deliver(lake, "known", known, FIRST)
    before = night_bytes(enriched(lake, small, NIGHT), small, NIGHT)

    late = datetime.combine(NIGHT + timedelta(days=1), datetime.min.time())
    corrected = [
        line | {"quantity": line["quantity"] + 1, "item_text": "CORRECTED", "version": 2, "available_at": late}
        for line in known[::3]
    ]
    forgotten = [line | {"order_id": f"L{number}", "available_at": late} for number, line in enumerate(known[::5])]
    deliver(lake, "corrected", corrected, late.date())
    deliver(lake, "forgotten", forgotten, late.date())
    deliver(lake, "new", [line for line in lines if line["available_at"].date() > NIGHT], NIGHT + timedelta(days=1))
    enriched(lake, small, date(2014, 1, 1))
    assert differing(before, night_bytes(lake, small, NIGHT)) == []
    assert "panel" in differing(before, night_bytes(lake, small, LATER)), "the test sees nothing"


def test_a_history_loaded_at_once_gives_a_past_night_the_bytes_it_had(tmp_path: Path, small: Settings) -> None:
    lines = random_lines(5)
    then, at_once = (Lake(tmp_path / name, small.compute) for name in ("then", "at once"))
    deliver(then, "known", [line for line in lines if line["available_at"].date() <= NIGHT], FIRST)
    deliver(at_once, "all", lines, FIRST)
    before = night_bytes(enriched(then, small, NIGHT), small, NIGHT)
    assert differing(before, night_bytes(enriched(at_once, small, LATER), small, NIGHT)) == []
