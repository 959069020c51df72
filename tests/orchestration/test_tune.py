"""`almanac tune` on a small home: a table, a verdict, lines for the settings; goes on; refuses what cannot be searched."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from filelock import FileLock

from pipeline.cli import EXIT_PERMANENT, EXIT_TRANSIENT, main
from pipeline.enrichment.calendar import build_calendar
from pipeline.lake import Lake
from pipeline.settings import ComputeSettings, Settings, load_settings
from tests.enrichment.conftest import Shop

FIRST, NIGHT = date(2023, 1, 2), date(2023, 4, 30)
SETTINGS: dict[str, Any] = {
    "shop": {"name": "Tuned shop", "country": "GB", "timezone": "UTC", "currency": "GBP"},
    "sources": [{"mapping": "any"}],
    "training": {
        "hidden": 4, "max_steps": 4, "pretrain_steps": 0, "batch_size": 16, "history_days": 28, "validation_days": 7,
    },
    "members": {"lightgbm": {"on": False}, "quantile_mlp": {"on": True}},
    "backtest": {"horizon_days": 7, "every_days": 7, "origins": 3, "min_sale_days": 5},
    "forecast": {"horizon_days": 14, "sample_paths": 20},
    "compute": {"device": "cpu", "threads": 1},
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    shop = Shop(Lake(home, ComputeSettings(threads=1)))
    random = np.random.default_rng(4)
    days = [FIRST + timedelta(days=day) for day in range((NIGHT - FIRST).days + 1)]
    shop.sell(
        [
            (f"item-{item}", day, int(units), 2.0 + item)
            for day in days
            for item, units in enumerate(random.poisson(4, 8))
            if units
        ]
    )
    write(home)
    build_calendar(shop.lake, load_settings(home), FIRST, NIGHT + timedelta(days=90))
    return home


def write(home: Path, **sections: Any) -> None:
    (home / "almanac.yaml").write_text(yaml.safe_dump(SETTINGS | sections), encoding="utf-8")


def told(capsys: pytest.CaptureFixture[str], home: Path, *options: str, code: int = 0) -> str:
    assert main(["tune", "--home", str(home), *options]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_a_search_tells_its_trials_and_changes_nothing_and_goes_on(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (home / "almanac.yaml").read_bytes()
    first = told(capsys, home, "--minutes", "5", "--trials", "2")
    assert first.startswith("2 trials of quantile_mlp (2 now)")
    assert "Judged by the 7 days after 2023-04-02, 2023-03-26, 2023-03-19, none of which a backtest scores" in first
    assert "0 (today)" in first

    more = told(capsys, home, "--minutes", "5", "--trials", "4")
    assert more.startswith("4 trials of quantile_mlp (2 now)")
    assert told(capsys, home, "--minutes", "5", "--trials", "4").startswith("4 trials of quantile_mlp (0 now)")
    if "training:" in more:
        lines = yaml.safe_load(more[more.index("training:") :])
        changed = SETTINGS | {"training": SETTINGS["training"] | lines["training"]}
        assert Settings.model_validate(changed) != Settings.model_validate(SETTINGS)
        assert "95 % interval" in more
    else:
        assert "Nothing beat today's settings" in more
    assert (home / "almanac.yaml").read_bytes() == before
    assert sorted(path.name for path in (home / "training" / "search").iterdir()) == [".lock", "search.db"]


@pytest.mark.parametrize(
    ("options", "sections", "says"),
    [
        (("--minutes", "0"), {}, "--minutes 0: a search needs some"),
        (("--minutes", "0.0001"), {}, "--minutes: too few for one trial"),
        (("--minutes", "9", "--as-of", "2023-03-10"), {}, "0 of 2 origins are possible before the days that the"),
        (("--minutes", "9", "--as-of", "2022-12-01"), {}, "nothing was known on the night of 2022-12-01"),
        (("--minutes", "9"), {"members": {"quantile_mlp": {"on": False}}}, "no network is on"),
        (("--minutes", "9"), {"training": {"min_history_days": 113}}, "0 of 3 origins fit"),
    ],
    ids=["no minutes", "too few", "young", "before all", "no network", "no backtest"],
)
def test_what_cannot_be_searched_is_refused_with_the_way_out(
    home: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    sections: dict[str, Any],
    says: str,
) -> None:
    write(home, **sections)
    assert says in told(capsys, home, *options, code=EXIT_PERMANENT)


def test_two_searches_of_a_home_do_not_meet(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = home / "training" / "search"
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        assert "another search is at work" in told(capsys, home, "--minutes", "5", code=EXIT_TRANSIENT)
