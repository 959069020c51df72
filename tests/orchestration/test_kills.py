"""Backfills killed at random points, with SIGKILL: what is resumed ends in the same bytes."""

import multiprocessing
import os
import random
import shutil
import signal
from datetime import date
from pathlib import Path

import pytest

from pipeline.examples.generated_shop import ShopSpec
from pipeline.forecasting.vintages import vintages
from pipeline.lake import Lake
from tests.conftest import MakeHome
from tests.orchestration.test_backfill import stored

pytestmark = pytest.mark.slow

KILLS = 24
NIGHTS = ("2022-04-03", "2022-05-01")
"""Five weekly nights: a first training, two updates, forecasts each night."""


def run_backfill(home: str) -> None:
    """What the killed process does."""
    from pipeline.cli import main

    os.setsid()
    os._exit(main(["backfill", "--home", home, "--from", NIGHTS[0], "--to", NIGHTS[1], "--every", "7d"]))


@pytest.fixture(scope="module")
def new_home(make_home: MakeHome) -> Path:
    """A home with orders and nothing else."""
    return make_home(
        ShopSpec(seed=3, first_day=date(2022, 1, 1), days=140, items=30, lines_per_day=40),
        # seconds never bind: the steps of a training must not depend on how busy the machine is
        training={
            "max_steps": 24,
            "pretrain_steps": 4,
            "update_steps": 8,
            "update_every_days": 14,
            "max_seconds": 3600.0,
        },
        forecast={"horizon_days": 14, "sample_paths": 20},
    )


def weights(home: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((home / "mlflow").rglob("model.safetensors"))]


@pytest.mark.timeout(900)
def test_a_backfill_killed_at_random_points_ends_in_the_same_bytes(new_home: Path, tmp_path: Path) -> None:
    workers = multiprocessing.get_context("forkserver")
    # the libraries are loaded once; each process that is killed begins where a command line begins to work
    workers.set_forkserver_preload(
        [
            "torch",
            "mlflow",
            "dagster",
            "pipeline.cli",
            "pipeline.orchestration.backfill",
            "pipeline.models.networks.training",
        ]
    )

    def attempt(home: Path, seconds: float | None) -> bool:
        """Whether a process ran to its end; else it was killed after so many seconds."""
        process = workers.Process(target=run_backfill, args=(str(home),))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
            return False
        assert process.exitcode == 0
        return True

    whole = Path(shutil.copytree(new_home, tmp_path / "whole"))
    assert attempt(whole, None)
    wanted = stored(whole)
    assert len(wanted) == 10

    chance = random.Random(5)
    kills = round_number = 0
    while kills < KILLS:
        round_number += 1
        home = Path(shutil.copytree(new_home, tmp_path / f"killed{round_number}"))
        while not attempt(home, chance.uniform(0.2, 4.0) if kills < KILLS else None):
            kills += 1
        assert stored(home) == wanted
        assert [v.forecasts_hash for v in vintages(Lake(home))] == [v.forecasts_hash for v in vintages(Lake(whole))]
        assert set(weights(home)) == set(weights(whole))
        shutil.rmtree(home)
