"""What a person starts: Dagster on the checkout's workspace, and `almanac ui` with its two servers."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SETTINGS = (
    "shop: {name: s, country: CN, timezone: Asia/Shanghai, currency: CNY}\nsources: [{mapping: generated-shop}]\n"
)
START_SECONDS = 60
STOP_SECONDS = 40

pytestmark = pytest.mark.slow


def environment(home: Path) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"} | {"ALMANAC_HOME": str(home)}


def test_the_workspace_validates_without_a_home(tmp_path: Path) -> None:
    dagster = Path(sys.executable).with_name("dagster")
    done = subprocess.run(
        [dagster, "definitions", "validate", "-w", "workspace.yaml"],
        cwd=CHECKOUT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Validation successful for code location almanac" in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "a supervisor"])
def test_the_ui_answers_on_both_ports_and_leaves_no_process(tmp_path: Path, ended_by: signal.Signals) -> None:
    (tmp_path / "almanac.yaml").write_text(SETTINGS, encoding="utf-8")
    port = free_port()
    log = tmp_path / "ui.log"
    with served(tmp_path, port, log) as ui:
        began = time.monotonic()
        waiting = {f"http://127.0.0.1:{port}/server_info", f"http://127.0.0.1:{port + 1}/health"}
        while waiting and time.monotonic() - began < START_SECONDS:
            assert ui.poll() is None, log.read_text()
            waiting -= {address for address in waiting if answers(address)}
            time.sleep(0.5)
        assert not waiting, log.read_text()
        assert len(processes_of(tmp_path)) >= 3

        ui.send_signal(ended_by)
        assert ui.wait(timeout=STOP_SECONDS) == 0, log.read_text()
        psutil.wait_procs(processes_of(tmp_path), timeout=10)
        assert not processes_of(tmp_path), log.read_text()
        assert "Traceback" not in log.read_text()
    for taken in (port, port + 1):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", taken)) != 0


@contextmanager
def served(home: Path, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`almanac ui` on a home; whatever a failed test leaves of it is ended."""
    command = [sys.executable, "-m", "pipeline.cli", "ui", "--home", str(home), "--port", str(port)]
    with log.open("wb") as out:
        ui = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env=environment(home),
            stdout=out,
            stderr=subprocess.STDOUT,
            # tests that run in the background of a shell inherit a SIGINT that is ignored
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
    try:
        yield ui
    finally:
        for process in processes_of(home):
            process.kill()
        ui.wait()


def processes_of(home: Path) -> list[psutil.Process]:
    """Processes that were started for a home, whoever their parent is by now."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("ALMANAC_HOME") == str(home):
                found.append(process)
        except psutil.Error:  # of another user, or gone
            continue
    return found


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def free_port() -> int:
    """A port that is free, and the next one too."""
    for _ in range(50):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise AssertionError("no two free ports in a row")
