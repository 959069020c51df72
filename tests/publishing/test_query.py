import json
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import PublishError, QueryError
from pipeline.lake import Lake
from pipeline.publishing.publish import publish, published_file
from pipeline.publishing.query import print_query, query
from pipeline.publishing.summary import print_night, print_scores
from pipeline.publishing.text_table import text_table
from pipeline.settings import SETTINGS_FILE
from tests.conftest import write_settings
from tests.forecasting.fakes import some_settings
from tests.publishing.happenings import deliver
from tests.publishing.shop import NIGHT, NIGHTS, write_shop, write_vintage_of


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = write_shop(Lake(tmp_path_factory.mktemp("query")))
    write_vintage_of(lake, NIGHTS[0], version="lstm/7", is_named=True, times=10)
    publish(lake, some_settings(), NIGHT)
    write_settings(lake.home)
    return lake.home


def test_csv_and_json_give_all_values_back(home, capsys):
    sql = "SELECT item_id, item_text, first_sold FROM items ORDER BY item_id LIMIT 2"
    print_query(home, sql, "csv")
    assert capsys.readouterr().out == (
        "item_id,item_text,first_sold\n10,advent candle & holder,2016-07-16\n11,tree <b>bauble</b>,2016-07-16\n"
    )
    print_query(home, sql, "json")
    assert json.loads(capsys.readouterr().out)[1] == {
        "item_id": "11",
        "item_text": "tree <b>bauble</b>",
        "first_sold": "2016-07-16",
    }


def test_a_table_is_for_people(home, capsys):
    print_query(home, "SELECT item_id, units FROM demand_daily ORDER BY ALL LIMIT 1")
    assert capsys.readouterr().out.splitlines() == ["item_id  units", "───────  ─────", "10           9", ""]


def test_no_rows_are_said(home, capsys):
    print_query(home, "SELECT item_id FROM demand_daily WHERE false")
    assert capsys.readouterr().out.splitlines()[-1] == "no rows"


def test_before_the_first_publish_the_message_says_what_to_run(tmp_path):
    (tmp_path / SETTINGS_FILE).touch()
    with pytest.raises(PublishError, match="nothing is published yet; run `almanac run --home"):
        query(tmp_path, "SELECT 1")


def test_where_no_home_is_the_message_says_to_make_one(tmp_path):
    with pytest.raises(
        PublishError, match=r"run `almanac init --home .*` to make a home there, then `almanac run --home"
    ):
        query(tmp_path, "SELECT 1")


def test_a_file_that_is_no_database_is_named(tmp_path):
    published_file(tmp_path).parent.mkdir()
    published_file(tmp_path).write_text("no database at all" * 1000)
    with pytest.raises(PublishError, match=r"almanac\.duckdb: cannot be opened as a DuckDB file"):
        query(tmp_path, "SELECT 1")


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        pytest.param("SELEC 1", "syntax error at or near", id="syntax"),
        pytest.param("FROM forecast_lates", "Did you mean", id="typo in a name"),
        pytest.param("DELETE FROM items", "read-only", id="write"),
        pytest.param("COPY items TO 'stolen.csv'", "disabled", id="write a file"),
        pytest.param("FROM read_csv('/etc/passwd')", "disabled", id="read a file"),
    ],
)
def test_refused_sql_says_why_in_duckdbs_words(home, sql, said):
    with pytest.raises(QueryError, match=said):
        query(home, sql)


def test_the_night_ends_with_forecasts_scores_and_where_to_look(home, capsys):
    print_night(home, NIGHT)
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert out.index("advent candle & holder") < out.index("garden hose")
    assert [line.split()[0] for line in lines if "0.910" in line] == ["lstm", "auto_ets", "seasonal_naive"]
    assert f"almanac sql --home {home} " in out
    command = next(line for line in lines if "almanac sql" in line)
    assert query(home, command.split('"')[1]).rows
    assert str(published_file(home)) in out


def expected(out: str) -> float:
    """Units of the garden hose over the season, as printed."""
    (line,) = (line for line in out.splitlines() if "garden hose" in line)
    return float(line.split()[-3].replace(",", ""))


def test_an_older_night_shows_its_own_forecasts_or_those_of_the_version_asked_for(home, capsys):
    print_night(home, NIGHTS[0])
    own = capsys.readouterr().out
    assert f"night of {NIGHTS[0]} by lstm/1" in own
    print_night(home, NIGHTS[0], "lstm/7")
    named = capsys.readouterr().out
    assert f"night of {NIGHTS[0]} by lstm/7" in named
    assert expected(named) == 10 * expected(own)
    command = next(line for line in named.splitlines() if "almanac sql" in line)
    found = query(home, command.split('"')[1])
    assert {row[found.columns.index("model_version")] for row in found.rows} == {"lstm/7"}


def test_a_night_that_is_not_published_says_where_it_is(home, capsys):
    print_night(home, NIGHTS[0] - timedelta(days=7))
    assert "publishing.max_forecast_rows" in capsys.readouterr().out


def test_the_backtest_says_which_night_it_is_of_and_claims_no_network(home, capsys):
    print_night(home, NIGHT + timedelta(days=3))
    out = capsys.readouterr().out
    assert f"Backtest before the night of {NIGHT}" in out
    assert "which made these forecasts" not in out


def test_corrections_that_a_night_cannot_know_are_told(tmp_path, capsys):
    lake = write_shop(Lake(tmp_path))
    publish(lake, some_settings(), NIGHT)
    write_settings(tmp_path)
    deliver(lake, "late", NIGHT, delivered_at=datetime(2026, 11, 21, 20))
    quality = {"file_name": ["late.csv"] * 2, "source": ["s"] * 2, "measure": ["lines", "corrected"], "value": [60, 42]}
    with lake.connect() as con:
        lake.write(con, "data_quality", {"file_hash": "late"}, pa.table(quality))
    print_night(tmp_path, NIGHT)
    # the shop is in Shanghai
    assert "42 corrected lines of late.csv are known from 2026-11-22, after this night." in capsys.readouterr().out
    print_night(tmp_path, date(2026, 11, 22))
    assert "corrected lines" not in capsys.readouterr().out


def test_scores_print_without_a_published_file(tmp_path, capsys):
    write_shop(Lake(tmp_path))
    print_scores(tmp_path, NIGHT)
    assert "lstm" in capsys.readouterr().out


def test_text_table_fits_a_narrow_terminal_by_leaving_out_the_middle():
    columns = [f"column{n}" for n in range(12)]
    table = text_table(columns, [list(range(12))], width=60)
    assert all(len(line) <= 60 for line in table.splitlines())
    assert table.splitlines()[0].split() == ["column0", "column1", "column2", "…", "column10", "column11"] or (
        "column0" in table and "column11" in table and "…" in table
    )


def test_text_table_counts_the_cells_of_chinese_text():
    from rich.cells import cell_len

    lines = text_table(["text", "n"], [["年糕", 1], ["rice", 22]]).splitlines()
    assert {cell_len(line) for line in lines} == {8}


@pytest.mark.parametrize("sql", ["", "  ", "-- nothing"], ids=["empty", "blank", "a comment"])
def test_no_sql_is_told(home, sql):
    with pytest.raises(QueryError, match="no SQL was given"):
        query(home, sql)
