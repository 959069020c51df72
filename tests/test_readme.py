"""The README's SQL runs as it stands, on the published file of a real night, and its settings are settings."""

import re
from pathlib import Path

import duckdb
import pytest

from pipeline.lake import Lake
from pipeline.model_settings import MembersSettings
from pipeline.publishing.publish import publish
from pipeline.publishing.query import query
from pipeline.settings import SETTINGS_FILE, load_settings
from tests.forecasting.fakes import some_settings
from tests.publishing.shop import NIGHT, write_shop

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```sql\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = re.findall(r'almanac sql [^"`]*"([^"]*)"', README)
"""What the command line is asked; of new items a small shop has none to show."""


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5


def test_the_settings_shown_are_settings_and_every_forecaster_is_told_of(tmp_path: Path) -> None:
    shop = "shop: {name: A shop, country: GB, timezone: UTC, currency: GBP}\nsources: [{mapping: any}]\n"
    shown = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    assert any("members:" in block for block in shown)
    for block in shown:
        (tmp_path / SETTINGS_FILE).write_text(shop + block, encoding="utf-8")
        load_settings(tmp_path)
    on = {name for name, value in MembersSettings().model_dump().items() if value["on"]}
    table = [line.split("|") for line in README.splitlines() if re.match(r"\| `[a-z_`, ]+ \|.*\|$", line)]
    told = {name: cells[-2].strip() for cells in table for name in re.findall(r"`([a-z_]+)`", cells[1])}
    assert set(MembersSettings.model_fields) <= set(told)
    assert {name for name in MembersSettings.model_fields if told[name] == "yes"} == on


def test_what_the_command_line_is_asked_can_be_answered(tmp_path: Path) -> None:
    publish(write_shop(Lake(tmp_path)), some_settings(), NIGHT)
    assert len(COMMANDS) >= 2
    for sql in COMMANDS:
        assert query(tmp_path, sql).columns, sql


@pytest.mark.slow
@pytest.mark.parametrize("sql", EXAMPLES, ids=[f"example {n}" for n in range(1, len(EXAMPLES) + 1)])
def test_every_sql_example_runs(night_home: Path, sql: str) -> None:
    # the demo's season lies before the generated shop's night
    asked = sql.replace("2017-12-01", "2023-02-01").replace("2017-12-24", "2023-02-28")
    with duckdb.connect(str(night_home / "warehouse" / "almanac.duckdb"), read_only=True) as con:
        assert con.execute(asked).fetchall(), asked
