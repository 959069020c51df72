"""When a night trains, updates or re-uses; pure, from what is recorded."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model_settings import TrainingSettings
from pipeline.training.cadence import Trained, decide, network_of

NIGHT = date(2024, 6, 30)
SETTINGS = TrainingSettings(retrain_every_days=91, update_every_days=7)
HASH = "now"


def trained(days_ago: int, kind: str = "full", number: int = 1, parent: str = "", shaped_by: str = HASH) -> Trained:
    return Trained(f"almanac-shop/{number}", NIGHT - timedelta(days=days_ago), kind, parent, shaped_by)


def decided(*trainings: Trained, drift: str = "", champion: str | None = "almanac-shop/1", night: date = NIGHT) -> str:
    return decide(trainings, night, SETTINGS, shaped_by=HASH, champion=champion, drift=drift).action


@pytest.mark.parametrize(
    ("trainings", "drift", "action"),
    [
        ((), "", "full"),
        ((trained(0),), "", "reuse"),
        ((trained(6),), "", "reuse"),
        ((trained(7),), "", "update"),
        ((trained(90), trained(7, "update", 2)), "", "update"),
        ((trained(90), trained(6, "update", 2)), "", "reuse"),
        ((trained(91), trained(3, "update", 2)), "", "full"),
        ((trained(30, shaped_by="then"),), "", "full"),
        ((trained(0, shaped_by="then"),), "", "full"),
        ((trained(0, shaped_by="then"), trained(0, number=2)), "", "reuse"),
        ((trained(30, shaped_by="then"), trained(2, number=2)), "", "reuse"),
        ((trained(20),), "psi:units 0.4 > 0.25", "full"),
        ((trained(20), trained(6, "update", 2)), "psi:units 0.4 > 0.25", "reuse"),
        ((trained(20), trained(6, number=2)), "psi:units 0.4 > 0.25", "reuse"),
        ((trained(-3, number=2), trained(7)), "", "update"),
    ],
    ids=[
        "nothing yet", "trained tonight", "young", "a week old", "a line of updates", "updated lately", "old network",
        "settings changed", "changed after the night trained", "trained again with them", "changed and trained since",
        "drift", "drift, but updated lately", "drift, but a new network lately", "a later night does not count",
    ],
)  # fmt: skip
def test_what_a_night_does(trainings: tuple[Trained, ...], drift: str, action: str) -> None:
    assert decided(*trainings, drift=drift) == action


def test_a_home_without_champion_trains_whatever_is_recorded() -> None:
    assert decided(trained(2), champion=None) == "full"


OTHERS = "then"
"""Hash of the settings of a champion that today's settings have challenged, or that a person rolled back to."""


@pytest.mark.parametrize("ago", [1, 6, 7, 28, 90])
@pytest.mark.parametrize("drift", ["", "psi:units 0.4 > 0.25"])
def test_settings_that_lost_leave_the_champion_alone_until_a_new_network_is_due(ago: int, drift: str) -> None:
    champion, lost = trained(min(ago + 20, 90), shaped_by=OTHERS), trained(ago, number=2)
    assert decided(champion, drift=drift) == "full", "the challenge itself"
    assert decided(champion, lost, drift=drift) == "reuse"
    assert decided(champion, lost, champion=lost.model_version) != "full", "had it won, it would go on from itself"


def test_settings_that_lost_challenge_again_when_a_new_network_is_due() -> None:
    champion = trained(200, shaped_by=OTHERS)
    assert decided(champion, trained(91, number=2)) == "full"
    assert decided(champion, trained(91, number=2), trained(0, number=3)) == "reuse"
    assert decided(champion, trained(182, number=2), trained(91, number=3)) == "full"


def test_settings_that_lost_challenge_again_when_the_champion_s_own_network_is_due() -> None:
    champion = trained(91, shaped_by=OTHERS)
    assert decided(champion, trained(6, number=2)) == "reuse", "not more often than an update would be made"
    assert decided(champion, trained(7, number=2)) == "full"
    updated = trained(3, "update", 3, parent=champion.model_version, shaped_by=OTHERS)
    assert decided(champion, updated, trained(7, number=2), champion=updated.model_version) == "full"
    young = trained(90, shaped_by=OTHERS)
    assert decided(young, trained(7, number=2)) == "reuse"


def test_other_settings_challenge_at_once_whatever_lost_before() -> None:
    champion, lost = trained(200, shaped_by=OTHERS), trained(1, number=2, shaped_by="lost")
    assert decided(champion, lost) == "full"


def test_settings_that_return_to_the_champions_go_on_with_it_as_if_nothing_had_lost() -> None:
    champion, lost = trained(20), trained(1, number=2, shaped_by="lost")
    assert decided(champion, lost) == "update"
    assert decided(trained(5), lost) == "reuse"
    assert decided(trained(91), lost) == "full"


def test_an_update_goes_on_from_a_champion_that_was_put_back() -> None:
    first, second = trained(40), trained(10, "update", 2, "almanac-shop/1")
    assert decided(first, second, champion=first.model_version) == "update"
    other = trained(60, number=3, shaped_by=OTHERS)
    assert decided(other, first, second, champion=other.model_version) == "reuse", "it was trained with other settings"


def test_the_reason_is_told_in_words() -> None:
    of = decide([trained(20)], NIGHT, SETTINGS, shaped_by=HASH, champion="a/1", drift="psi:price 0.90 > 0.25")
    assert of.reason == "drift: psi:price 0.90 > 0.25"
    assert "20 days old" in decide([trained(20)], NIGHT, SETTINGS, shaped_by=HASH, champion="a/1").reason


def test_a_line_of_updates_leads_back_to_its_network() -> None:
    line = [trained(60), trained(50, "update", 2, "almanac-shop/1"), trained(40, "update", 3, "almanac-shop/2")]
    assert network_of(line, "almanac-shop/3") == line[0]
    assert network_of(line, "almanac-shop/1") == line[0]
    assert network_of(line, "almanac-shop/9") is None
    assert network_of(line[1:], "almanac-shop/3") is None


@given(
    st.lists(st.tuples(st.integers(-40, 300), st.sampled_from(["full", "update"])), min_size=1, max_size=8),
    st.booleans(),
)
def test_no_training_within_a_week_of_the_last_unless_the_network_is_due(
    past: list[tuple[int, str]], drifts: bool
) -> None:
    trainings = [trained(days, kind, number) for number, (days, kind) in enumerate(past, start=1)]
    action = decided(*trainings, drift="something" if drifts else "")
    known = [(days, kind) for days, kind in past if days >= 0]
    youngest = min((days for days, _ in known), default=None)
    network = min((days for days, kind in known if kind == "full"), default=None)
    if youngest is None:
        assert action == "full"
    elif youngest == 0:
        assert action == "reuse"
    elif network is None or network >= SETTINGS.retrain_every_days:
        assert action == "full"
    else:
        assert action == ("reuse" if youngest < 7 else "full" if drifts else "update")
