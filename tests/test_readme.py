"""The README's SQL runs as it stands, on the published file of a real night."""

import re
from pathlib import Path

import duckdb
import pytest

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```sql\n(.*?)```", README, flags=re.DOTALL)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("sql", EXAMPLES, ids=[f"example {n}" for n in range(1, len(EXAMPLES) + 1)])
def test_every_sql_example_runs(night_home: Path, sql: str) -> None:
    # the demo's season lies before the generated shop's night
    asked = sql.replace("2017-12-01", "2023-02-01").replace("2017-12-24", "2023-02-28")
    with duckdb.connect(str(night_home / "warehouse" / "almanac.duckdb"), read_only=True) as con:
        assert con.execute(asked).fetchall(), asked
