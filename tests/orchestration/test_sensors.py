"""The drop folder's sensor: starts once per change, waits while a file is being written."""

import os
import time
from pathlib import Path

import dagster as dg
import pytest

from pipeline.orchestration.definitions import build_defs

SETTINGS = (
    "shop: {name: s, country: CN, timezone: Asia/Shanghai, currency: CNY}\nsources: [{mapping: generated-shop}]\n"
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "almanac.yaml").write_text(SETTINGS, encoding="utf-8")
    (tmp_path / "orders").mkdir()
    return tmp_path


def evaluate(home: Path, cursor: str | None = None) -> tuple[object, str | None]:
    sensor = build_defs(home).resolve_sensor_def("drop_folder")
    with dg.DagsterInstance.ephemeral() as instance, dg.build_sensor_context(instance, cursor=cursor) as context:
        return sensor(context), context.cursor


def drop(home: Path, name: str, *, age_seconds: float) -> None:
    file = home / "orders" / name
    file.write_text("order_no\n1\n", encoding="utf-8")
    moment = time.time() - age_seconds
    os.utime(file, (moment, moment))


def test_an_empty_folder_is_skipped(home: Path) -> None:
    answer, _ = evaluate(home)
    assert isinstance(answer, dg.SkipReason)


def test_a_settled_file_starts_one_run_and_no_second(home: Path) -> None:
    drop(home, "orders_1.csv", age_seconds=120)
    first, cursor = evaluate(home)
    assert isinstance(first, dg.RunRequest)
    again, _ = evaluate(home, cursor)
    assert isinstance(again, dg.SkipReason)
    drop(home, "orders_2.csv", age_seconds=60)
    second, _ = evaluate(home, cursor)
    assert isinstance(second, dg.RunRequest)
    assert second.run_key != first.run_key


def test_a_file_that_is_being_written_waits(home: Path) -> None:
    drop(home, "orders_1.csv", age_seconds=1)
    answer, _ = evaluate(home)
    assert isinstance(answer, dg.SkipReason)
    assert "being written" in str(answer.skip_message)


def test_a_home_with_broken_settings_says_so(tmp_path: Path) -> None:
    answer, _ = evaluate(tmp_path)
    assert isinstance(answer, dg.SkipReason)
    assert "almanac.yaml" in str(answer.skip_message)
