"""All the bytes that a night makes of its facts, and the canary: which of them depend on what became known later."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipeline.as_of import as_of_view
from pipeline.forecasting.replay import forecast_night
from pipeline.forecasting.vintages import part_of
from pipeline.lake import Lake
from pipeline.models.base import Compute, Fitted
from pipeline.models.panel import Panel
from pipeline.models.registry import FORECASTERS, MODEL, make
from pipeline.settings import Settings
from pipeline.training.drift import measure_drift
from pipeline.training.gate import gate
from pipeline.training.panel import MAX_DAYS
from pipeline.training.train import build_training_panel
from tests.canaries.shops import FUTURES, VALIDATION_DAYS, Facts, a_day, past, write

FROM_FACTS = tuple(name for name in FORECASTERS if name not in {"chronos", "fusion", "text_regression"})
"""Forecasters that learn from a shop's facts alone; pretrained ones have the same canary beside them in tests/models."""


@dataclass(frozen=True)
class Champion:
    """A forecaster that was trained on an older night."""

    fitted: Fitted
    as_of: date


def night_panel(lake: Lake, settings: Settings, night: date) -> Panel:
    """The panel that a night trains on."""
    since = night - timedelta(days=MAX_DAYS - 1)
    with as_of_view(lake, night, by_location=settings.shop.by_location, since=since) as view:
        return build_training_panel(view, settings, home=lake.home)


def trained(panel: Panel, settings: Settings, model: str = MODEL, *, start: Fitted | None = None) -> Fitted:
    """A forecaster of the registry, fitted from nothing or gone on from `start`."""
    with TemporaryDirectory() as folder:
        return make(model, settings).fit(panel, folder=Path(folder), compute=Compute(threads=1), start=start)


def stored(fitted: Fitted) -> dict[str, bytes]:
    """All files of a fitted forecaster, but for the seconds that it took."""
    with TemporaryDirectory() as folder:
        fitted.save(Path(folder))
        paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    described = {name: json.loads(content) for name, content in files.items() if name.endswith(".json")}
    for content in described.values():
        report = content.get("report", {})
        for one in (report, *report.get("parts", {}).values()):
            one.pop("seconds", None)
    return files | {name: json.dumps(content).encode() for name, content in described.items()}


def night_bytes(
    lake: Lake, settings: Settings, night: date, models: Sequence[str] = (MODEL,), *, champion: Champion | None = None
) -> dict[str, bytes]:
    """Everything that a night makes of its facts, through the functions of every night.

    Panel, weights, forecasts and their sums; where there is a champion, drift since its training, its update, and whether
    the gate lets that pass.

    Args:
        lake: the home's lake.
        settings: the home's settings.
        night: the night.
        models: forecasters that are fitted from nothing.
        champion: an older forecaster.
    """
    panel = night_panel(lake, settings, night)
    made = {model: trained(panel, settings, model) for model in models}
    found = {"panel": panel.fingerprint().encode()}
    if champion is not None:
        update = made["update"] = trained(panel, settings, champion.fitted.name, start=champion.fitted)
        verdict = gate(
            panel, update, champion.fitted, kind="update", champion_as_of=champion.as_of, days=VALIDATION_DAYS, seed=1
        )
        with as_of_view(lake, night, by_location=settings.shop.by_location) as view:
            drift = measure_drift(view, lake, settings.drift, champion.as_of)
        found |= {"gate": json.dumps(verdict.to_json()).encode(), "drift": str(drift).encode()}
    for name, fitted in made.items():
        vintage = forecast_night(lake, settings, night, fitted, f"{name}/1", trained_as_of=night, force=True).vintage
        found["snapshot"] = vintage.data_snapshot.encode()
        found |= {f"{name}: {file}": content for file, content in stored(fitted).items()}
        similar = lake.part_path("similar_items", {"as_of": night.isoformat()}, part_of(vintage.model_version))
        files = vintage.files(lake) | ({"similar_items": similar} if similar.exists() else {})
        found |= {f"{name}: {table}": path.read_bytes() for table, path in files.items()}
    return found


def differing(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """Names of what is not the same in both, byte for byte."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def changed_by_future(
    facts: Facts, settings: Settings, night: int, *, futures: Collection[str] = ("joined",), **more: Any
) -> list[str]:
    """The canary: what of a night's bytes is not as it is with all later facts deleted; nothing where nothing leaks.

    Args:
        facts: the shop, its own future included.
        settings: the home's settings.
        night: number of the night.
        futures: which of `FUTURES` to give the shop, one after the other.
        more: to `night_bytes`.
    """
    other, random = facts, np.random.default_rng(night)
    for name, change in FUTURES.items():
        other = change(other, night, random) if name in futures else other
    with TemporaryDirectory() as folder:
        deleted, changed = (
            night_bytes(write(Lake(Path(folder) / name, settings.compute), shop), settings, a_day(night), **more)
            for name, shop in (("deleted", past(facts, night)), ("changed", other))
        )
    return differing(deleted, changed)
