"""How good the forecasts are: the model beside seasonal naive, AutoETS and dynamic Theta on Online Retail II.

    python -m tests.benchmarks.bench_accuracy --orders FOLDER [--json FILE] [--home FOLDER]

Makes a home, brings the orders in through every stage, and runs the backtest of the night of 2011-08-31: four origins
(autumn 2010 with less than a year of history, and three in 2011), 28 days each, every item sold on at least 60 days of
the year before. All models see the same views and panels and are scored on the same forecasts. Prints Markdown for the
README and writes JSON. The bar: the model's pooled WQL at least 15 % below AutoETS and below dynamic Theta. The exit
status is 1 where it is missed.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.as_of import known_days
from pipeline.backtesting.backtest import MODEL, BacktestReport, run_backtest
from pipeline.cleaning.clean import clean
from pipeline.enrichment.calendar import build_calendar
from pipeline.enrichment.promotions import take_over_promotions
from pipeline.enrichment.texts import encode_items
from pipeline.examples.homes import ONLINE_RETAIL_NIGHT, init_home
from pipeline.ingestion import ingest
from pipeline.lake import Lake
from pipeline.settings import SETTINGS_FILE, Settings, load_settings
from pipeline.validation.lines import validate_lines
from resources.compute import pick_compute

SHARED_ORDERS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "online_retail_II" / "orders"
ORIGINS = (date(2010, 11, 7), date(2011, 5, 8), date(2011, 6, 12), date(2011, 7, 31))
BAR = 0.15
RIVALS = ("auto_ets", "dynamic_theta")
STEPS = len(ORIGINS) * (2 + len(RIVALS))
TITLES = {
    "lstm": "Almanac LSTM",
    "seasonal_naive": "seasonal naive",
    "auto_ets": "AutoETS",
    "dynamic_theta": "dynamic optimised Theta",
}


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    orders: Path
    home: Path | None
    json: Path
    max_items: int
    seconds: float | None
    threads: int
    device: str


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    if not options.orders.is_dir():
        print(f"{options.orders}: no such folder; --orders names the folder of Online Retail II's order files")
        return 2
    with tempfile.TemporaryDirectory(prefix="almanac-bench-") as scratch:
        home = options.home or Path(scratch) / "home"
        settings = make_home(home, options)
        lake = Lake(home, settings.compute)
        started = time.perf_counter()
        bring_in(lake, settings)
        prepared = time.perf_counter() - started
        compute = pick_compute(settings.compute)
        report = run_backtest(
            lake, settings, ONLINE_RETAIL_NIGHT, compute=compute, workdir=home / "training" / "backtest", progress=tell
        )
    content = as_json(report, prepared, f"{compute.device}, {compute.threads} threads, {platform.processor()}")
    options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(markdown(report))
    print(f"\n{prepared:.0f} s to bring the orders in. JSON: {options.json}")
    return verdict(report)


def parse(arguments: list[str] | None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else "")
    parser.add_argument("--orders", type=Path, default=SHARED_ORDERS, help="folder of orders_YYYY-MM.csv(.gz)")
    parser.add_argument("--home", type=Path, help="keep the home here and go on from it; default: a temporary one")
    parser.add_argument("--json", type=Path, default=Path("bench_accuracy.json"), help="where the figures go")
    parser.add_argument("--max-items", type=int, default=100_000, help="best sellers only, for a quick look")
    parser.add_argument("--seconds", type=float, help="budget of one training instead of the example's")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: all")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the network runs")
    return Options(**vars(parser.parse_args(arguments)))


def make_home(home: Path, options: Options) -> Settings:
    """A home of the example with the benchmark's origins and items."""
    if not (home / SETTINGS_FILE).exists():
        init_home(home, "online-retail-ii", orders=options.orders)
    settings = load_settings(home)
    changed: dict[str, Any] = settings.model_dump()
    changed["backtest"] |= {
        "on": ORIGINS,
        "horizon_days": 28,
        "min_sale_days": 60,
        "max_items": options.max_items,
        "baselines": ("seasonal_naive", *RIVALS),
    }
    changed["compute"] |= {"threads": options.threads, "device": options.device}
    if options.seconds:
        changed["training"]["max_seconds"] = options.seconds
    return Settings.model_validate(changed)


def bring_in(lake: Lake, settings: Settings) -> None:
    """Every stage before the forecasters; what is done already is not done again."""
    ingest(lake, settings, progress=tell)
    validate_lines(lake, settings)
    clean(lake, settings, progress=tell)
    build_calendar(lake, settings, *known_days(lake))
    take_over_promotions(lake)
    encode_items(lake, settings, progress=tell)


def tell(what: str, done: int, of: int) -> None:
    """Progress on standard error, so that the Markdown can be piped: one line in a terminal, else one per step."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what} {done}/{of}", end="", file=sys.stderr, flush=True)
    elif what.startswith("backtest") and of == STEPS:
        print(f"{what} {done + 1}/{of}", file=sys.stderr, flush=True)


def markdown(report: BacktestReport) -> str:
    """The tables of the README."""
    pooled = scores_of(report.scores, "all")
    lines = [
        f"Online Retail II, {len(report.origins)} origins × 28 days, {' / '.join(map(str, report.items))} items, "
        f"{report.rows // len(report.models):,} forecasts a model; 95 % intervals by bootstrap over items.",
        "",
        "| model | WQL | WAPE | 28-day-total WAPE | bias | RMSSE | MASE | covers 50 / 80 / 90 % | PIT in .1–.9 | s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for model in report.models:
        of = pooled[model]
        covers = " / ".join(f"{100 * of[f'coverage_{share}']:.0f}" for share in (50, 80, 90))
        note = f" ({report.fallbacks[model]} series by seasonal naive)" if report.fallbacks[model] else ""
        lines.append(
            f"| {TITLES[model]}{note} | {of['wql']:.3f} [{of['wql_low']:.3f}, {of['wql_high']:.3f}] | {of['wape']:.3f} "
            f"| {of['wape_total']:.3f} | {of['bias']:+.3f} | {of['rmsse']:.3f} | {of['mase']:.3f} | {covers} "
            f"| {100 * of['pit_coverage_80']:.0f} % | {report.seconds[model]:.0f} |"
        )
    origins = [day.isoformat() for day in report.origins]
    lines += ["", "| WQL / bias by origin | " + " | ".join(origins) + " |", "|---" * (len(origins) + 1) + "|"]
    for model in report.models:
        cells = [scores_of(report.scores, origin)[model] for origin in origins]
        lines.append(f"| {TITLES[model]} | " + " | ".join(f"{c['wql']:.3f} / {c['bias']:+.2f}" for c in cells) + " |")
    lines += ["", *(f"- {gain}" for gain in gains(report))]
    return "\n".join(lines)


def gains(report: BacktestReport) -> list[str]:
    """By how much the model's WQL is below each reference's."""
    of = scores_of(report.scores, "all")[MODEL]
    return [
        f"WQL {100 * of[f'wql_gain_on_{other}']:.1f} % [{100 * of[f'wql_gain_on_{other}_low']:.1f}, "
        f"{100 * of[f'wql_gain_on_{other}_high']:.1f}] below {TITLES[other]}"
        for other in report.models[1:]
    ]


def scores_of(scores: pd.DataFrame, origin: str) -> dict[str, dict[str, float]]:
    """Model → metric → score, over all forecasts of one origin or of all."""
    chosen = scores[(scores["origin"] == origin) & (scores["slice"] == "all")]
    return {
        str(model): dict(zip(rows["metric"], rows["score"], strict=True)) for model, rows in chosen.groupby("model")
    }


def as_json(report: BacktestReport, prepared: float, machine: str) -> dict[str, Any]:
    """All figures, by slice too."""
    return {
        "machine": machine,
        "origins": [day.isoformat() for day in report.origins],
        "skipped": {day.isoformat(): why for day, why in report.skipped.items()},
        "items": list(report.items),
        "forecasts": report.rows,
        "seconds": dict(report.seconds),
        "fallbacks": dict(report.fallbacks),
        "seconds_to_bring_in": prepared,
        "scores": report.scores.to_dict("records"),
    }


def verdict(report: BacktestReport) -> int:
    """Tell whether the bar is met."""
    pooled = scores_of(report.scores, "all")[MODEL]
    missed = [rival for rival in RIVALS if pooled[f"wql_gain_on_{rival}"] < BAR]
    named = " and ".join(TITLES[rival] for rival in missed or RIVALS)
    print(f"Bar (WQL at least {100 * BAR:.0f} % below): {'missed on' if missed else 'met on'} {named}.")
    return 1 if missed or len(report.origins) < len(ORIGINS) else 0


if __name__ == "__main__":
    sys.exit(main())
