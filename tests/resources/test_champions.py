"""Who is champion of which night: promotions, backfills and roll-backs."""

import shutil
from datetime import date

import pytest

from pipeline.errors import ModelError
from pipeline.models.panel import Panel
from pipeline.settings import Settings
from resources.tracking import Tracking
from tests.resources.versions import NIGHT, train


def test_a_roll_back_counts_from_its_night_on_and_changes_no_night_before_it(
    tracking: Tracking, settings: Settings, panel: Panel
) -> None:
    first = train(tracking, settings, panel, date(2024, 3, 1))
    second = train(tracking, settings, panel, date(2024, 4, 1))
    assert tracking.before(second.model_version, date(2024, 4, 10)) == first
    assert tracking.roll_back(first, date(2024, 4, 10)) is None
    assert tracking.champion() == first, "the alias went with it"
    assert tracking.champion(date(2024, 4, 9)) == second, "a night that is made again finds what it found"
    assert tracking.champion(date(2024, 4, 10)) == tracking.champion(date(2025, 1, 1)) == first
    assert tracking.before(first.model_version, date(2024, 4, 10)) is None, "not back to what was rolled back"

    third = train(tracking, settings, panel, date(2024, 5, 1))
    assert tracking.champion() == tracking.champion(date(2024, 5, 1)) == third
    assert tracking.champion(date(2024, 4, 30)) == first
    assert tracking.before(third.model_version, date(2024, 5, 1)) == first, "the champion that it was set against"


def test_of_one_night_the_later_decision_counts(tracking: Tracking, settings: Settings, panel: Panel) -> None:
    first = train(tracking, settings, panel, date(2024, 3, 1))
    second = train(tracking, settings, panel, NIGHT)
    tracking.roll_back(first, NIGHT)
    assert tracking.champion(NIGHT) == first
    third = train(tracking, settings, panel, NIGHT)
    assert tracking.champion(NIGHT) == tracking.champion() == third
    tracking.roll_back(second, NIGHT)
    assert tracking.champion(NIGHT) == tracking.champion() == second


def test_a_roll_back_in_the_past_leaves_a_later_champion_in_its_place(
    tracking: Tracking, settings: Settings, panel: Panel
) -> None:
    first, second, third = (train(tracking, settings, panel, date(2024, month, 1)) for month in (3, 4, 5))
    assert tracking.roll_back(first, date(2024, 4, 10)) == third.as_of
    assert tracking.champion() == third
    assert tracking.champion(date(2024, 4, 9)) == second
    assert tracking.champion(date(2024, 4, 30)) == first
    assert tracking.champion(date(2024, 5, 1)) == third
    # a backfilled night between does not take the alias, nor a night from the version that was put back
    between = train(tracking, settings, panel, date(2024, 4, 5))
    assert tracking.champion() == third
    assert tracking.champion(date(2024, 4, 7)) == between
    assert tracking.champion(date(2024, 4, 10)) == first


def test_a_backfill_does_not_take_the_alias_from_a_version_that_was_put_back(
    tracking: Tracking, settings: Settings, panel: Panel
) -> None:
    first = train(tracking, settings, panel, date(2024, 3, 1))
    train(tracking, settings, panel, date(2024, 4, 1))
    tracking.roll_back(first, date(2024, 4, 10))
    train(tracking, settings, panel, date(2024, 3, 20))
    assert tracking.champion() == tracking.champion(date(2024, 4, 10)) == first


def test_a_version_that_lost_may_be_put_back_and_one_of_a_later_night_may_not(
    tracking: Tracking, settings: Settings, panel: Panel
) -> None:
    first = train(tracking, settings, panel, date(2024, 3, 1))
    lost = train(tracking, settings, panel, date(2024, 4, 1), promote=False)
    with pytest.raises(
        ModelError, match=r"almanac-test-shop/2 was trained on the night of 2024-04-01.*--as-of 2024-04-01"
    ):
        tracking.roll_back(lost, date(2024, 3, 31))
    assert tracking.champion(date(2024, 4, 1)) == first
    tracking.roll_back(lost, date(2024, 4, 1))
    assert tracking.champion(date(2024, 4, 1)) == tracking.champion() == lost
    assert tracking.before(lost.model_version, date(2024, 4, 1)) == first


def test_a_champion_whose_folder_is_gone_is_still_known_by_name(
    tracking: Tracking, settings: Settings, panel: Panel
) -> None:
    first = train(tracking, settings, panel, date(2024, 3, 1))
    second = train(tracking, settings, panel, NIGHT)
    shutil.rmtree(second.folder)
    with pytest.raises(ModelError, match="is gone"):
        tracking.champion(NIGHT)
    assert tracking.champion_name(NIGHT) == tracking.champion_name() == second.model_version
    assert tracking.before(second.model_version, NIGHT) == first
    tracking.roll_back(first, NIGHT)
    assert tracking.champion(NIGHT) == first
