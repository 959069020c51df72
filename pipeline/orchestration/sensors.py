"""The drop folder's sensor: a new or changed file starts the ingest job."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import dagster as dg

from pipeline.errors import AlmanacError, HomeBusyError
from pipeline.orchestration.jobs import AssetJob
from pipeline.settings import load_settings
from resources.lake import home_lock

_SETTLED_SECONDS = 30.0


def build_sensors(home: Path, ingest: "AssetJob", now: Callable[[], float]) -> list[dg.SensorDefinition]:
    """The sensor on a home's drop folders; stopped until a person turns it on in the UI."""

    @dg.sensor(
        name="drop_folder",
        job=ingest,
        minimum_interval_seconds=60,
        description="Takes in order files as they are dropped, once they have not changed for half a minute.",
    )
    def drop_folder(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        try:
            folders = [home / source.folder for source in load_settings(home).sources]
        except AlmanacError as error:
            return dg.SkipReason(str(error))
        files = sorted(path for folder in folders for path in folder.glob("**/*") if path.is_file())
        if not files:
            return dg.SkipReason(f"nothing in {', '.join(map(str, folders))}")
        stats = [(str(path), path.stat()) for path in files]
        # a file that is still being written would be read as truncated
        if any(now() - stat.st_mtime < _SETTLED_SECONDS for _, stat in stats):
            return dg.SkipReason("a file is still being written")
        state = hashlib.sha256(repr([(name, s.st_size, s.st_mtime_ns) for name, s in stats]).encode()).hexdigest()
        if state == context.cursor:
            return dg.SkipReason("nothing new")
        try:
            with home_lock(home):
                pass
        except HomeBusyError:
            return dg.SkipReason("a run is using the home; the files wait")
        context.update_cursor(state)
        return dg.RunRequest(run_key=state)

    return [drop_folder]
