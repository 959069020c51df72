"""What a season of past nights costs: 52 weekly nights of Online Retail II beside one night with training.

    python -m tests.benchmarks.bench_backfill --orders FOLDER [--json FILE] [--home FOLDER]

The same machine, one after the other: a new home makes one night with training (2011-08-28: ingestion, training, forecasts,
publishing; no backtest, which would make it far longer), then `almanac backfill` makes 2010-09-05 to 2011-08-28 in another new home, training every 4 weeks, each time from the
version before. Both are processes of their own. The bar: at most 8 times the one night, at most 4 GB. The exit status is 1
where it is missed. The home of the backfill can be kept: the season's plot of the README is drawn from it.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from pipeline.examples.homes import init_home
from tests.benchmarks.accuracy.shop import SHARED_ORDERS

FIRST, LAST = date(2010, 9, 5), date(2011, 8, 28)
BAR_TIMES = 8.0
BAR_GB = 4.0


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=Path, default=SHARED_ORDERS, help="folder of orders_YYYY-MM.csv(.gz)")
    parser.add_argument("--home", type=Path, help="keep the backfilled home here; default: a temporary one")
    parser.add_argument("--json", type=Path, default=Path("bench_backfill.json"), help="where the figures go")
    options = parser.parse_args(arguments)
    if not options.orders.is_dir():
        print(f"{options.orders}: no such folder; --orders names the folder of Online Retail II's order files")
        return 2
    with tempfile.TemporaryDirectory(prefix="almanac-bench-") as scratch:
        one = make_home(Path(scratch) / "one", options.orders)
        night = almanac("backfill", "--home", str(one), "--from", str(LAST), "--to", str(LAST))
        peak_of_night = peak_gb()
        home = make_home(options.home or Path(scratch) / "season", options.orders)
        season = almanac("backfill", "--home", str(home), "--from", str(FIRST), "--to", str(LAST), "--every", "7d")
        peak = peak_gb()
    times = season / night
    figures = {"one_night": night, "backfill": season, "times": times, "peak_gb": peak, "peak_gb_one": peak_of_night}
    options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print("| what | seconds | peak memory |\n|---|---|---|")
    print(f"| one night with training, {LAST} | {night:.0f} | {peak_of_night:.1f} GB |")
    print(f"| 52 weekly nights, {FIRST} to {LAST}, trained every 4 weeks | {season:.0f} | {peak:.1f} GB |")
    print(f"\n{times:.1f} times one night (bar {BAR_TIMES:.0f}).")
    return int(times > BAR_TIMES or peak > BAR_GB)


def make_home(home: Path, orders: Path) -> Path:
    """A new home of the example; it trains every 4 weeks by default."""
    init_home(home, "online-retail-ii", orders=orders)
    return home


def almanac(*arguments: str) -> float:
    """Seconds of a command line, in a process of its own."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pipeline.cli", *arguments], check=True)
    return time.perf_counter() - started


def peak_gb() -> float:
    """Largest memory of any process so far."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


if __name__ == "__main__":
    sys.exit(main())
