"""The worked example of data/sources/README.md, run as it stands there."""

import re
from datetime import datetime
from decimal import Decimal

import pytest
import yaml

from pipeline.ingestion.mapping import line_kind_sql, load_mapping
from pipeline.settings import SHIPPED_SOURCES, SourceSettings


def test_the_worked_example_does_what_it_says(home):
    text = (SHIPPED_SOURCES / "README.md").read_text(encoding="utf-8")
    (csv,), (mapping,) = (re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("csv", "yaml"))
    home.mapping = yaml.safe_load(mapping)
    home.drop("lines-2024-05.csv", csv)
    home.ingest()
    home.validate()
    kind = line_kind_sql(load_mapping(SourceSettings(mapping="small.yaml"), home.path).orders)
    rows = home.read(
        f"SELECT order_id, quantity, unit_price, ordered_at, {kind} FROM raw_order_lines ORDER BY line LIMIT 3"
    )
    assert rows == [
        ("R1001", 2, Decimal("12.5"), datetime(2024, 5, 3, 7, 30), "sale"),
        ("R1001", 1, Decimal("4.9"), datetime(2024, 5, 3, 7, 30), "non_merchandise"),
        ("G1002", -2, Decimal("12.5"), datetime(2024, 5, 3, 9, 5), "cancellation"),
    ]
    bad = home.read("SELECT line, problem_column, reason FROM quarantined_order_lines")
    assert bad == [(5, "Menge", '"drei" is not a number')]


def test_a_correction_is_taken_in_as_of_the_day_on_which_it_came(home, monkeypatch: pytest.MonkeyPatch):
    text = (SHIPPED_SOURCES / "README.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    home.drop_lines("orders.csv", "1,mug,,2,2.5,2010-12-01 10:00,")
    settings = yaml.safe_dump(home.settings.model_dump(mode="json"))
    (home.path / "almanac.yaml").write_text(settings, encoding="utf-8")
    beside = home.path / "beside"
    beside.mkdir()
    (beside / "shop").symlink_to(home.path)
    monkeypatch.chdir(beside)
    exec(snippet, {})
    assert home.read("SELECT delivered_at FROM raw_files") == [(datetime(2010, 12, 5, 9),)]
