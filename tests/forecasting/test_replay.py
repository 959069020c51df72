"""Vintages: kept as they were made, replayed to the same bytes, and honest about what no longer comes out the same."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from pipeline.enrichment.language_model import find_language_model
from pipeline.errors import HistoryError
from pipeline.forecasting import nightly
from pipeline.forecasting.replay import THREADS, TOLERANCE, NightForecast, forecast_night, replay
from pipeline.forecasting.vintages import dated_back, own, vintages
from pipeline.lake import Lake
from pipeline.models.base import Compute, Forecast
from pipeline.settings import ForecastSettings
from tests.forecasting.fakes import AS_OF, GammaForecaster, make_panel, some_settings, write_demand

SETTINGS = some_settings()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path)
    write_demand(lake, [(item, "", AS_OF - timedelta(days=back), 3) for back, item in enumerate("abcdef")])
    return lake


@pytest.fixture(autouse=True)
def panels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Panels without arrays: the fake forecaster reads names only."""

    def fake(_: Any, __: Any, series: list[tuple[str, str]], *___: Any, **____: Any) -> Iterator[Any]:
        yield make_panel([item for item, _ in series])

    monkeypatch.setattr(nightly, "_panels", fake)


def make(lake: Lake, fitted: Any = None, version: str = "gamma/1", **more: Any) -> NightForecast:
    return forecast_night(
        lake, more.pop("settings", SETTINGS), AS_OF, fitted or GammaForecaster(), version, trained_as_of=AS_OF, **more
    )


def stored(lake: Lake) -> list[bytes]:
    return [path.read_bytes() for one in vintages(lake) for path in one.files(lake).values()]


class Shifted(GammaForecaster):
    """Forecasts that lie off by a share."""

    by = 0.0

    def forecast(self, panel: Any, horizon: int, **more: Any) -> Forecast:
        answer = super().forecast(panel, horizon, **more)
        return replace(answer, mean=answer.mean * (1 + self.by))


def shifted(by: float) -> Shifted:
    made = Shifted()
    made.by = by
    return made


def test_the_row_of_a_vintage_says_what_a_replay_needs(lake: Lake) -> None:
    night = make(lake)
    assert vintages(lake) == [night.vintage]
    assert (night.vintage.series, night.vintage.forecast_rows, night.vintage.device) == (6, 6 * 91, "cpu")
    assert night.vintage.threads == THREADS
    assert "torch" in night.vintage.libraries
    assert night.vintage.state(lake) == "stands"


def test_a_replay_gives_the_same_bytes_and_leaves_the_home_alone(lake: Lake) -> None:
    vintage = make(lake).vintage
    before = {path: path.read_bytes() for path in lake.root.rglob("*.parquet")}
    result = replay(lake, SETTINGS, vintage, GammaForecaster())
    assert result.same_bytes
    assert result.same
    assert {path: path.read_bytes() for path in lake.root.rglob("*.parquet")} == before


def test_a_vintage_that_stands_is_kept_and_force_makes_the_same_bytes(lake: Lake) -> None:
    first = make(lake).vintage
    bytes_before = stored(lake)
    # another forecaster under the same name would say something else: the night is not asked again
    again = make(lake, shifted(0.5))
    assert again.report is None
    assert again.vintage == first
    forced = make(lake, force=True).vintage
    assert stored(lake) == bytes_before
    assert replace(forced, made_at=first.made_at) == first


def test_facts_that_are_dated_back_are_told_and_change_nothing(lake: Lake) -> None:
    first = make(lake).vintage
    bytes_before = stored(lake)
    write_demand(lake, [("a", "", AS_OF - timedelta(days=3), 50)])
    night = make(lake)
    assert night.vintage == first
    assert "facts known on the night" in night.told[0]
    assert stored(lake) == bytes_before
    told = replay(lake, SETTINGS, first, GammaForecaster()).told
    assert any("changed or removed by hand" in line for line in told)


def deliver(lake: Lake, file_hash: str, *, delivered_at: datetime, known_on: date) -> None:
    """The mark of a delivered file."""
    none = [None]
    file = {"source": ["s"], "content": ["orders"], "file_name": [f"{file_hash}.csv"], "bytes": [1], "lines": [1]}
    file |= {
        "first_ordered_at": none,
        "last_ordered_at": none,
        "first_known_on": [known_on],
        "last_known_on": [known_on],
    }
    with lake.connect() as con:
        lake.write(con, "raw_files", {"file_hash": file_hash}, pa.table(file | {"delivered_at": [delivered_at]}))


def test_a_late_delivery_is_blamed_by_name_and_no_other(lake: Lake) -> None:
    vintage = make(lake).vintage
    day = AS_OF - timedelta(days=3)
    write_demand(lake, [("a", "", day, 50)], part="late")
    for name, hours in (("late", 1), ("early", -1), ("only-repeats", 1)):
        deliver(lake, name, delivered_at=vintage.made_at + timedelta(hours=hours), known_on=day)
    assert dated_back(lake, [vintage]) == {"late.csv": [AS_OF]}
    (told,) = make(lake).told
    assert "late.csv came later and dates lines back" in told
    assert "by hand" not in told


def gone(file: Path) -> None:
    file.unlink()


def altered(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"x")


@pytest.mark.parametrize("harm", [gone, altered])
def test_a_harmed_vintage_is_made_again_where_nothing_changed_and_left_where_facts_did(
    lake: Lake, harm: Callable[[Path], None]
) -> None:
    vintage = make(lake).vintage
    bytes_before = stored(lake)
    file = vintage.files(lake)["forecasts"]
    harm(file)
    night = make(lake)
    assert (night.told, stored(lake)) == ((), bytes_before)
    harm(file)
    write_demand(lake, [("a", "", AS_OF - timedelta(days=3), 50)])
    with pytest.raises(HistoryError, match=r"would not be the same.*--force` makes it anew"):
        make(lake)
    assert vintages(lake) == [night.vintage]
    forced = make(lake, force=True).vintage
    assert forced.state(lake) == "stands"
    assert forced.data_snapshot != vintage.data_snapshot


def test_a_harmed_vintage_that_comes_out_otherwise_says_so(lake: Lake) -> None:
    make(lake).vintage.files(lake)["forecasts"].unlink()
    assert "NOT those of before" in make(lake, shifted(0.5)).told[0]


def test_a_damaged_file_is_named_by_verify_with_the_command_that_mends_it(lake: Lake) -> None:
    vintage = make(lake, version="gamma/9", is_named=True).vintage
    file = vintage.files(lake)["forecasts"]
    altered(file)
    told = " ".join(replay(lake, SETTINGS, vintage, GammaForecaster()).told)
    assert str(file) in told
    assert f"almanac run --home {lake.home} --as-of {AS_OF} --model-version gamma/9`" in told


def test_a_damaged_ledger_file_is_named_by_verify(lake: Lake) -> None:
    vintage = make(lake).vintage
    file = next(lake.folder("demand_changes").rglob("*.parquet"))
    altered(file)
    told = replay(lake, SETTINGS, vintage, GammaForecaster()).told[0]
    assert told.startswith(f"{file}: is damaged")


def test_other_settings_are_told(lake: Lake) -> None:
    make(lake)
    fewer = SETTINGS.model_copy(update={"forecast": ForecastSettings(horizon_days=28)})
    assert "settings" in make(lake, settings=fewer).told[0]


def test_a_version_of_another_language_model_says_whose_vectors_it_reads(lake: Lake) -> None:
    (told,) = make(lake, text_model="other@0").told
    assert told.startswith("gamma/1 learned from the text vectors of other@0")
    ours = find_language_model(SETTINGS.language_model).model_id
    assert ours in told
    assert make(lake, version="gamma/2", text_model=ours).told == ()
    assert make(lake, version="gamma/3", text_model="").told == ()


@pytest.mark.parametrize(
    ("by", "device", "same"),
    [(1e-9, "cpu", False), (TOLERANCE / 10, "cuda", True), (TOLERANCE * 10, "cuda", False)],
    ids=["the last digit, on a CPU", "within the tolerance of a GPU", "beyond it"],
)
def test_what_counts_as_the_same(lake: Lake, by: float, device: str, same: bool) -> None:
    vintage = make(lake, compute=Compute(device=device)).vintage
    result = replay(lake, SETTINGS, vintage, shifted(by), device=device)
    assert not result.same_bytes
    assert result.same is same
    assert ("rows differ" in result.told[0]) is not same


def test_a_file_that_was_changed_by_hand_is_found(lake: Lake) -> None:
    vintage = make(lake).vintage
    file = vintage.files(lake)["forecasts"]
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE t AS FROM read_parquet('{file}', hive_partitioning = false)")
        con.execute("UPDATE t SET mean = mean + 1 WHERE item_id = 'a' AND horizon_days = 3")
        con.execute(f"COPY t TO '{file}' (FORMAT parquet)")
    assert vintage.state(lake) == "altered"
    result = replay(lake, SETTINGS, vintage, GammaForecaster())
    assert not result.same
    assert result.told[0].startswith("forecasts: 1 rows differ, a mean by up to 1")
    assert "almanac backfill" in result.told[1]
    assert make(lake).report is not None
    assert vintages(lake)[0].state(lake) == "stands"


def test_a_missing_file_names_the_way_out(lake: Lake) -> None:
    vintage = make(lake).vintage
    vintage.files(lake)["forecast_totals"].unlink()
    assert vintage.state(lake) == "missing"
    assert "almanac backfill" in replay(lake, SETTINGS, vintage, GammaForecaster()).told[0]


def test_a_run_that_is_killed_between_files_leaves_no_vintage(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stored(lake) if make(lake) else []

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.forecasting.replay.write_vintage", killed)
        with pytest.raises(KeyboardInterrupt):
            make(lake, force=True)
    assert vintages(lake) == []
    make(lake)
    assert stored(lake) == before


def test_a_named_version_never_passes_for_the_nights_own(lake: Lake) -> None:
    first = make(lake).vintage
    make(lake, version="gamma/9", is_named=True)
    found = vintages(lake, AS_OF)
    assert [one.model_version for one in found] == ["gamma/1", "gamma/9"]
    assert own(found) == first
    assert np.all([one.state(lake) == "stands" for one in found])
