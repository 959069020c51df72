"""`almanac doctor`: looks at the machine and a home, and says what to mend."""

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from pipeline.errors import AlmanacError
from pipeline.settings import Settings, load_settings, usable_cpus

_GIB = 2**30
_LEAST_FREE_BYTES = 2 * _GIB
_LEAST_MEMORY_BYTES = 4 * _GIB
_TEXTS = 2000
"""Item texts that the language model is tried on."""
_PACKAGES = ("dagster", "duckdb", "great-expectations", "mlflow", "torch", "transformers", "statsforecast")


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        check: what was looked at.
        state: ok, warn (works, but look) or fail (a night would fail).
        text: what was found, and the way out.
    """

    check: str
    state: Literal["ok", "warn", "fail"]
    text: str


def examine(home: Path) -> list[Finding]:
    """Look at everything a night needs; nothing is changed."""
    findings = [*_machine(home)]
    try:
        settings = load_settings(home)
    except AlmanacError as error:
        return [*findings, Finding("settings", "fail", str(error))]
    findings.append(Finding("settings", "ok", f"{home / 'almanac.yaml'}: {settings.shop.name}"))
    for check in (_sources, _members, _calendar, _language_model, _lake, _warehouse):
        findings.extend(_guarded(check, home, settings))
    return findings


def _guarded(check: Callable[[Path, Settings], Iterator[Finding]], home: Path, settings: Settings) -> Iterator[Finding]:
    try:
        yield from check(home, settings)
    except AlmanacError as error:
        yield Finding(check.__name__.strip("_").replace("_", " "), "fail", str(error))


def _machine(home: Path) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    cores = usable_cpus()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Finding(
        "machine",
        "ok" if memory >= _LEAST_MEMORY_BYTES else "warn",
        f"Python {version}, {cores} cores, {memory / _GIB:.0f} GiB memory"
        + ("" if memory >= _LEAST_MEMORY_BYTES else "; a night wants 4 GiB: lower compute.memory_limit"),
    )
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    yield Finding("packages", "ok", versions)
    existing = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    yield Finding(
        "disk",
        "ok" if free >= _LEAST_FREE_BYTES else "fail",
        f"{free / _GIB:.1f} GiB free at {existing}" + ("" if free >= _LEAST_FREE_BYTES else "; free at least 2 GiB"),
    )


def _sources(home: Path, settings: Settings) -> Iterator[Finding]:
    from pipeline.ingestion.mapping import load_mapping, require_exchange_rate

    for source in settings.sources:
        mapping = load_mapping(source, home)
        require_exchange_rate(mapping, settings, home)
        folder = home / source.folder
        files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
        yield Finding(
            f"source {mapping.name}",
            "ok" if files else "warn",
            f"{len(files)} files in {folder}" if files else f"no files in {folder}; drop order files there",
        )


def _members(home: Path, settings: Settings) -> Iterator[Finding]:
    from pipeline.models.registry import MODEL, make

    make(MODEL, settings, home)
    on = [name for name, member in settings.members if member.on]
    yield Finding("members", "ok", ", ".join(on))


def _calendar(_: Path, settings: Settings) -> Iterator[Finding]:
    from pipeline.enrichment.calendar import country_events

    year = date.today().year
    for country in settings.holiday_countries:
        events = {event.event for event in country_events(country, settings.calendar, year, year)}
        yield Finding("calendar", "ok", f"{country}: {len(events)} events")


def _language_model(home: Path, settings: Settings) -> Iterator[Finding]:
    from pipeline.enrichment.language_model import load_language_model
    from pipeline.enrichment.texts import some_texts
    from pipeline.lake import Lake

    model = load_language_model(settings.language_model, home=home)
    told = model.reading(some_texts(Lake(home, settings.compute), _TEXTS)).warnings(model.model_id)
    for warning in told:
        yield Finding("language model", "warn", warning)
    if not told:
        yield Finding("language model", "ok", model.model_id)


def _lake(home: Path, settings: Settings) -> Iterator[Finding]:
    from pipeline.lake import Lake

    lake = Lake(home, settings.compute)
    deliveries = len(lake.partitions("raw_files"))
    nights = lake.partitions("forecasts")
    if not deliveries:
        yield Finding("lake", "warn", f"empty; run `almanac run --home {home}`")
        return
    newest = nights[-1]["as_of"] if nights else "none yet"
    yield Finding("lake", "ok", f"{deliveries} deliveries, {len(nights)} nights, the newest {newest}")


def _warehouse(home: Path, _: Settings) -> Iterator[Finding]:
    from pipeline.publishing.publish import published_file

    file = published_file(home)
    if not file.exists():
        yield Finding("published file", "warn", f"{file} does not exist yet; run `almanac run --home {home}`")
        return
    yield Finding("published file", "ok", f"{file}, {file.stat().st_size / 2**20:.1f} MiB")
