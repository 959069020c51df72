"""What a signal during a query becomes: a stop, not a failure of the query."""

import os
import signal
import threading

import dagster as dg
import duckdb
import pytest

from pipeline.errors import heed_stop
from pipeline.orchestration import runs

ENDLESS = "SELECT count(*) FROM range(3000000) AS a, range(3000000) AS b WHERE a.range * b.range = -1"


class Stopped(BaseException):
    """What a supervisor's handler may raise."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["interrupt", "terminate"])
def test_a_signal_during_a_query_stops(number):
    def handler(*_):
        raise Stopped

    before = signal.signal(number, handler)
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), number))
    timer.start()
    try:
        with duckdb.connect() as con, pytest.raises(RuntimeError) as caught:
            con.execute(ENDLESS).fetchall()
    finally:
        timer.join()
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
