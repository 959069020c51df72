"""The one builder of definitions, for the UI, the command line and the tests alike.

Keep data-processing logic out of this module.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

import assets.backtesting
import assets.cleaning
import assets.enrichment
import assets.forecasting
import assets.ingestion
import assets.publishing
import assets.training
import assets.validation
from pipeline.errors import SettingsError
from pipeline.orchestration.jobs import build_jobs
from pipeline.orchestration.partitions import nights
from pipeline.orchestration.schedules import build_schedules
from pipeline.orchestration.sensors import build_sensors
from pipeline.settings import home_folder, load_settings
from resources.compute import ComputeResource
from resources.lake import HomeResource
from resources.tracking import TrackingResource

STAGES = (
    assets.ingestion,
    assets.validation,
    assets.cleaning,
    assets.enrichment,
    assets.training,
    assets.backtesting,
    assets.forecasting,
    assets.publishing,
)
"""In the order of the data flow; each module has `build(partitions)`."""


def build_defs(home: Path | None = None, resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """All definitions for one home.

    Args:
        home: the home; default: ALMANAC_HOME, else `data/` of the checkout. It need not exist yet: the definitions
            load, and a run says what is missing.
        resources: resources to put in place of the usual ones.
    """
    folder = home_folder(home)
    partitions = nights(_timezone(folder))
    jobs = build_jobs()
    built = [stage.build(partitions) for stage in STAGES]
    return dg.Definitions.merge(
        *built,
        dg.Definitions(
            jobs=list(jobs.values()),
            schedules=build_schedules(jobs["night"]),
            sensors=build_sensors(folder, jobs["ingest"], time.time),
            resources={
                "home": HomeResource(folder=str(folder)),
                "tracking": TrackingResource(folder=str(folder)),
                "compute": ComputeResource(),
                **(resources or {}),
            },
        ),
    )


def _timezone(home: Path) -> str:
    try:
        return load_settings(home).shop.timezone
    except SettingsError:
        return "UTC"


defs = build_defs()
