"""A night from end to end, through the command line, on a small generated shop: what a user would see."""

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from pipeline.cli import EXIT_PERMANENT, EXIT_TRANSIENT, main
from pipeline.examples.generated_shop import GeneratedShop
from pipeline.examples.homes import init_home
from pipeline.lake import Lake
from pipeline.settings import QUANTILE_COLUMNS, load_settings
from pipeline.tables import TABLES, lake_tables
from resources.lake import home_lock
from tests.conftest import MakeHome

pytestmark = pytest.mark.slow

FORECAST_KEY = TABLES["forecasts"].key


def rows(home: Path, query: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(home / "warehouse" / "almanac.duckdb"), read_only=True) as con:
        return con.execute(query).fetchall()


def tree(folder: Path) -> dict[str, bytes]:
    """Content of all files of a home's truth and published file."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for part in ("lake", "warehouse")
        for path in sorted((folder / part).rglob("*"))
        if path.is_file()
    }


def test_the_published_forecasts_keep_the_contract(night_home: Path) -> None:
    columns = ", ".join(QUANTILE_COLUMNS)
    found = rows(night_home, f"SELECT horizon_days, mean, {columns} FROM forecasts")
    assert len(found) > 0
    for horizon, mean, *quantiles in found:
        assert 1 <= horizon <= 91
        assert mean >= 0
        assert quantiles == sorted(quantiles)
        assert all(value >= 0 and value == int(value) for value in quantiles)
    duplicates = rows(night_home, f"SELECT count(*) - count(DISTINCT ({', '.join(FORECAST_KEY)})) FROM forecasts")
    assert duplicates == [(0,)]


def test_every_item_sold_in_the_last_year_is_forecast_for_91_days(night_home: Path, night: date) -> None:
    missing = rows(
        night_home,
        f"""
        SELECT count(*)
        FROM items
        WHERE last_sold > DATE '{night}' - 365
          AND item_id NOT IN (SELECT item_id FROM forecast_latest GROUP BY item_id HAVING count(*) = 91)
        """,
    )
    assert missing == [(0,)]


def test_nothing_is_lost_on_the_way_in(night_home: Path) -> None:
    found = rows(night_home, "SELECT file_hash, measure, value FROM data_quality")
    per_file: dict[object, dict[object, int]] = {}
    for file_hash, measure, value in found:
        per_file.setdefault(file_hash, {})[measure] = int(str(value))
    assert per_file
    for counts in per_file.values():
        assert counts["lines"] == counts["accepted"] + counts["quarantined"] + counts["exact_repeats"]


def test_the_champion_and_its_run_stand_in_mlflow(night_home: Path, night: date) -> None:
    from resources.tracking import Tracking

    champion = Tracking(night_home, load_settings(night_home).shop.name).champion()
    assert champion is not None
    assert champion.as_of == night
    assert list(champion.folder.rglob("*.safetensors"))
    versions = rows(night_home, "SELECT DISTINCT model_version FROM forecast_latest")
    assert versions == [(champion.model_version,)]


def test_the_history_shows_in_dagster(night_home: Path, night: date) -> None:
    with dg.DagsterInstance.from_config(str(night_home / "dagster")) as instance:
        runs = instance.get_runs()
        assert any(run.job_name == "night" and run.status == dg.DagsterRunStatus.SUCCESS for run in runs)
        event = instance.get_latest_materialization_event(dg.AssetKey("forecasts"))
        assert event is not None
        materialization = event.asset_materialization
        assert materialization is not None
        assert materialization.partition == night.isoformat()
        assert {"dagster/row_count", "seconds"} <= set(materialization.metadata)


def test_running_the_night_again_changes_no_fact(night_home: Path, night: date) -> None:
    facts = [
        table.name for table in lake_tables() if table.stage in {"ingestion", "validation", "cleaning", "enrichment"}
    ]
    before = {name: (night_home / "lake" / name).exists() and tree_of(night_home, name) for name in facts}
    forecasts = rows(night_home, "SELECT * EXCLUDE (made_at) FROM forecast_latest ORDER BY ALL")
    assert main(["run", "--home", str(night_home), "--as-of", night.isoformat()]) == 0
    assert {name: (night_home / "lake" / name).exists() and tree_of(night_home, name) for name in facts} == before
    assert rows(night_home, "SELECT * EXCLUDE (made_at) FROM forecast_latest ORDER BY ALL") == forecasts


def tree_of(home: Path, table: str) -> dict[str, bytes]:
    folder = home / "lake" / table
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def test_a_bad_delivery_is_refused_and_the_home_stays_as_it_was(
    night_home: Path, night: date, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = night_home / "orders" / "orders_truncated.csv.gz"
    whole = next(path for path in sorted((night_home / "orders").rglob("*.csv.gz")))
    bad = whole.with_name("orders_truncated.csv.gz")
    bad.write_bytes(whole.read_bytes()[:-200])
    before = tree(night_home)
    try:
        assert main(["run", "--home", str(night_home), "--as-of", night.isoformat()]) == EXIT_PERMANENT
        told = capfd.readouterr().err
        assert "orders_truncated.csv.gz" in told
        assert "Traceback" not in told
        assert tree(night_home) == before
    finally:
        bad.unlink()


def test_a_night_before_the_first_order_is_refused(night_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = tree(night_home)
    assert main(["run", "--home", str(night_home), "--as-of", "2006-01-01"]) == EXIT_PERMANENT
    assert "first order became known" in capfd.readouterr().err
    assert tree(night_home) == before


def test_a_home_in_use_is_refused_as_transient(night_home: Path) -> None:
    code = f"import sys; from pipeline.cli import main; sys.exit(main(['run', '--home', {str(night_home)!r}]))"
    with home_lock(night_home):
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == EXIT_TRANSIENT
    assert "another run is using this home" in result.stderr


def test_sql_prints_a_table_csv_and_json(night_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    query = "SELECT count(*) AS n FROM forecast_latest"
    assert main(["sql", "--home", str(night_home), query, "--format", "json"]) == 0
    assert json.loads(capfd.readouterr().out)[0]["n"] > 0
    assert main(["sql", "--home", str(night_home), query, "--format", "csv"]) == 0
    assert capfd.readouterr().out.splitlines()[0] == "n"
    assert main(["sql", "--home", str(night_home), "SELECT nonsense"]) == EXIT_PERMANENT
    assert "nonsense" in capfd.readouterr().err


def test_doctor_finds_a_home_in_order(night_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--home", str(night_home)]) == 0
    assert "fail" not in capfd.readouterr().out


def test_doctor_finds_what_would_stop_a_night(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "home"
    assert main(["init", "--home", str(home)]) == 0
    written = (home / "almanac.yaml").read_text()
    off = "\nmembers: {lightgbm: {on: false}, quantile_mlp: {on: false}}\n"
    (home / "almanac.yaml").write_text(written.replace("currency: USD", "currency: CHF") + off)
    capfd.readouterr()
    assert main(["doctor", "--home", str(home)]) == EXIT_PERMANENT
    said = " ".join(capfd.readouterr().out.replace("│", " ").split())
    assert "no forecaster is on" in said
    assert "the shop's money is CHF" in said


def test_doctor_finds_a_country_without_a_calendar(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    init_home(tmp_path / "home", "complete-journey")
    settings = tmp_path / "home" / "almanac.yaml"
    settings.write_text(settings.read_text(encoding="utf-8").replace("country: US", "country: XX"), encoding="utf-8")
    assert main(["doctor", "--home", str(tmp_path / "home")]) == EXIT_PERMANENT
    told = " ".join(capfd.readouterr().out.replace("│", " ").split())
    assert "XX has no public holidays" in told


def test_a_question_to_no_home_says_how_to_make_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "--home", str(tmp_path), "SELECT 1"]) == EXIT_PERMANENT
    assert f"almanac init --home {tmp_path}" in capfd.readouterr().err


def test_no_customer_id_enters_the_home_and_no_secret_the_store(night_home: Path, night_shop: GeneratedShop) -> None:
    with Lake(night_home).connect() as con:
        lake = Lake(night_home)
        keys = con.execute(f"SELECT DISTINCT customer_key FROM ({lake.select('order_lines')})").fetchall()
    customers = {str(customer) for customer in night_shop.lines.customer if customer}
    stored = {key for (key,) in keys if key}
    assert len(stored) > 10
    assert not stored & customers
    key_file = night_home / "customer.key"
    assert key_file.stat().st_mode & 0o077 == 0
    secret = key_file.read_bytes().strip()
    for folder in ("mlflow", "dagster", "lake", "warehouse", "report"):
        for path in (night_home / folder).rglob("*"):
            if path.is_file() and path.stat().st_size < 50_000_000:
                assert secret not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("shop: {name: s, country: CN, timezone: Asia/Shanghai, currency: CNY}\nsorces: []\n", "sources"),
        (
            "shop: {name: s, country: CN, timezone: Asia/Shangai, currency: CNY}\nsources: [{mapping: generated-shop}]\n",
            "Asia/Shanghai",
        ),
        (
            "shop: {name: s, country: CN, timezone: Asia/Shanghai, currency: CNY}\n"
            "sources: [{mapping: generated-shop}]\nforecast: {horizon_days: 0}\n",
            "horizon_days",
        ),
        (
            "shop: {name: s, country: CN, timezone: Asia/Shanghai, currency: CNY}\n"
            "sources: [{mapping: generated-shop}]\nseasons: {spring: {from: 2023-03-01, to: 2023-05-01}}\n",
            "seasons.spring: Value error, write a season as one text, '2010-09-01 to 2010-12-24', or with the keys first",
        ),
        ("shop: [", "not valid YAML"),
    ],
    ids=["typo", "unknown zone", "impossible value", "form of a season", "no YAML"],
)
def test_settings_with_a_mistake_are_named(
    tmp_path: Path, text: str, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "almanac.yaml").write_text(text, encoding="utf-8")
    assert main(["run", "--home", str(tmp_path)]) == EXIT_PERMANENT
    message = capfd.readouterr().err
    assert "almanac.yaml" in message
    assert told in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["almanac.yaml"]


def test_a_home_that_does_not_exist_says_how_to_make_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--home", str(tmp_path / "nowhere")]) == EXIT_PERMANENT
    assert "almanac init" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["init", "run", "backfill", "verify", "backtest", "sql", "ui", "doctor"])
def test_every_command_has_help_with_an_example(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert "Example:" in capfd.readouterr().out


def test_a_night_goes_on_without_a_member_that_cannot_work_and_says_so(
    make_home: MakeHome, night_shop: GeneratedShop, night: date, capsys: pytest.CaptureFixture[str]
) -> None:
    home = make_home(
        night_shop,
        members={"lightgbm": {"on": False}, "chronos": {"on": True, "model": "no-such-folder"}},
        backtest={"origins": 1, "max_items": 10, "baselines": []},
    )
    assert main(["run", "--home", str(home), "--as-of", night.isoformat()]) == 0
    said = capsys.readouterr().out
    assert "DEGRADED: forecast without some members of the model. chronos: " in said
    assert "DEGRADED: at some origins the ensemble was scored without some of its members" in said
    assert "ensemble (degraded)" in said
    assert "ensemble (degraded)" in (home / "report" / "index.html").read_text(encoding="utf-8")
    assert main(["models", "--home", str(home)]) == 0
    assert "backtest lacked members" in capsys.readouterr().out
    ((degraded, count),) = rows(home, "SELECT degraded, forecast_rows FROM vintages")
    assert str(degraded).startswith("chronos: ModelError: ")
    assert "no-such-folder" in str(degraded)
    assert int(str(count)) > 0
