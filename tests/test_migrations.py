"""Homes of another Almanac: older ones are brought up to date and lose nothing, newer ones are refused."""

import json
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import migrations
from pipeline.errors import PermanentError
from pipeline.forecasting.vintages import vintages
from pipeline.lake import Lake
from pipeline.migrations import FORMAT, bring_up_to_date, is_up_to_date
from pipeline.settings import QUANTILE_COLUMNS

NIGHT = date(2022, 6, 1)
MADE_AT = datetime(2022, 6, 2, 2, 0, 5)
PART = "almanac-shop%2F1.parquet"


DECISIONS = {
    "challenger": ["almanac-shop/1"],
    "champion": [""],
    "promoted": [True],
    "reason": ["the first of its home"],
    "first_day": pa.nulls(1, pa.date32()),
    "last_day": pa.nulls(1, pa.date32()),
    "series": pa.nulls(1, pa.int64()),
} | {
    name: pa.nulls(1, pa.float64())
    for name in (
        *("challenger_wql", "champion_wql", "change_low", "change_high"),
        *("challenger_bias", "champion_bias", "forgetting"),
    )
}
"""What a decision was before there were rules."""


@pytest.fixture
def old(tmp_path: Path) -> Lake:
    """A lake of format 1: forecasts that carry made_at, model versions without kind, no vintages, no format.json."""
    lake = Lake(tmp_path)
    numbers = {name: [1.0] * 4 for name in ("mean", *QUANTILE_COLUMNS)}
    stamp = {
        "model_version": ["almanac-shop/1"] * 4,
        "data_snapshot": ["f00d"] * 4,
        "made_at": pa.array([MADE_AT] * 4, pa.timestamp("us")),
    }
    days = {
        "item_id": ["a", "a", "b", "b"],
        "location": [""] * 4,
        "target_date": pa.array([date(2022, 6, 2), date(2022, 6, 3)] * 2, pa.date32()),
        "horizon_days": pa.array([1, 2] * 2, pa.int32()),
    }
    totals = {
        "level": ["item-week"] * 4,
        "id": ["a", "a", "b", "b"],
        "location": [""] * 4,
        "period_start": pa.array([date(2022, 6, 2)] * 4, pa.date32()),
        "period_end": pa.array([date(2022, 6, 3)] * 4, pa.date32()),
    }
    version = {
        "model_version": ["almanac-shop/1"],
        "data_snapshot": ["f00d"],
        "run_id": ["r"],
        "trained_seconds": [1.0],
        "device": ["cpu"],
        "settings_hash": ["s"],
        "made_at": pa.array([MADE_AT], pa.timestamp("us")),
    }
    for table, columns, part in (
        ("forecasts", days | numbers | stamp, PART),
        ("forecast_totals", totals | numbers | stamp, PART),
        ("model_versions", version, "almanac-shop-1.parquet"),
    ):
        folder = lake.folder(table) / f"as_of={NIGHT}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table(columns), folder / part)
    return lake


def rows(lake: Lake, table: str) -> list[tuple[object, ...]]:
    with lake.connect() as con:
        return con.execute(f"SELECT * FROM ({lake.select(table)}) ORDER BY ALL").fetchall()


def test_a_home_of_format_1_keeps_every_row_and_gets_its_vintages(old: Lake) -> None:
    before = {table: rows(old, table) for table in ("forecasts", "forecast_totals")}
    assert bring_up_to_date(old) == (2, 3, 4, 5)
    assert {table: rows(old, table) for table in before} == before
    (vintage,) = vintages(old)
    assert (vintage.as_of, vintage.model_version, vintage.made_at) == (NIGHT, "almanac-shop/1", MADE_AT)
    assert (vintage.series, vintage.forecast_rows, vintage.total_rows) == (2, 4, 4)
    assert vintage.state(old) == "stands"
    (version,) = rows(old, "model_versions")
    assert version[7:10] == ("full", "", "")
    for path in vintage.files(old).values():
        assert "made_at" not in pq.read_schema(path).names
    assert bring_up_to_date(old) == ()


@pytest.mark.parametrize("killed_after", range(6))
def test_a_killed_migration_is_begun_again(old: Lake, killed_after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after so many of its files were replaced."""
    from pipeline import lake as module

    real, done = module.replace_file, 0

    def replace_file(file: Path, target: Path) -> None:
        nonlocal done
        if done == killed_after:
            raise KeyboardInterrupt
        done += 1
        real(file, target)

    monkeypatch.setattr(module, "replace_file", replace_file)
    try:
        bring_up_to_date(old)
    except KeyboardInterrupt:
        assert migrations._format(old) == 1
    monkeypatch.setattr(module, "replace_file", real)
    bring_up_to_date(old)
    (vintage,) = vintages(old)
    assert vintage.made_at == MADE_AT
    assert vintage.state(old) == "stands"
    assert not [path for path in old.root.iterdir() if path.name.startswith(".made_at")]


def test_decisions_of_format_2_say_by_which_rule_they_were_made(old: Lake) -> None:
    later = DECISIONS | {"challenger": ["almanac-shop/2"], "champion": ["almanac-shop/1"], "promoted": [False]}
    for part, columns in (("almanac-shop-1", DECISIONS), ("almanac-shop-2", later)):
        folder = old.folder("champion_decisions") / f"as_of={NIGHT}"
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), folder / f"{part}.parquet")
    assert not is_up_to_date(old)
    assert bring_up_to_date(old) == (2, 3, 4, 5)
    assert is_up_to_date(old)
    with old.connect() as con:
        found = con.execute(
            "SELECT challenger, champion, promoted, rule, origins, made_at "
            f"FROM ({old.select('champion_decisions')}) ORDER BY challenger"
        ).fetchall()
    assert found == [
        ("almanac-shop/1", "", True, "first", 0, MADE_AT),
        ("almanac-shop/2", "almanac-shop/1", False, "renewal", 0, None),
    ]


def test_a_new_home_is_of_this_format(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    assert bring_up_to_date(lake) == ()
    assert json.loads((lake.root / "format.json").read_text()) == {"format": FORMAT}


def test_a_home_of_a_newer_almanac_is_refused(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.root.mkdir()
    (lake.root / "format.json").write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(PermanentError, match="newer Almanac"):
        bring_up_to_date(lake)


def test_a_damaged_format_is_named(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.root.mkdir()
    (lake.root / "format.json").write_text("{")
    with pytest.raises(PermanentError, match=r"format\.json"):
        bring_up_to_date(lake)


def test_promotions_of_format_3_are_kept_and_plan_no_price(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    first, last, known = (pa.array([date(2022, 1, day)], pa.date32()) for day in (8, 14, 1))
    promotion = {"item_id": ["a"], "location": [""], "kind": ["display"], "starts_on": first, "ends_on": last}
    promotion |= {"share": [0.5]}
    raw = {"known_on": known, "source": ["s"], "line": [2]}
    for folder, columns in (
        ("raw_promotions/file_hash=f", promotion | raw),
        ("promotions/known_on=2022-01-01", promotion),
    ):
        (lake.root / folder).mkdir(parents=True)
        pq.write_table(pa.table(columns), lake.root / folder / "f.parquet")
    (lake.root / "format.json").write_text('{"format": 3}')
    assert bring_up_to_date(lake) == (4, 5)
    (kept,), (delivered,) = rows(lake, "promotions"), rows(lake, "raw_promotions")
    assert kept == ("a", "", "display", date(2022, 1, 8), date(2022, 1, 14), 0.5, None, date(2022, 1, 1))
    assert delivered[5:9] == (0.5, None, None, date(2022, 1, 1))
    assert bring_up_to_date(lake) == ()


def test_item_master_data_of_format_4_is_kept_and_announces_nothing(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    (folder := lake.root / "raw_items" / "file_hash=f").mkdir(parents=True)
    known = pa.array([date(2022, 1, 1)], pa.date32())
    item = {
        "item_id": ["a"],
        "item_text": ["a mug"],
        "category": ["cups"],
        "known_on": known,
        "source": ["s"],
        "line": [2],
    }
    pq.write_table(pa.table(item), folder / "part.parquet")
    (lake.root / "format.json").write_text('{"format": 4}')
    assert bring_up_to_date(lake) == (5,)
    assert rows(lake, "raw_items") == [("a", "a mug", "cups", None, None, None, date(2022, 1, 1), "s", "f", 2)]
    assert bring_up_to_date(lake) == ()
