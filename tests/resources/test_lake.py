"""Holding a home: one run at a time; what is transient is tried again, what a person must mend is not."""

from pathlib import Path

import dagster as dg
import pytest

from pipeline.errors import DiskFullError, HomeBusyError, SettingsError
from resources.lake import MAX_RETRIES, HomeResource, home_lock

SETTINGS = (
    "shop: {name: s, country: CN, timezone: Asia/Shanghai, currency: CNY}\nsources: [{mapping: generated-shop}]\n"
)


@pytest.fixture
def home(tmp_path: Path) -> HomeResource:
    (tmp_path / "almanac.yaml").write_text(SETTINGS, encoding="utf-8")
    return HomeResource(folder=str(tmp_path), retry_seconds=0.0)


def run(home: HomeResource, errors: list[Exception | None]) -> tuple[bool, int]:
    """Materialise an asset whose n-th try raises the n-th error; returns success and the number of tries."""
    tries = 0

    @dg.asset
    def work(context: dg.AssetExecutionContext, home: HomeResource) -> None:
        nonlocal tries
        tries += 1
        with home.work(context):
            error = errors[min(tries, len(errors)) - 1]
            if error is not None:
                raise error

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([work], resources={"home": home}, instance=instance, raise_on_error=False)
    return result.success, tries


def test_what_is_transient_is_tried_again(home: HomeResource) -> None:
    assert run(home, [DiskFullError("full"), HomeBusyError("busy"), None]) == (True, 3)


def test_it_is_not_tried_for_ever(home: HomeResource) -> None:
    assert run(home, [DiskFullError("full")]) == (False, 1 + MAX_RETRIES)


@pytest.mark.parametrize("error", [SettingsError("typo"), RuntimeError("a bug")], ids=["permanent", "bug"])
def test_what_would_fail_again_is_not_tried_again(home: HomeResource, error: Exception) -> None:
    assert run(home, [error]) == (False, 1)


def test_a_home_is_held_by_one_and_again_by_the_same_process(tmp_path: Path) -> None:
    with home_lock(tmp_path), home_lock(tmp_path):
        pass
    with home_lock(tmp_path):
        pass
