"""What words are worth: new items and seasons, each beside its controls.

    python -m tests.benchmarks.bench_text --orders FOLDER [--part NAME …] [--json FILE] [--home FOLDER]

Everything is trained on what was known at cut-offs of Online Retail II, every two months from 2010-07. Prints Markdown for the
README and writes JSON; the exit status is 1 where a bar is missed.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from pipeline.lake import Lake
from tests.benchmarks.accuracy.shop import SHARED_ORDERS, make_home
from tests.benchmarks.text import handover, launches, lift, seasons
from tests.benchmarks.text.shop import TextShop

PARTS = {"seasons": seasons, "launches": launches, "handover": handover, "lift": lift}


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else "")
    parser.add_argument("--orders", type=Path, default=SHARED_ORDERS, help="folder of orders_YYYY-MM.csv(.gz)")
    parser.add_argument("--part", action="append", choices=tuple(PARTS), help="only these; default: all")
    parser.add_argument("--home", type=Path, help="keep the home here and go on from it; default: a temporary one")
    parser.add_argument("--json", type=Path, default=Path("bench_text.json"), help="where the figures go")
    options = parser.parse_args(arguments)
    if not options.orders.is_dir():
        print(f"{options.orders}: no such folder; --orders names the folder of Online Retail II's order files")
        return 2
    content, met = {}, True
    with tempfile.TemporaryDirectory(prefix="almanac-bench-") as scratch:
        home = (options.home or Path(scratch)) / "online-retail"
        settings = make_home(home, "online-retail-ii", options.orders)
        shop = TextShop(Lake(home, settings.compute), settings)
        for name in options.part or PARTS:
            measured = PARTS[name].run(shop)
            bars = PARTS[name].bars(measured)
            print(f"\n## {name}\n\n{PARTS[name].markdown(measured)}\n", *bars, sep="\n", flush=True)
            content[name] = {"bars": [asdict(bar) for bar in bars], "figures": asdict(measured)}
            met = met and all(bar.met for bar in bars)
    options.json.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
