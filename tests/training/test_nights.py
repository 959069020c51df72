"""The training asset, night after night, on a small shop: drift, decision, training, gate and rows; killed and run again."""

import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
import yaml

from assets import training as asset
from pipeline.enrichment.calendar import build_calendar
from pipeline.lake import Lake
from pipeline.models.networks.training import Training
from pipeline.settings import ComputeSettings, load_settings
from pipeline.tables import TABLES
from pipeline.training.record import TrainingRecord
from pipeline.training.verdict import Verdict
from resources.compute import ComputeResource
from resources.lake import HomeResource
from resources.tracking import Tracking, TrackingResource
from tests.enrichment.conftest import Shop

FIRST = date(2023, 1, 2)
NIGHT = date(2023, 4, 30)
WEEK = timedelta(days=7)
PARTITIONS = dg.DailyPartitionsDefinition(start_date="2023-01-01")

SETTINGS: dict[str, Any] = {
    "shop": {"name": "Night shop", "country": "GB", "timezone": "UTC", "currency": "GBP"},
    "sources": [{"mapping": "any"}],
    "training": {
        "hidden": 8, "max_steps": 8, "pretrain_steps": 2, "batch_size": 32, "history_days": 28, "update_steps": 6,
        "update_every_days": 7,
        "validation_days": 14,
    },
    "members": {"lightgbm": {"on": False}},
    "forecast": {"horizon_days": 14, "sample_paths": 20},
    "compute": {"device": "cpu", "threads": 1},
}  # fmt: skip


class Killed(BaseException):
    """What a kill looks like from inside: nothing of the night runs after it."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    shop = Shop(Lake(home, ComputeSettings(threads=1)))
    random = np.random.default_rng(4)
    days = [FIRST + timedelta(days=day) for day in range((NIGHT - FIRST).days + 40)]
    shop.sell(
        [
            (f"item-{item}", day, int(units), 2.0 + item)
            for day in days
            for item, units in enumerate(random.poisson(4, 12))
            if units and day.isoweekday() < 7
        ]
    )
    shop.deliver("item_sightings", [(f"item-{k}", f"text {k}", "ab"[k % 2], "orders", 1, FIRST) for k in range(12)])
    write_settings(home)
    build_calendar(shop.lake, load_settings(home), FIRST, NIGHT + timedelta(days=90))
    return home


def write_settings(home: Path, *, backtest: dict[str, Any] | None = None, **training: Any) -> None:
    changed = SETTINGS | {"training": SETTINGS["training"] | training, "backtest": backtest or {}}
    (home / "almanac.yaml").write_text(yaml.safe_dump(changed), encoding="utf-8")


def run(home: Path, night: date) -> dict[str, Any]:
    """Run the training asset of a night; its metadata on `model_versions`."""
    definitions = asset.build(PARTITIONS)
    resources = {
        "home": HomeResource(folder=str(home)),
        "compute": ComputeResource(),
        "tracking": TrackingResource(folder=str(home)),
    }
    result = dg.materialize(list(definitions.assets or []), partition_key=night.isoformat(), resources=resources)
    shown = result.asset_materializations_for_node("training")
    of = {event.asset_key.to_user_string(): event.metadata for event in shown}
    assert set(of) == set(asset.TABLES)
    return {name: value.value for name, value in of["model_versions"].items()}


def rows(home: Path, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
    lake = Lake(home)
    with lake.connect() as con:
        return con.execute(f"SELECT {columns} FROM ({lake.select(table)}) ORDER BY ALL").fetchall()


def champion(home: Path, night: date | None = None) -> str:
    version = Tracking(home, "Night shop").champion(night)
    assert version is not None
    return version.model_version


def once(action: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
    """Replace an attribute by `action` until it was called once."""
    real = getattr(owner, name)

    def replaced(*given: Any, **named: Any) -> Any:
        monkeypatch.setattr(owner, name, real)
        return action(real, *given, **named)

    monkeypatch.setattr(owner, name, replaced)


def die(*_: Any, **__: Any) -> None:
    raise Killed


@pytest.mark.slow
def test_nights_train_reuse_update_and_train_anew(home: Path) -> None:
    assert run(home, NIGHT)["decision"] == "full"
    assert run(home, NIGHT)["decision"] == "reuse"
    assert run(home, NIGHT + timedelta(days=1))["decision"] == "reuse"
    assert run(home, NIGHT + WEEK)["decision"] == "update"
    write_settings(home, seed=9)
    assert run(home, NIGHT + 2 * WEEK)["decision"] == "full"

    first, second, third = "almanac-night-shop/1", "almanac-night-shop/2", "almanac-night-shop/3"
    assert rows(home, "model_versions", "as_of, model_version, kind, parent") == [
        (NIGHT, first, "full", ""),
        (NIGHT + WEEK, second, "update", first),
        (NIGHT + 2 * WEEK, third, "full", ""),
    ]
    assert rows(home, "champion_decisions", "challenger, rule, origins") == [
        (first, "first", 0), (second, "renewal", 0), (third, "challenge", 0)
    ]  # fmt: skip
    assert rows(home, "champion_evidence") == [], "the shop is too young for three origins, so that nothing was tried"
    decisions = rows(home, "champion_decisions", "challenger, champion, first_day, last_day, series, promoted")
    assert decisions[2] == (third, champion(home), None, None, None, False)
    assert decisions[0] == (first, "", None, None, None, True)
    assert decisions[1][:5] == (second, first, NIGHT + timedelta(days=1), NIGHT + WEEK, 12)
    promoted = [name for name, *_, won in decisions if won]
    assert champion(home) == promoted[-1]
    assert champion(home, NIGHT + timedelta(days=3)) == first, "a past night knows no later champion"

    # no champion before the first night, then a row of each measure each night, against the champion of the day before
    drift = rows(home, "drift", "DISTINCT as_of, model_version")
    assert [(night, name) for night, name in drift][:2] == [(NIGHT + timedelta(days=1), first), (NIGHT + WEEK, first)]
    tracking = Tracking(home, "Night shop")
    run_id = tracking.version(second).run_id
    assert "champion_decision.json" in [file.path for file in tracking.client.list_artifacts(run_id)]
    assert not (home / "training").exists() or not list((home / "training").iterdir())


@pytest.mark.slow
def test_a_challenger_that_lost_is_registered_and_the_champion_goes_on(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(home, NIGHT)
    once(lambda *_, **__: Verdict(False, "significantly worse"), monkeypatch, asset, "gate")
    shown = run(home, NIGHT + WEEK)
    assert (shown["promoted"], shown["verdict"]) == (False, "significantly worse")
    assert champion(home) == champion(home, NIGHT + WEEK) == "almanac-night-shop/1"
    assert [row[0] for row in rows(home, "model_versions", "model_version")][-1] == "almanac-night-shop/2"
    assert run(home, NIGHT + WEEK)["decision"] == "reuse", "the night has trained, and lost"
    assert run(home, NIGHT + WEEK + timedelta(days=6))["decision"] == "reuse", "it would lose again tomorrow"
    assert run(home, NIGHT + 2 * WEEK)["decision"] == "update"
    assert rows(home, "model_versions", "model_version, parent")[-1] == ("almanac-night-shop/3", "almanac-night-shop/1")


ORIGINS = {"origins": 3, "every_days": 14, "horizon_days": 7, "min_sale_days": 20}
POOR: dict[str, Any] = {"max_steps": 1, "pretrain_steps": 0, "learning_rate": 1e-6, "retrain_every_days": 21}
GOOD: dict[str, Any] = {"max_steps": 60, "learning_rate": 5e-3, "retrain_every_days": 21}
DAY = timedelta(days=1)


@pytest.mark.slow
def test_a_better_recipe_takes_over_and_a_worse_one_leaves_the_champion_alone(home: Path) -> None:
    first, second, third, fourth = (f"almanac-night-shop/{number}" for number in (1, 2, 3, 4))
    write_settings(home, backtest=ORIGINS, **POOR)
    run(home, NIGHT)

    # another recipe has to prove itself at past origins, and does
    write_settings(home, backtest=ORIGINS, **GOOD)
    shown = run(home, NIGHT + DAY)
    assert (shown["decision"], shown["rule"], shown["promoted"]) == ("full", "challenge", True), shown["verdict"]
    assert champion(home) == second
    assert champion(home, NIGHT) == first
    evidence = rows(
        home, "champion_evidence", "as_of, challenger, champion, origin, challenger_wql, champion_wql, series"
    )
    origins = [NIGHT + DAY - timedelta(days=7 + 14 * ago) for ago in (2, 1, 0)]
    assert [row[:4] for row in evidence] == [(NIGHT + DAY, second, first, origin) for origin in origins]
    assert all(new < old and series == 12 for *_, new, old, series in evidence)
    (decision,) = rows(home, "champion_decisions", "* EXCLUDE (as_of, reason, made_at)")[1:]
    assert decision[:4] == (second, first, True, "challenge")
    tracking = Tracking(home, "Night shop")
    kept = tracking.store.artifacts / tracking.version(second).run_id / "artifacts"
    stored = json.loads((kept / "champion_decision.json").read_text(encoding="utf-8"))
    assert [one["origin"] for one in stored["origins"]] == [origin.isoformat() for origin in origins]
    recipe = tracking.recipe(tracking.version(second).run_id)
    assert recipe is not None
    assert recipe["settings"]["training"]["max_steps"] == 60
    assert len(str(tracking.version(second).tags)) < 4000

    # a worse one is tried once, and again when a new network is due; the champion is neither updated nor touched
    write_settings(home, backtest=ORIGINS, **POOR)
    lost = NIGHT + 2 * DAY
    for night, decided in (
        (NIGHT + DAY, "reuse"), (lost, "reuse"), (lost + WEEK, "reuse"), (NIGHT + 3 * WEEK, "full"),
        (NIGHT + 3 * WEEK + DAY, "reuse"), (NIGHT + 4 * WEEK - DAY, "reuse"),
    ):  # fmt: skip
        assert run(home, night)["decision"] == decided, night
        assert champion(home, night) == second
    assert rows(home, "champion_decisions", "challenger, champion, promoted, rule")[2:] == [
        (third, second, False, "challenge")
    ]

    # its settings once more: the champion goes on as if nothing had been
    write_settings(home, backtest=ORIGINS, **GOOD | {"retrain_every_days": 91})
    assert run(home, NIGHT + 4 * WEEK + 2 * DAY)["decision"] == "update"
    assert rows(home, "model_versions", "model_version, kind, parent")[-1] == (fourth, "update", second)


@pytest.mark.slow
def test_a_challenger_of_a_champion_without_a_recipe_or_without_its_weights_is_judged_all_the_same(home: Path) -> None:
    write_settings(home, backtest=ORIGINS)
    run(home, NIGHT)
    tracking = Tracking(home, "Night shop")
    version = tracking.version("almanac-night-shop/1")
    (tracking.store.artifacts / version.run_id / "artifacts" / "recipe.json").unlink()
    write_settings(home, backtest=ORIGINS, seed=9)
    shown = run(home, NIGHT + WEEK)
    assert shown["rule"] == "renewal"
    assert shown["verdict"].startswith("judged like a renewal, for no recipe is kept with almanac-night-shop/1")
    assert rows(home, "champion_evidence") == []

    # only what is asked of the model has changed: nothing to set side by side
    serving = tracking.version(champion(home))
    changed = SETTINGS | {"training": SETTINGS["training"] | {"seed": 9}, "forecast": {"horizon_days": 21}}
    if serving.model_version == "almanac-night-shop/1":
        pytest.fail("the renewal guard refused an equal recipe")
    (home / "almanac.yaml").write_text(yaml.safe_dump(changed | {"backtest": ORIGINS}), encoding="utf-8")
    shown = run(home, NIGHT + 2 * WEEK)
    assert (shown["decision"], shown["rule"]) == ("full", "renewal")
    assert "only what is asked of the model has changed" in shown["verdict"]

    # stored by an older Almanac: a new network must not be stopped by one that cannot be read
    last = tracking.version(champion(home)).folder / "ensemble.json"
    last.write_text('{"kind": "ensemble", "format": 0}', encoding="utf-8")
    write_settings(home, backtest=ORIGINS, seed=11)
    shown = run(home, NIGHT + 3 * WEEK)
    assert (shown["rule"], shown["promoted"]) == ("served-out", True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "name"),
    [(Tracking, "settle"), (TrainingRecord, "write"), (Tracking, "register"), (Training, "_next_phase")],
    ids=["before the alias", "before the rows", "before the registry", "while training"],
)
def test_a_killed_night_ends_as_if_it_had_not_been(
    home: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str
) -> None:
    """The same version number, the same weights and the same rows as a night that nobody killed."""
    import shutil

    run(home, NIGHT)
    whole = home.with_name("whole")
    shutil.copytree(home, whole)
    run(whole, NIGHT + WEEK)

    once(die, monkeypatch, owner, name)
    with pytest.raises(Killed):
        run(home, NIGHT + WEEK)
    if name in {"settle", "write"}:
        monkeypatch.setattr(asset, "make_forecaster", lambda *_: pytest.fail("trained again"))
    run(home, NIGHT + WEEK)

    columns = "as_of, model_version, data_snapshot, settings_hash, kind, parent, reason"
    assert rows(home, "model_versions", columns) == rows(whole, "model_versions", columns)
    decided = ", ".join(name for name in TABLES["champion_decisions"].column_names if name != "made_at")
    assert rows(home, "champion_decisions", decided) == rows(whole, "champion_decisions", decided)
    assert rows(home, "drift") == rows(whole, "drift")
    assert champion(home) == champion(whole)
    folders = [Tracking(one, "Night shop").version("almanac-night-shop/2").folder for one in (home, whole)]
    assert len({(folder / "quantile_mlp" / "model.safetensors").read_bytes() for folder in folders}) == 1
    # nothing of the killed night comes back on a later one
    monkeypatch.undo()
    assert run(home, NIGHT + WEEK + timedelta(days=1))["decision"] == "reuse"


@pytest.mark.slow
def test_a_version_registered_by_other_means_is_left_alone(home: Path) -> None:
    run(home, NIGHT)
    tracking = Tracking(home, "Night shop")
    tracking.client.delete_model_version_tag("almanac-night-shop", "1", "verdict")
    for part in (home / "lake" / "model_versions").rglob("*.parquet"):
        part.unlink()
    assert run(home, NIGHT)["decision"] == "full"
    assert [name for (name,) in rows(home, "model_versions", "model_version")] == ["almanac-night-shop/2"]
