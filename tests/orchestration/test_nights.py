"""Night after night: champions re-used and replaced, nights out of order, killed runs, checks that stop a night."""

import shutil
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from pipeline.cli import EXIT_PERMANENT, main
from pipeline.lake import Lake
from pipeline.orchestration.runs import dagster_home
from pipeline.settings import Settings, load_settings
from pipeline.training.cadence import decide, recorded_trainings, settings_hash
from resources.tracking import Tracking

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(night_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the home after its first night, for the nights after it."""
    copy = tmp_path_factory.mktemp("nights") / "home"
    shutil.copytree(night_home, copy)
    return copy


def run(home: Path, night: date) -> None:
    assert main(["run", "--home", str(home), "--as-of", night.isoformat()]) == 0


def lake_rows(home: Path, table: str, columns: str) -> list[tuple[object, ...]]:
    lake = Lake(home)
    with lake.connect() as con:
        return con.execute(f"SELECT DISTINCT {columns} FROM ({lake.select(table)}) ORDER BY ALL").fetchall()


def published_night(home: Path) -> date:
    with duckdb.connect(str(home / "warehouse" / "almanac.duckdb"), read_only=True) as con:
        return con.execute("SELECT max(as_of) FROM forecast_latest").fetchall()[0][0]


def champion(home: Path) -> str:
    version = Tracking(home, load_settings(home).shop.name).champion()
    assert version is not None
    return version.model_version


def test_nights_go_on_from_the_first(home: Path, night: date) -> None:
    first = champion(home)
    next_night, week_before = night + timedelta(days=1), night - timedelta(days=7)

    # the next night re-uses the champion, and its backtest
    run(home, next_night)
    assert champion(home) == first
    assert lake_rows(home, "forecasts", "as_of, model_version") == [(night, first), (next_night, first)]
    assert lake_rows(home, "backtest_scores", "as_of") == [(night,)]
    assert published_night(home) == next_night

    # an older night knows no champion of later nights, trains its own, and takes nothing away from the newest
    run(home, week_before)
    versions = dict(lake_rows(home, "forecasts", "as_of, model_version"))
    assert versions[week_before] != first
    assert champion(home) == first
    assert published_night(home) == next_night

    # other settings make another model, which becomes champion only if it is better at past origins
    settings = home / "almanac.yaml"
    settings.write_text(settings.read_text(encoding="utf-8").replace("hidden: 8", "hidden: 12"), encoding="utf-8")
    run(home, night)
    tracking = Tracking(home, load_settings(home).shop.name)
    third = f"{tracking.name}/3"
    decided = "challenger, champion, rule, origins, promoted, change_high < 0"
    ((*who, promoted, is_better),) = [row for row in lake_rows(home, "champion_decisions", decided) if row[0] == third]
    assert who == [third, first, "challenge", 3]
    assert promoted <= is_better
    assert champion(home) == (third if promoted else first)
    assert len(lake_rows(home, "champion_evidence", "challenger, origin")) == 3
    with duckdb.connect(str(home / "warehouse" / "almanac.duckdb"), read_only=True) as con:
        assert con.execute("SELECT count(*) FROM champion_evidence").fetchall() == [(3,)]
    # the backtest of the night speaks for its champion only
    scores = [tracking.score(tracking.version(one).run_id, "wql") for one in (first, third)]
    assert [score is not None for score in scores] == [True, bool(promoted)]


def test_training_is_due_without_a_champion_with_an_old_one_and_with_other_settings(home: Path, night: date) -> None:
    lake, settings = Lake(home), load_settings(home)
    trained = {one.settings_hash: one.model_version for one in recorded_trainings(lake)}
    version: str | None = trained[settings_hash(lake, settings, night)]

    def due(on: date, settings: Settings = settings, version: str | None = version) -> str:
        shaped_by = settings_hash(lake, settings, night)
        return decide(recorded_trainings(lake), on, settings.training, shaped_by=shaped_by, champion=version).action

    assert due(night, version=None) == "full"
    assert due(night) == "reuse"
    cadence = settings.training
    assert due(night + timedelta(days=cadence.update_every_days - 1)) == "reuse"
    assert due(night + timedelta(days=cadence.update_every_days)) == "update"
    assert due(night + timedelta(days=cadence.retrain_every_days)) == "full"
    others = next(name for name in trained.values() if name != version)
    assert due(night + timedelta(days=cadence.update_every_days), version=others) == "reuse", "not today's settings"
    other = settings.model_copy(update={"training": settings.training.model_copy(update={"seed": 99})})
    assert settings_hash(lake, other, night) != settings_hash(lake, settings, night)
    assert due(night, other) == "full"
    rarer = settings.model_copy(update={"training": settings.training.model_copy(update={"retrain_every_days": 30})})
    assert settings_hash(lake, rarer, night) == settings_hash(lake, settings, night)


def test_the_run_of_a_killed_command_line_is_marked_failed(home: Path, night: date) -> None:
    with dg.DagsterInstance.from_config(str(dagster_home(home))) as instance:
        tags = {"almanac/started_by": "command line"}
        killed = instance.create_run_for_job(_some_job, status=dg.DagsterRunStatus.STARTED, tags=tags)
    run(home, night)
    with dg.DagsterInstance.from_config(str(dagster_home(home))) as instance:
        found = instance.get_run_by_id(killed.run_id)
        assert found is not None
        assert found.status == dg.DagsterRunStatus.FAILURE


@dg.job
def _some_job() -> None:
    """A job whose run was killed."""


def test_a_file_with_too_many_bad_lines_stops_the_night_and_is_named(
    home: Path, night: date, capfd: pytest.CaptureFixture[str]
) -> None:
    good = next(path for path in sorted((home / "orders").glob("orders_*.csv")))
    head, *lines = good.read_text(encoding="utf-8").splitlines()
    place = head.split(",").index("qty")
    broken = [",".join("many" if i == place else cell for i, cell in enumerate(line.split(","))) for line in lines[:40]]
    (home / "orders" / "orders_broken.csv").write_text(
        "\n".join([head, *broken, *lines[40:160]]) + "\n", encoding="utf-8"
    )
    before = lake_rows(home, "order_lines", "count(*)")
    assert main(["run", "--home", str(home), "--as-of", night.isoformat()]) == EXIT_PERMANENT
    told = capfd.readouterr().err
    assert "orders_broken.csv" in told
    assert "max_quarantined_share" in told
    assert lake_rows(home, "order_lines", "count(*)") == before


def test_too_little_history_is_told_before_mlflow_hears_of_it(
    home: Path, night_shop: object, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    young = tmp_path / "young"
    (young / "orders").mkdir(parents=True)
    first = sorted((home / "orders").glob("orders_*"))[0]
    shutil.copy(home / "almanac.yaml", young)
    for name in (
        first.name,
        *(path.name for path in (home / "orders").glob("items_*")),
        *(path.name for path in (home / "orders").glob("promotions_*")),
    ):
        shutil.copy(home / "orders" / name, young / "orders" / name)
    assert main(["run", "--home", str(young), "--as-of", "2022-01-20"]) == EXIT_PERMANENT
    assert "days of orders" in capfd.readouterr().err
    assert not (young / "warehouse").exists()
    assert not (young / "mlflow" / "mlflow.db").exists() or not Tracking(young, "Test shop").client.search_runs(
        [e.experiment_id for e in Tracking(young, "Test shop").client.search_experiments()]
    )
