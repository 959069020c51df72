"""Runs started from the command line: the same jobs as the UI's, in this process, in the home's Dagster history."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from pathlib import Path

import dagster as dg

from assets.common import CONTROLS_TAG, FORCE_TAG, LEADERBOARD_TAG, MODEL_TAG
from pipeline.as_of import known_days
from pipeline.enrichment.language_model import find_language_model
from pipeline.errors import AlmanacError, HistoryError, PermanentError, SettingsError, TransientError, is_stop
from pipeline.ingestion.mapping import load_mappings
from pipeline.lake import Lake
from pipeline.orchestration.definitions import build_defs
from pipeline.orchestration.partitions import FIRST_NIGHT
from pipeline.settings import Settings, load_settings
from resources.lake import home_lock
from resources.progress import REPORTER

_STARTED_BY = "almanac/started_by"

_DAGSTER_YAML = """\
# Dagster's store of this home: runs, events, schedules (sqlite). `almanac ui` reads it.
telemetry:
  enabled: false
nux:
  enabled: false
run_monitoring:
  enabled: true
  free_slots_after_run_end_seconds: 300
  # a run whose process died is never seen as dead by the default launcher: end it when no night lasts so long
  max_runtime_seconds: 21600
concurrency:
  runs:
    max_concurrent_runs: 1
"""


def dagster_home(home: Path) -> Path:
    """DAGSTER_HOME of a home, made on first use."""
    folder = home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "dagster.yaml"
    if not config.exists():
        config.write_text(_DAGSTER_YAML, encoding="utf-8")
    return folder


def run_night(home: Path, as_of: date | None = None, *, model_version: str | None = None, force: bool = False) -> date:
    """Run one night from end to end.

    Args:
        home: the home.
        as_of: the night; default: the last day with orders, once everything delivered is in.
        model_version: forecast with this version, and train none; default: what the night chooses.
        force: make the night's forecasts anew even though they stand.

    Returns:
        The night.

    Raises:
        AlmanacError: what a person must mend, or what may succeed later.
    """
    settings = preflight(home)
    if as_of is not None:
        refuse_impossible_nights(settings, as_of, as_of)
    with home_lock(home), Runs(home) as runs:
        if as_of is None or model_version is not None:
            runs.execute("ingest")
        if as_of is None:
            as_of = min(known_days(Lake(home))[1], last_day_over(settings))
        if model_version is None:
            runs.execute("night", as_of, force=force)
        else:
            runs.execute("replay", as_of, force=force, model_version=model_version)
            runs.execute("publish", as_of)
    return as_of


def run_backtest_job(
    home: Path, as_of: date | None = None, *, leaderboard: bool = False, controls: Sequence[str] = ()
) -> date:
    """Run the backtest before a night (default: the last day with orders).

    Args:
        home: folder of the home.
        as_of: the night.
        leaderboard: score every forecaster of the house.
        controls: of `pipeline.models.controls`: score the night's model under each too.
    """
    settings = preflight(home)
    if as_of is not None:
        refuse_impossible_nights(settings, as_of, as_of)
    with home_lock(home), Runs(home) as runs:
        night = as_of or min(known_days(Lake(home))[1], last_day_over(settings))
        runs.execute("backtest", night, leaderboard=leaderboard, controls=controls)
    return night


def preflight(home: Path) -> Settings:
    """What can be refused before anything is written: settings, mappings, language model.

    Raises:
        PermanentError: names what is wrong.
    """
    settings = load_settings(home)
    load_mappings(settings.sources, home)
    find_language_model(settings.language_model, home=home)
    return settings


def refuse_impossible_nights(settings: Settings, first: date, last: date) -> None:
    """Refuse nights that are not over, or before nights begin.

    Raises:
        HistoryError: says which night is possible.
    """
    over = last_day_over(settings)
    if last > over:
        raise HistoryError(f"{last}: that day is not over in {settings.shop.timezone}; the last night is {over}")
    if first < date.fromisoformat(FIRST_NIGHT):
        raise HistoryError(f"{first}: nights begin with {FIRST_NIGHT}; choose a later one")


def last_day_over(settings: Settings) -> date:
    """Yesterday, where the shop is."""
    return datetime.now(settings.shop.zone).date() - timedelta(days=1)


class Runs:
    """Jobs run in this process, one after the other, in the home's Dagster history.

    The definitions are built once, so that a backfill of many nights pays for them once.
    """

    def __init__(self, home: Path) -> None:
        """Take a home; entered as a context by whoever holds the home."""
        self.home = home
        self._stack = ExitStack()

    def __enter__(self) -> "Runs":
        folder = dagster_home(self.home)
        os.environ["DAGSTER_HOME"] = str(folder)
        self._stack.callback(REPORTER.close)
        self._instance = self._stack.enter_context(dg.DagsterInstance.from_config(str(folder)))
        _bury_the_dead(self._instance)
        self._definitions = build_defs(self.home)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def execute(
        self,
        job: str,
        as_of: date | None = None,
        *,
        force: bool = False,
        model_version: str | None = None,
        leaderboard: bool = False,
        controls: Sequence[str] = (),
    ) -> None:
        """Run a job; what its assets refused is raised as they said it.

        Args:
            job: name of the job.
            as_of: the night, for jobs over nights.
            force: make anew what stands already.
            model_version: version to forecast with.
            leaderboard: score every forecaster of the house.
            controls: see `run_backtest_job`.

        Raises:
            AlmanacError: what a person must mend, or what may succeed later.
            KeyboardInterrupt: a signal stopped it.
        """
        asked = {
            FORCE_TAG: "true" if force else None,
            LEADERBOARD_TAG: "true" if leaderboard else None,
            CONTROLS_TAG: " ".join(controls) or None,
            MODEL_TAG: model_version,
        }
        result = self._definitions.resolve_job_def(job).execute_in_process(
            instance=self._instance,
            partition_key=as_of.isoformat() if as_of else None,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
            tags={_STARTED_BY: "command line"} | {tag: value for tag, value in asked.items() if value is not None},
        )
        if not result.success:
            raise _refusal(result, self.home)


def _bury_the_dead(instance: dg.DagsterInstance) -> None:
    """Mark runs of killed command lines as failed: they would count as running for ever, and hold the queue.

    The caller holds the home, so no other command line is running.
    """
    left = dg.RunsFilter(tags={_STARTED_BY: "command line"}, statuses=[dg.DagsterRunStatus.STARTED])
    for run in instance.get_runs(left):
        instance.report_run_failed(run, "the process of this run was killed")


def _refusal(result: dg.ExecuteInProcessResult, home: Path) -> AlmanacError:
    """The error of a failed run, as the person who must act should read it."""
    transient = False
    messages: list[str] = []
    for event in result.all_events:
        if event.event_type_value == "ASSET_CHECK_EVALUATION":
            check = event.asset_check_evaluation_data
            if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR:
                messages.append(f"{check.asset_key.to_user_string()}: {check.description}; details in report/data_docs")
        elif event.is_step_failure:
            failure = event.step_failure_data
            described = failure.user_failure_data.description if failure.user_failure_data else None
            error = failure.error
            while error is not None and error.cause is not None:
                error = error.cause
            if error is not None and (error.cls_name in _STOPS or is_stop(error.cls_name or "", error.message)):
                raise KeyboardInterrupt
            transient = transient or bool(error and error.cls_name in _TRANSIENT_NAMES)
            if error is None or error.cls_name != "DagsterAssetCheckFailedError":
                messages.append(described or (error.message.strip() if error else f"{event.step_key} failed"))
    text = "\n".join(dict.fromkeys(messages)) or "the run failed"
    text += f"\n(the run's history: almanac ui --home {home})"
    return TransientError(text) if transient else PermanentError(text)


_STOPS = {"KeyboardInterrupt", "DagsterExecutionInterruptedError"}
_TRANSIENT: list[type[TransientError]] = [TransientError, *TransientError.__subclasses__()]
_TRANSIENT_NAMES = {kind.__name__ for kind in _TRANSIENT}


def serve_ui(home: Path, port: int) -> None:
    """Dagster (webserver and daemon) and MLflow on this home, until interrupted.

    Raises:
        SettingsError: a port is taken.
    """
    load_settings(home)
    for taken in (port, port + 1):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", taken)) == 0:
                raise SettingsError(
                    f"port {taken} is in use; choose another: almanac ui --home {home} --port {taken + 10}"
                )
    environment = os.environ | {
        "ALMANAC_HOME": str(home),
        "DAGSTER_HOME": str(dagster_home(home)),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # seven worker processes for jobs that Almanac has none of
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONWARNINGS": "ignore",
    }
    tools = Path(sys.executable).parent
    store = home / "mlflow"
    store.mkdir(parents=True, exist_ok=True)
    commands: tuple[list[str | Path], ...] = (
        [tools / "dagster", "dev", "-m", "pipeline.orchestration.definitions", "-h", "127.0.0.1", "-p", str(port)],
        [
            *(tools / "mlflow", "server", "--host", "127.0.0.1", "--port", str(port + 1)),
            *("--backend-store-uri", f"sqlite:///{store / 'mlflow.db'}"),
            *("--default-artifact-root", str(store / "artifacts")),
        ],
    )
    print(f"Dagster  http://127.0.0.1:{port}\nMLflow   http://127.0.0.1:{port + 1}\nCtrl-C stops both.", flush=True)
    # whoever ends this process ends the servers too
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    children = [subprocess.Popen(command, env=environment, cwd=home, start_new_session=True) for command in commands]  # noqa: S603
    try:
        while all(child.poll() is None for child in children):
            time.sleep(0.5)
    except KeyboardInterrupt:
        return
    finally:
        for child in children:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGTERM)
        for child in children:
            child.wait(timeout=30)
    raise TransientError("one of the servers stopped by itself; its last lines above say why")
