"""How fast orders come in: generated lines (CSV, 1 % bad) through ingestion with validation, and through cleaning, beside a
bare DuckDB CSV-to-Parquet copy.

    python -m tests.benchmarks.bench_ingestion --lines 10000000

Prints a Markdown table and writes the numbers as JSON. The bar: ingestion with validation at least
500,000 lines a second on two cores, at most 3 GB.
Each step runs in a process of its own, so that its peak memory is its own; CPU seconds stand beside wall seconds, because
the machine may be busy with other work.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import yaml

from pipeline.cleaning.clean import clean
from pipeline.examples.load import write_load
from pipeline.ingestion import ingest
from pipeline.lake import COMPRESSION, Lake
from pipeline.settings import load_settings
from pipeline.validation import validate_lines

BAR_LINES_PER_SECOND = 500_000
BAR_PEAK_GB = 3.0


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; returns 1 when the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, help="work folder; default: a temporary one, removed afterwards")
    parser.add_argument("--json", type=Path, default=Path("bench_ingestion.json"), help="where the numbers go")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--step", choices=("copy", "night", "clean"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.step:
        print(json.dumps(_STEPS[given.step](given.folder)))
        return 0
    folder = given.folder or Path(tempfile.mkdtemp(prefix="bench_ingestion_"))
    try:
        return _bench(folder, given.lines, given.threads, given.json)
    finally:
        if given.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


def _bench(folder: Path, lines: int, threads: int, results: Path) -> int:
    home = folder / "home"
    shutil.rmtree(home, ignore_errors=True)
    (home / "orders").mkdir(parents=True)
    (folder / "threads").write_text(str(threads))
    load = write_load(folder / f"orders_load_{lines}.csv", lines)
    (home / "orders" / load.path.name).symlink_to(load.path)
    mapping = yaml.safe_load(Path("data/sources/generated-shop.yaml").read_text(encoding="utf-8"))
    (home / "load.yaml").write_text(
        yaml.safe_dump({k: v for k, v in mapping.items() if k not in ("items", "promotions")})
    )
    shop = {
        "name": "Load",
        "country": "CN",
        "timezone": "Asia/Shanghai",
        "currency": "CNY",
        "exchange_rates": {"HKD": 0.92},
    }
    settings = {"shop": shop, "sources": [{"mapping": "load.yaml"}], "compute": {"threads": threads}}
    (home / "almanac.yaml").write_text(yaml.safe_dump(settings))
    copy = _in_its_own_process("copy", folder)
    night = _in_its_own_process("night", folder)
    cleaning = _in_its_own_process("clean", folder)
    expected = {"lines": load.lines, "accepted": load.accepted, "quarantined": load.bad, "exact_repeats": load.repeats}
    wrong = {
        name: (night["counts"][name], number) for name, number in expected.items() if night["counts"][name] != number
    }
    speed = load.lines / night["seconds"]
    met = speed >= BAR_LINES_PER_SECOND and night["peak_gb"] <= BAR_PEAK_GB and not wrong
    report = {
        "lines": load.lines,
        "bytes": load.bytes,
        "bad_lines": load.bad,
        "threads": threads,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} at the end",
        "duckdb": duckdb.__version__,
        "copy": copy,
        "ingestion_and_validation": night,
        "cleaning": cleaning,
        "lines_per_second": round(speed),
        "bar_met": met,
        "wrong_counts": wrong,
    }
    results.write_text(json.dumps(report, indent=2) + "\n")
    print(_table(report))
    return 0 if met else 1


def _table(report: dict[str, Any]) -> str:
    rows = [
        f"{report['lines']:,} order lines, {report['bytes'] / 1e6:,.0f} MB of CSV, {report['bad_lines']:,} bad; "
        f"{report['threads']} threads; {report['machine']}",
        "",
        "| what | wall s | CPU s | lines/s | peak GB |",
        "|---|---|---|---|---|",
    ]
    parts = {
        "bare DuckDB CSV to Parquet": "copy",
        "ingestion + validation": "ingestion_and_validation",
        "cleaning": "cleaning",
    }
    for label, part in parts.items():
        step = report[part]
        rows.append(
            f"| {label} | {step['seconds']:.1f} | {step['cpu_seconds']:.1f} | {report['lines'] / step['seconds']:,.0f} | "
            f"{step['peak_gb']:.2f} |"
        )
    night = report["ingestion_and_validation"]
    rows += ["", f"of which ingestion {night['ingest_seconds']:.1f} s, validation {night['validate_seconds']:.1f} s"]
    counts = ", ".join(f"{name} {number:,}" for name, number in night["counts"].items())
    rows.append(f"{counts}; " + (f"WRONG: {report['wrong_counts']}" if report["wrong_counts"] else "all as generated"))
    rows.append(f"bar ({BAR_LINES_PER_SECOND:,} lines/s, {BAR_PEAK_GB} GB): {'met' if report['bar_met'] else 'MISSED'}")
    return "\n".join(rows)


def _in_its_own_process(step: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.bench_ingestion", "--step", step, "--folder", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def _copy(folder: Path) -> dict[str, Any]:
    """What DuckDB alone needs: the same file, read as text and written as Parquet, bad lines left out."""
    source = next(folder.glob("orders_load_*.csv"))
    target = folder / "copy.parquet"
    started = time.monotonic()
    con = duckdb.connect(config={"threads": int((folder / "threads").read_text()), "memory_limit": "1500MB"})
    con.execute(
        f"COPY (FROM read_csv('{source}', all_varchar = true, ignore_errors = true)) "
        f"TO '{target}' (FORMAT parquet, COMPRESSION {COMPRESSION})"
    )
    con.close()
    measured = _measured(started)
    target.unlink()
    return measured


def _night(folder: Path) -> dict[str, Any]:
    settings = load_settings(folder / "home")
    lake = Lake(folder / "home", settings.compute)
    started = time.monotonic()
    taken = ingest(lake, settings)
    validated = validate_lines(lake, settings)
    measured = _measured(started)
    file = validated.files[0]
    counts = {name: getattr(file, name) for name in ("lines", "accepted", "quarantined", "exact_repeats")}
    return {**measured, "ingest_seconds": taken.seconds, "validate_seconds": validated.seconds, "counts": counts}


def _clean(folder: Path) -> dict[str, Any]:
    settings = load_settings(folder / "home")
    started = time.monotonic()
    report = clean(Lake(folder / "home", settings.compute), settings)
    return {**_measured(started), "lines_cleaned": report.lines}


def _measured(started: float) -> dict[str, Any]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": time.monotonic() - started,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_gb": used.ru_maxrss * 1024 / 1e9,
    }


_STEPS = {"copy": _copy, "night": _night, "clean": _clean}


if __name__ == "__main__":
    sys.exit(main())
