"""MLflow of one home: what a training leaves there, and which version a night forecasts with."""

import pickletools
import shutil
import socket
import sqlite3
import subprocess
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy

from pipeline.errors import HistoryError, ModelError, TransientError
from pipeline.models.base import Compute
from pipeline.models.panel import Panel
from pipeline.models.seasonal_naive import FittedSeasonalNaive
from pipeline.settings import Settings
from pipeline.tracking.plots import ItemPlot, draw, drawable
from resources.mlflow_store import MlflowStore
from resources.tracking import Tracking, model_name
from tests.resources.versions import FITTED, NIGHT, scores, train


def item_plot(panel: Panel, row: int, title: str) -> ItemPlot:
    forecast = FITTED.forecast(panel, 28)
    history, came = panel.units[row], panel.units[row, :28]
    return ItemPlot(title, panel.as_of, history, forecast.mean[row], forecast.quantiles[row], actuals=came)


def test_a_training_is_one_run_with_its_parameters_curves_scores_data_and_plots(
    tracking: Tracking, settings: Settings, panel: Panel
) -> None:
    version = train(tracking, settings, panel, NIGHT)
    run = tracking.run(version.run_id)
    run.log_scores(scores())
    run.log_plots([item_plot(panel, 0, "item 0 · 红色 T-light"), item_plot(panel, 1, "item 1")])

    client = tracking.client
    stored = client.get_run(version.run_id)
    assert len(client.search_runs([tracking.experiment_id])) == 1
    assert stored.info.status == "FINISHED"
    assert stored.data.params["training.seed"] == "7"
    assert stored.data.params["seasonal_naive.hidden"] == "8"
    assert stored.data.params["seasonal_naive.sizes.series"] == "3"
    history = client.get_metric_history(version.run_id, "validation/wql")
    assert [(point.step, point.value) for point in history] == [(10, 0.9), (20, 0.7), (30, 0.8)]
    assert stored.data.metrics["backtest/lstm/wql"] == 0.71
    assert stored.data.metrics["backtest/auto_ets/wql"] == 0.93
    assert stored.data.metrics["train_seconds"] == 1.5
    assert (
        stored.data.tags.items()
        >= {
            "as_of": "2024-04-29",
            "model_kind": "seasonal_naive",
            "device": "cpu",
            "dagster_run_id": "d-1",
            "data_snapshot": "a" * 32,
            "stopped": "early stopping",
            "model_version": "almanac-test-shop/1",
        }.items()
    )
    [data] = stored.inputs.dataset_inputs
    assert data.dataset.digest == "a" * 32
    assert '"demand_daily": 360' in data.dataset.profile
    csv = Path(client.download_artifacts(version.run_id, "backtest/backtest_scores.csv"))
    assert len(pd.read_csv(csv)) == 4
    plots = [file.path for file in client.list_artifacts(version.run_id, "plots")]
    assert plots == ["plots/01-item-0-T-light.png", "plots/02-item-1.png"]
    assert Path(client.download_artifacts(version.run_id, plots[0])).read_bytes().startswith(b"\x89PNG")


def test_no_tag_names_a_person_or_a_folder_of_the_machine(tracking: Tracking, settings: Settings, panel: Panel) -> None:
    version = train(tracking, settings, panel, NIGHT)
    tags = tracking.client.get_run(version.run_id).data.tags
    registered = tracking.client.get_model_version(version.name, str(version.number)).tags
    assert not [
        value for value in [*tags.values(), *registered.values()] if str(Path.home()) in value or "/tmp" in value
    ]
    assert "mlflow.user" not in tags
    assert "mlflow.source.name" not in tags


def test_a_training_that_raises_is_marked_failed_and_registers_nothing(tracking: Tracking, settings: Settings) -> None:
    with (
        pytest.raises(HistoryError, match="too short"),
        tracking.training_run(as_of=NIGHT, kind="lstm", compute=Compute(), settings=settings),
    ):
        raise HistoryError("too short")
    [run] = tracking.client.search_runs([tracking.experiment_id])
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] == "HistoryError"
    assert tracking.champion() is None
    assert tracking.champion(NIGHT) is None


def test_a_run_that_a_killed_process_left_is_marked_by_the_next(
    tracking: Tracking, settings: Settings, panel: Panel
) -> None:
    left = tracking.client.create_run(tracking.experiment_id)
    train(tracking, settings, panel, NIGHT)
    assert tracking.client.get_run(left.info.run_id).info.status == "KILLED"


def test_a_model_that_cannot_be_saved_leaves_no_version(
    tracking: Tracking, settings: Settings, panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise ValueError("weights are NaN")

    monkeypatch.setattr(FittedSeasonalNaive, "save", fails)
    with pytest.raises(ValueError, match="NaN"):
        train(tracking, settings, panel, NIGHT)
    assert not tracking.client.search_registered_models()
    [model] = tracking.client.search_logged_models([tracking.experiment_id])
    assert str(model.status) == "FAILED"


def test_the_champion_of_a_past_night_was_trained_by_then(tracking: Tracking, settings: Settings, panel: Panel) -> None:
    first = train(tracking, settings, panel, date(2024, 3, 1))
    second = train(tracking, settings, panel, date(2024, 4, 1), snapshot="b" * 32)
    loser = train(tracking, settings, panel, date(2024, 4, 15), promote=False)

    assert tracking.champion() == second
    assert second.model_version == "almanac-test-shop/2"
    assert second.data_snapshot == "b" * 32
    assert tracking.champion(date(2024, 2, 29)) is None
    assert tracking.champion(date(2024, 3, 31)) == first
    assert tracking.champion(date(2024, 4, 1)) == second
    assert tracking.champion(date(2024, 5, 1)) == second, "a challenger that was not promoted stays out"
    assert tracking.promote(loser)
    assert tracking.champion() == loser
    assert tracking.champion(date(2024, 4, 14)) == second


def test_a_backfill_of_an_older_night_does_not_take_the_alias(
    tracking: Tracking, settings: Settings, panel: Panel
) -> None:
    newer = train(tracking, settings, panel, date(2024, 4, 1))
    older = train(tracking, settings, panel, date(2024, 3, 1))
    assert tracking.champion() == newer
    assert tracking.champion(date(2024, 3, 15)) == older
    again = train(tracking, settings, panel, date(2024, 4, 1))
    assert tracking.champion() == again == tracking.champion(date(2024, 4, 1))


def test_a_recipe_is_kept_with_its_run_also_in_a_home_that_was_moved(
    tracking: Tracking, settings: Settings, panel: Panel, tmp_path: Path
) -> None:
    with tracking.training_run(as_of=NIGHT, kind="lstm", compute=Compute(), settings=settings) as run:
        run.log_recipe({"model": "lstm", "settings": {"training": {"seed": 7}}})
    assert tracking.recipe(run.run_id) == {"model": "lstm", "settings": {"training": {"seed": 7}}}
    assert tracking.score(run.run_id, "wql") is None
    tracking.run(run.run_id).log_scores(scores())
    assert tracking.score(run.run_id, "wql") == 0.71
    assert tracking.score("0" * 32, "wql") is None
    older = train(tracking, settings, panel, NIGHT)
    assert tracking.recipe(older.run_id) is None
    moved = tmp_path / "moved home"
    shutil.move(tracking.store.home, moved)
    assert Tracking(moved, "Test Shop").recipe(run.run_id) is not None


def test_a_version_is_found_by_the_name_that_the_tables_hold(
    tracking: Tracking, settings: Settings, panel: Panel
) -> None:
    version = train(tracking, settings, panel, NIGHT, promote=False)
    assert tracking.version("almanac-test-shop/1") == version
    for unknown in ("almanac-test-shop/2", "almanac-other-shop/1", "1", "almanac-test-shop/x", ""):
        with pytest.raises(ModelError, match=r"no model version .*the newest are almanac-test-shop/1"):
            tracking.version(unknown)


def test_a_home_without_a_version_says_so(tracking: Tracking) -> None:
    with pytest.raises(ModelError, match="no version was trained yet"):
        tracking.version("almanac-test-shop/1")


def test_a_version_has_all_its_tags_from_its_first_moment(
    tracking: Tracking, settings: Settings, panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the registry and the alias: the next run finds what was decided, and mends the rest."""

    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Tracking, "settle", killed)
        with pytest.raises(Killed):
            train(tracking, settings, panel, NIGHT, tags={"kind": "update", "parent": "almanac-test-shop/9"})
    assert tracking.champion() is None
    [left] = tracking.unrecorded(set())
    assert (left.kind, left.parent, left.tags["promoted"]) == ("update", "almanac-test-shop/9", "true")
    tracking.settle(left)
    assert tracking.champion() == left
    run = tracking.client.get_run(left.run_id)
    assert (run.info.status, run.data.tags["model_version"]) == ("FINISHED", "almanac-test-shop/1")
    assert tracking.unrecorded({left.model_version}) == []


def test_a_version_that_lost_does_not_get_the_alias(tracking: Tracking, settings: Settings, panel: Panel) -> None:
    first = train(tracking, settings, panel, NIGHT)
    lost = train(tracking, settings, panel, NIGHT, promote=False)
    assert lost.tags["promoted"] == "false"
    tracking.settle(lost)
    assert tracking.champion() == first
    shutil.rmtree(lost.folder)
    assert tracking.unrecorded({first.model_version}) == [], "nothing to record of a version whose folder is gone"


def test_a_home_that_was_moved_still_finds_its_champion(
    tracking: Tracking, settings: Settings, panel: Panel, tmp_path: Path
) -> None:
    train(tracking, settings, panel, NIGHT)
    moved = tmp_path / "moved home"
    shutil.move(tracking.store.home, moved)
    found = Tracking(moved, "Test Shop").champion()
    assert found is not None
    assert found.folder.is_relative_to(moved)
    assert found.folder.is_dir()


def test_a_version_whose_folder_is_gone_is_named_and_training_again_mends_it(
    tracking: Tracking, settings: Settings, panel: Panel
) -> None:
    version = train(tracking, settings, panel, NIGHT)
    shutil.rmtree(version.folder)
    with pytest.raises(ModelError, match=r"almanac-test-shop/1 is gone"):
        tracking.champion()
    assert train(tracking, settings, panel, NIGHT) == tracking.champion()


def test_a_store_that_was_killed_while_it_was_made_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "search_experiments", killed)
        with pytest.raises(KeyboardInterrupt):
            _ = MlflowStore(tmp_path).client
    assert not MlflowStore(tmp_path).database.exists()
    store = MlflowStore(tmp_path)
    assert store.client.get_experiment("0").name == "Default"
    assert [path.name for path in store.database.parent.iterdir() if path.is_file()] == ["mlflow.db"]


def test_a_locked_store_is_a_transient_error(tracking: Tracking, settings: Settings) -> None:
    assert tracking.experiment_id
    engine = tracking.client._tracking_client.store.engine

    def impatient(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        return statement.replace("busy_timeout = 20000", "busy_timeout = 50"), parameters  # MLflow waits 20 s

    sqlalchemy.event.listen(engine, "before_cursor_execute", impatient, retval=True)
    with sqlite3.connect(tracking.store.database, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with (
            pytest.raises(TransientError, match=r"mlflow\.db: locked by another process"),
            tracking.training_run(as_of=NIGHT, kind="lstm", compute=Compute(), settings=settings),
        ):
            pass
        other.execute("ROLLBACK")


def test_nothing_stored_is_a_pickle_and_saving_asks_neither_pip_nor_the_network(
    tracking: Tracking, settings: Settings, panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a subprocess or a connection")

    assert tracking.experiment_id
    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    version = train(tracking, settings, panel, NIGHT)
    files = [file for file in tracking.store.artifacts.rglob("*") if file.is_file()]
    assert version.folder / "forecaster.json" in files
    assert {file.suffix for file in files} <= {
        ".py",
        ".sql",
        ".json",
        ".safetensors",
        ".yaml",
        ".txt",
        ".png",
        ".csv",
        "",
    }
    for file in files:
        assert not is_pickle(file.read_bytes()), file


def is_pickle(content: bytes) -> bool:
    if not content.startswith(b"\x80"):
        return False
    try:
        list(pickletools.genops(content))
    except ValueError:
        return False
    return True


def test_a_plot_shows_the_fan_and_gives_the_same_bytes(panel: Panel, tmp_path: Path) -> None:
    plot = item_plot(panel, 2, "item 2")
    draw(plot, tmp_path / "a.png")
    draw(plot, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    draw(replace(plot, mean=plot.mean + 50), tmp_path / "c.png")
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "c.png").read_bytes()


def test_a_chinese_title_is_left_out_where_no_font_can_draw_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.tracking.plots.cjk_font", lambda: None)
    assert drawable("A12 · 红色马克杯 mug") == "A12 · mug"
    assert drawable("A12 · 红色马克杯") == "A12"
    monkeypatch.setattr("pipeline.tracking.plots.cjk_font", lambda: "Noto Sans CJK SC")
    assert drawable("A12 · 红色马克杯") == "A12 · 红色马克杯"


@pytest.mark.parametrize(
    ("shop", "name"),
    [("Online Retail II", "almanac-online-retail-ii"), ("Café & Co.", "almanac-cafe-co"), ("春节商店", None)],
)
def test_a_registered_model_has_a_name_that_every_address_takes(shop: str, name: str | None) -> None:
    made = model_name(shop)
    assert made == name if name else made.startswith("almanac-")
    assert made.isascii()
    assert made == model_name(shop)
    assert model_name("春节商店") != model_name("中秋商店")
