"""What the lake forgets, and above all what it does not."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from pipeline.forecasting.vintages import vintages
from pipeline.lake import Lake
from pipeline.publishing.publish import publish
from pipeline.publishing.query import query
from pipeline.publishing.retention import RetentionReport, apply_retention
from pipeline.settings import Settings
from tests.forecasting.fakes import some_settings
from tests.publishing.shop import NIGHT, NIGHTS, write_shop, write_vintage_of

TODAY = date(2026, 3, 4)
OLD = tuple(NIGHT - timedelta(days=days) for days in (100, 60, 31, 30))


def keeping(days: int | None = 30, *, keep_seasons: bool = True, **seasons: str) -> Settings:
    sections = {"retention": {"forecast_days": days, "keep_seasons": keep_seasons}, "seasons": seasons}
    return Settings.model_validate(some_settings().model_dump() | sections)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A home with forecasts of six nights."""
    lake = write_shop(Lake(tmp_path))
    for night in OLD:
        write_vintage_of(lake, night)
    return lake


def with_files(lake: Lake) -> list[date]:
    """Nights whose forecasts and totals are both there; one without the other is a mistake of the test."""
    there = [{night["as_of"] for night in lake.partitions(table)} for table in ("forecasts", "forecast_totals")]
    assert there[0] == there[1]
    return sorted(date.fromisoformat(night) for night in there[0])


def removed(lake: Lake) -> dict[date, date]:
    return {vintage.as_of: vintage.removed_on for vintage in vintages(lake) if vintage.removed_on}


def test_by_default_nothing_is_removed(lake):
    before = {path: path.read_bytes() for path in lake.root.rglob("*.parquet")}
    assert apply_retention(lake, some_settings()) == RetentionReport()
    assert {path: path.read_bytes() for path in lake.root.rglob("*.parquet")} == before


def test_forecasts_older_than_the_setting_go_and_their_rows_say_when(lake):
    size = sum(path.stat().st_size for night in OLD[:3] for path in vintages(lake, night)[0].files(lake).values())
    report = apply_retention(lake, keeping(), today=TODAY)
    assert report == RetentionReport(OLD[:3], 6, size)
    assert with_files(lake) == [OLD[3], *NIGHTS]
    assert removed(lake) == dict.fromkeys(OLD[:3], TODAY)
    assert [vintage.as_of for vintage in vintages(lake)] == [*OLD, *NIGHTS]


def test_the_newest_night_stays_however_short_the_setting(lake):
    apply_retention(lake, keeping(1), today=TODAY)
    assert with_files(lake) == [NIGHT]


@pytest.mark.parametrize(("keep", "left"), [(True, [OLD[1], OLD[3], *NIGHTS]), (False, [OLD[3], *NIGHTS])])
def test_nights_of_a_season_are_kept_unless_the_settings_say_otherwise(lake, keep, left):
    apply_retention(lake, keeping(keep_seasons=keep, autumn=f"{OLD[1]} to {OLD[1]}"), today=TODAY)
    assert with_files(lake) == left


def test_what_was_removed_stays_as_it_is_and_keeps_its_day(lake):
    apply_retention(lake, keeping(), today=TODAY)
    assert apply_retention(lake, keeping(), today=TODAY + timedelta(days=1)) == RetentionReport()
    assert set(removed(lake).values()) == {TODAY}


@pytest.mark.parametrize("files_removed", range(6))
def test_a_killed_run_is_finished_by_the_next(lake, monkeypatch, files_removed):
    unlink, done = Path.unlink, []

    def dies(path: Path, **rest: bool) -> None:
        if path.suffix == ".parquet":
            if len(done) == files_removed:
                raise KeyboardInterrupt
            done.append(path)
        unlink(path, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", dies)
        with pytest.raises(KeyboardInterrupt):
            apply_retention(lake, keeping(), today=TODAY)
    gone = {vintage.as_of for vintage in vintages(lake) if not all(p.exists() for p in vintage.files(lake).values())}
    assert gone <= set(removed(lake)), "files are gone of which no row says so"
    apply_retention(lake, keeping(), today=TODAY + timedelta(days=1))
    assert with_files(lake) == [OLD[3], *NIGHTS]
    assert set(removed(lake)) == set(OLD[:3])


def test_a_removed_night_is_still_seen_in_the_published_file(lake):
    publish(lake, keeping(), NIGHT)
    apply_retention(lake, keeping(), today=TODAY)
    report = publish(lake, keeping(), NIGHT)
    assert report.why_full == ""
    assert report.nights == 3
    shown = query(lake.home, "SELECT as_of FROM vintages WHERE removed_on = DATE '2026-03-04' ORDER BY 1").rows
    assert shown == [(night,) for night in OLD[:3]]
    assert query(lake.home, "SELECT DISTINCT as_of FROM forecasts ORDER BY 1").rows == [
        (OLD[3],),
        *((n,) for n in NIGHTS),
    ]
