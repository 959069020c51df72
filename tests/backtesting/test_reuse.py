"""Which backtest speaks for tonight's champion."""

from datetime import date, datetime
from pathlib import Path

import pytest

from assets.backtesting import _reused
from resources.tracking import ModelVersion

NIGHT = date(2024, 5, 1)


def version(as_of: str, kind: str) -> ModelVersion:
    return ModelVersion(
        "almanac-shop", 3, "run", date.fromisoformat(as_of), "", Path(), datetime(2024, 5, 1), kind=kind
    )


@pytest.mark.parametrize(
    ("champion", "scored", "reused"),
    [
        (None, ["2024-04-01"], ""),
        (version("2024-05-01", "full"), ["2024-04-01", "2024-05-01"], ""),
        (version("2024-04-01", "full"), ["2024-04-01"], "2024-04-01"),
        (version("2024-04-01", "full"), ["2024-03-01"], ""),
        (version("2024-05-01", "update"), ["2024-03-01", "2024-04-01", "2024-06-01"], "2024-04-01"),
        (version("2024-04-24", "update"), ["2024-04-01"], "2024-04-01"),
        (version("2024-05-01", "update"), [], ""),
        (version("2024-05-01", "update"), ["2024-05-01"], ""),
    ],
    ids=[
        "no champion", "trained tonight", "an older network", "whose night was not scored", "updated tonight",
        "updated before", "nothing was scored yet", "run again: its own night's backtest is made again, from the cache",
    ],
)  # fmt: skip
def test_a_network_is_backtested_and_an_update_is_not(
    champion: ModelVersion | None, scored: list[str], reused: str
) -> None:
    assert _reused(champion, NIGHT, scored) == reused
