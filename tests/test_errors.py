"""What a signal during a query becomes: a stop, not a failure of the query."""

import os
import signal
import subprocess

import dagster as dg
import duckdb
import pytest

from pipeline.errors import heed_stop
from pipeline.orchestration import runs

LONG = "SELECT count(*) FROM range(20000000000) WHERE range % 7 = 9"


class Stopped(BaseException):
    """What a supervisor's handler may raise."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["interrupt", "terminate"])
def test_a_signal_during_a_query_stops(number):
    def handler(*_):
        raise Stopped

    before = signal.signal(number, handler)
    # from outside: the query holds the interpreter, and no thread of this process would come to send it
    sender = subprocess.Popen(["/bin/sh", "-c", f"sleep 0.3; kill -{int(number)} {os.getpid()}"])
    try:
        # a worker that took the query's task would keep the main thread waiting, which hears of signals between tasks
        with duckdb.connect(config={"threads": 1}) as con, pytest.raises(RuntimeError) as caught:
            con.execute(LONG).fetchall()
    finally:
        sender.wait()
        signal.signal(number, before)
    with pytest.raises(KeyboardInterrupt):
        heed_stop(caught.value)


def test_other_errors_are_no_stop():
    heed_stop(RuntimeError("no kernel image is available"))
    heed_stop(ValueError("Query interrupted"))


def test_a_run_whose_query_was_interrupted_was_stopped(tmp_path):
    @dg.op
    def ask():
        raise RuntimeError("Query interrupted")

    @dg.job
    def night():
        ask()

    result = night.execute_in_process(raise_on_error=False)
    with pytest.raises(KeyboardInterrupt):
        runs._refusal(result, tmp_path)
