"""Whatever becomes known after a night, the night's bytes are the same: panel, weights, forecasts and their sums."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.lake import Lake
from pipeline.models.registry import MODEL
from tests.canaries.nights import FROM_FACTS, Champion, changed_by_future, differing, night_bytes, night_panel, trained
from tests.canaries.shops import (
    FUTURES,
    Facts,
    a_day,
    announced,
    is_future,
    listed,
    promoted,
    random_shop,
    reviewed,
    seen,
    small_settings,
    sold,
    write,
)

NIGHT = 79


@settings(max_examples=3, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    night=st.integers(72, 100),
    unseen=st.integers(1, 16),
    by_location=st.booleans(),
    futures=st.sets(st.sampled_from(list(FUTURES))),
)
def test_no_byte_of_a_night_depends_on_what_became_known_later(
    seed: int, night: int, unseen: int, by_location: bool, futures: set[str]
) -> None:
    facts, small = random_shop(seed, by_location=by_location), small_settings(by_location=by_location)
    with TemporaryDirectory() as folder:
        # trained some nights before, in a lake that holds the whole future by then
        lake = write(Lake(Path(folder), small.compute), facts)
        then = a_day(night - unseen)
        champion = Champion(trained(night_panel(lake, small, then), small), then)
    assert not changed_by_future(facts, small, night, futures=futures, models=FROM_FACTS, champion=champion)


@pytest.mark.parametrize("future", FUTURES)
def test_no_byte_of_a_night_depends_on_any_kind_of_future(future: str) -> None:
    assert not changed_by_future(random_shop(8), small_settings(), NIGHT, futures=[future])


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The night's bytes of a shop, before one more fact becomes known on that very night."""
    small = small_settings()
    return night_bytes(
        write(Lake(tmp_path_factory.mktemp("quiet"), small.compute), random_shop(1)), small, a_day(NIGHT)
    )


@pytest.mark.parametrize(
    "fact",
    [
        pytest.param({"demand_changes": [sold("I1", NIGHT, 40, NIGHT)]}, id="a sale"),
        pytest.param({"demand_changes": [sold("I1", NIGHT - 9, 40, NIGHT)]}, id="a late line"),
        pytest.param({"demand_changes": [sold("I1", NIGHT - 9, 9, NIGHT, reason="correction")]}, id="a corrected line"),
        pytest.param({"item_sightings": [seen("I1", "the text of tonight", NIGHT, origin="master")]}, id="a text"),
        pytest.param({"promotions": [promoted("I1", NIGHT, NIGHT + 2)]}, id="a promotion"),
        pytest.param({"reviews": [reviewed("new", "I1", NIGHT - 3, NIGHT)]}, id="a review"),
        pytest.param({"reviews": [reviewed("R0", "I1", 0, NIGHT, version=9)]}, id="an edited review"),
        pytest.param({"calendar_occurrences": [announced("fair", NIGHT, NIGHT + 2)]}, id="an event"),
        pytest.param({"calendar_occurrences": [announced("mourning", NIGHT, NIGHT + 2, kind="holiday")]}, id="a day off"),
    ],
)  # fmt: skip
def test_what_becomes_known_on_the_night_itself_does_change_its_bytes(
    fact: Facts, quiet: dict[str, bytes], tmp_path: Path
) -> None:
    """The canary can sing: the same comparison, with one fact that the night may know."""
    small, facts = small_settings(), random_shop(1)
    loud = {ledger: [*rows, *fact.get(ledger, [])] for ledger, rows in facts.items()}
    told = differing(quiet, night_bytes(write(Lake(tmp_path, small.compute), loud), small, a_day(NIGHT)))
    assert {"panel", "snapshot", f"{MODEL}: forecasts"} <= set(told)


def test_what_is_said_of_a_launch_on_the_night_itself_changes_its_forecast(
    quiet: dict[str, bytes], tmp_path: Path
) -> None:
    small, facts = small_settings(), random_shop(1)
    expected = [
        row["item_id"] for row in facts["announced_items"] if a_day(NIGHT - 6) < row["known_on"] <= a_day(NIGHT)
    ]
    facts["announced_items"].append(listed(expected[-1], NIGHT, NIGHT + 3, price=50.0))
    told = differing(quiet, night_bytes(write(Lake(tmp_path, small.compute), facts), small, a_day(NIGHT)))
    assert told == [*(f"{MODEL}: {table}" for table in ("forecast_totals", "forecasts", "similar_items")), "snapshot"]


@pytest.mark.parametrize(
    "ledger", ["item_sightings", "announced_items", "promotions", "calendar_occurrences", "reviews"]
)
def test_no_byte_depends_on_a_ledger_of_which_nothing_is_known_yet(ledger: str) -> None:
    facts = random_shop(1)
    facts |= {ledger: [row for row in facts[ledger] if is_future(ledger, row, NIGHT)]}
    assert not changed_by_future(facts, small_settings(), NIGHT)
