"""The definitions as the UI shows them: what nobody meant to change is caught here."""

from pathlib import Path

import dagster as dg
import pytest

from pipeline.orchestration.definitions import STAGES, build_defs
from pipeline.tables import lake_tables


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    return build_defs(tmp_path_factory.mktemp("home"))


def test_definitions_validate_without_a_home(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)


def test_every_lake_table_is_an_asset_of_its_stage(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for table in lake_tables():
        node = graph.get(dg.AssetKey(table.name))
        assert node.group_name == table.stage, table.name


def test_facts_have_no_night_and_what_a_night_makes_has_one(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    by_night = {"training", "backtesting", "forecasting", "publishing"}
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        assert node.is_partitioned == (node.group_name in by_night), key


def test_jobs_schedule_and_sensor(definitions: dg.Definitions) -> None:
    assert {job.name for job in definitions.resolve_all_job_defs()} >= {"night", "ingest", "backtest"}
    schedule = definitions.resolve_schedule_def("nightly")
    assert schedule.cron_schedule == "0 2 * * *"
    assert schedule.execution_timezone == "UTC"
    assert definitions.resolve_sensor_def("drop_folder").minimum_interval_seconds == 60


def test_the_schedule_follows_the_shops_time_zone(tmp_path: Path) -> None:
    (tmp_path / "almanac.yaml").write_text(
        "shop: {name: s, country: CN, timezone: Asia/Shanghai, currency: CNY}\nsources: [{mapping: generated-shop}]\n",
        encoding="utf-8",
    )
    assert build_defs(tmp_path).resolve_schedule_def("nightly").execution_timezone == "Asia/Shanghai"


def test_stages_in_the_order_of_the_flow() -> None:
    names = [stage.__name__.removeprefix("assets.") for stage in STAGES]
    assert names == [
        *("ingestion", "validation", "cleaning", "enrichment"),
        *("training", "backtesting", "forecasting", "publishing"),
    ]


def test_the_graph_runs_downstream_only(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    order = {stage.__name__.removeprefix("assets."): i for i, stage in enumerate(STAGES)}
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        for parent in node.parent_keys:
            assert order[graph.get(parent).group_name] <= order[node.group_name], (parent, key)
