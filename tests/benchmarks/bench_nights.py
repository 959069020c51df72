"""What one new day costs: the first night of a generated shop, and the nights after it, at 1, 2 and 4 years of history.

    python -m tests.benchmarks.bench_nights [--years 1 2 4] [--items 500] [--lines-per-day 1500] [--json FILE]

Each night is `almanac run` in a process of its own; its steps' seconds are read from the home's Dagster history. Training
and backtesting stand apart, as they have their own cadence: what is compared is all else, from ingestion to publishing.
History comes as a file a month, the last month and the new days as a file a day. The bar: a night with one new day costs
at most 15 % of the first night, and not more after four years than after one. The exit status is 1 where it is missed.
"""

import argparse
import json
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path

import dagster as dg

from pipeline.examples.generated_shop import ShopSpec, generate
from pipeline.examples.shop_files import write_shop
from pipeline.lake import Lake
from pipeline.orchestration.runs import dagster_home
from tests.conftest import write_settings

BAR_SHARE = 0.15
BAR_GROWTH = 1.25
"""What a night may cost after the longest history, by that after the shortest: what a shared machine's noise needs."""
APART = ("training", "backtesting", "check_training", "check_backtesting")
NEW_NIGHTS = 3
LAST_DAY = date(2024, 12, 15)


@dataclass(frozen=True)
class Measured:
    """One length of history; seconds are of all steps but training and backtesting."""

    years: int
    lines: int
    first_night: float
    new_nights: tuple[float, ...]
    steps: dict[str, float]
    peak_gb: float

    @property
    def new_night(self) -> float:
        """Median of the nights with one new day."""
        return sorted(self.new_nights)[len(self.new_nights) // 2]

    @property
    def share(self) -> float:
        """Of the first night."""
        return self.new_night / self.first_night


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--years", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--lines-per-day", type=float, default=1500.0)
    parser.add_argument("--json", type=Path, default=Path("bench_nights.json"), help="where the figures go")
    options = parser.parse_args(arguments)
    found = [measure(years, options.items, options.lines_per_day) for years in options.years]
    options.json.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n", encoding="utf-8")
    print("| history | order lines | first night, s | a night with one new day, s | share | peak memory |")
    print("|---|---|---|---|---|---|")
    for one in found:
        print(
            f"| {one.years} years | {one.lines:,} | {one.first_night:.1f} | {one.new_night:.1f} | {one.share:.0%} | "
            f"{one.peak_gb:.1f} GB |"
        )
    print("\nSteps of the last night, s: " + json.dumps({one.years: one.steps for one in found}))
    grown = found[-1].new_night / found[0].new_night
    print(f"After {found[-1].years} years a night costs {grown:.2f} times what it costs after {found[0].years}.")
    return int(any(one.share > BAR_SHARE for one in found) or grown > BAR_GROWTH)


def measure(years: int, items: int, lines_per_day: float) -> Measured:
    """First night and new nights at one length of history."""
    days = round(365.25 * years) + NEW_NIGHTS
    shop = generate(
        ShopSpec(
            seed=4, first_day=LAST_DAY - timedelta(days=days - 1), days=days, items=items, lines_per_day=lines_per_day
        )
    )
    with tempfile.TemporaryDirectory(prefix="almanac-bench-") as scratch:
        home = Path(scratch) / "home"
        home.mkdir()
        write_settings(
            home,
            forecast={"horizon_days": 91, "sample_paths": 100},
            compute={"threads": 0, "memory_limit": "1500MB"},
            training={"max_steps": 30, "pretrain_steps": 5, "hidden": 64, "batch_size": 256, "max_seconds": 600.0},
        )
        waiting = write_history(shop, home / "orders", Path(scratch) / "days")
        nights = [LAST_DAY - timedelta(days=back) for back in range(NEW_NIGHTS, -1, -1)]
        steps = [run(home, nights[0])]
        for night in nights[1:]:
            for file in waiting[night]:
                shutil.copy(file, home / "orders")
            steps.append(run(home, night))
        lines = Lake(home).count("order_lines")
    seconds = [sum(value for step, value in one.items() if step not in APART) for one in steps]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    last = {step: round(value, 2) for step, value in steps[-1].items()}
    return Measured(years, lines, seconds[0], tuple(seconds[1:]), last, peak)


def write_history(shop: object, drop: Path, days: Path) -> dict[date, list[Path]]:
    """Put the history into the drop folder, months as one file; returns the files of the new days, which wait."""
    drop.mkdir()
    write_shop(shop, days, by="day")  # type: ignore[arg-type]
    new = {LAST_DAY - timedelta(days=back): list[Path]() for back in range(NEW_NIGHTS - 1, -1, -1)}
    months: dict[str, list[Path]] = {}
    for file in sorted(days.iterdir()):
        found = re.fullmatch(r"(orders)_(\d{4}-\d{2}-\d{2})(_late)?\.csv", file.name)
        day = date.fromisoformat(found[2]) if found else date.min
        if found and day in new:
            new[day].append(file)
        elif found and (LAST_DAY - day).days > 31:
            months.setdefault(f"{found[2][:7]}{found[3] or ''}", []).append(file)
        else:
            shutil.copy(file, drop)
    for month, files in months.items():
        merge(drop / f"orders_{month}.csv", files)
    return new


def merge(target: Path, files: Sequence[Path]) -> None:
    """One CSV of several with the same header."""
    with target.open("wb") as out:
        for number, file in enumerate(files):
            head, _, body = file.read_bytes().partition(b"\n")
            out.write((head + b"\n" if number == 0 else b"") + body)


def run(home: Path, night: date) -> dict[str, float]:
    """Run a night in a process of its own; seconds by step."""
    command = [sys.executable, "-m", "pipeline.cli", "run", "--home", str(home), "--as-of", night.isoformat()]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with dg.DagsterInstance.from_config(str(dagster_home(home))) as instance:
        newest = instance.get_runs(limit=1)[0]
        stats = instance.get_run_step_stats(newest.run_id)
    return {one.step_key: (one.end_time or 0.0) - (one.start_time or 0.0) for one in stats}


if __name__ == "__main__":
    sys.exit(main())
