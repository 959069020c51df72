"""Canary shops are weeks old: what is learned of launches is learned there from a handful that came after some days."""

from collections.abc import Iterator

import pytest

from pipeline.models.launches import examples, forecaster


@pytest.fixture(autouse=True, scope="module")
def launches_of_small_shops() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "NEW_DAYS", 1)
        patch.setattr(forecaster, "LEAST_EXAMPLES", 6)
        yield
