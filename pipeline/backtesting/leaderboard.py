"""The leaderboard of a backtest: every forecaster on the same forecasts, with what it cost; a table and a picture."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.backtesting.backtest import COSTS, BacktestReport
from pipeline.backtesting.scoring import POOLED
from pipeline.model_settings import MembersSettings
from pipeline.models.registry import FORECASTERS, MODEL

MEMBERS = tuple(name for name in FORECASTERS if name in MembersSettings.model_fields)
"""Every forecaster of the house but the night's model itself."""
METRICS = (
    "wql", "wql_low", "wql_high", "wape", "rmsse", "bias", "pit_coverage_80", "wql_week", "coverage_80_week", "wql_total",
    "coverage_80_total", *COSTS,
)  # fmt: skip


@dataclass(frozen=True)
class Leaderboard:
    """What was written.

    Attributes:
        table: forecasters with `METRICS`, the best WQL first; those that failed last, with `failed`.
        csv: the table.
        picture: WQL with its interval, and what it cost.
    """

    table: pd.DataFrame
    csv: Path
    picture: Path


def write_leaderboard(report: BacktestReport, folder: Path) -> Leaderboard:
    """Write table and picture of a night's backtest.

    Args:
        report: the backtest.
        folder: where the files go; those of the same night are replaced.
    """
    table = leaderboard(report)
    folder.mkdir(parents=True, exist_ok=True)
    csv, picture = (folder / f"{report.as_of}.{kind}" for kind in ("csv", "png"))
    table.to_csv(csv, float_format="%.6g")
    picture.write_bytes(plot_leaderboard(table))
    return Leaderboard(table, csv, picture)


def leaderboard(report: BacktestReport) -> pd.DataFrame:
    """Forecasters with their pooled metrics, the best first."""
    scores = report.scores
    pooled: Any = scores[(scores["origin"] == POOLED) & (scores["slice"] == POOLED)]
    wide = pooled.pivot_table(index="model", columns="metric", values="score").reindex(columns=list(METRICS))
    table = wide.sort_values("wql").rename_axis(columns=None)
    table["failed"] = ""
    for model, why in report.failed.items():
        table.loc[model, "failed"] = why
    return pd.DataFrame(table)


def plot_leaderboard(table: pd.DataFrame) -> bytes:
    """WQL with its 95 % interval per forecaster, and seconds beside it.

    Args:
        table: as of `leaderboard`.

    Returns:
        A PNG.
    """
    from matplotlib.figure import Figure

    scored = table[table["wql"].notna()].iloc[::-1]
    places = range(len(scored))
    figure = Figure(figsize=(9, 1.2 + 0.36 * len(scored)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1])
    reach = [scored["wql"] - scored["wql_low"], scored["wql_high"] - scored["wql"]]
    colours = ["#b5482f" if model == MODEL else "#3f6c8f" for model in scored.index]
    left.errorbar(scored["wql"], places, xerr=reach, fmt="none", ecolor="#9aa5ad", elinewidth=2)
    left.scatter(scored["wql"], places, color=colours, zorder=3)
    left.set_yticks(places, labels=[str(model).replace("_", " ") for model in scored.index])
    left.set_xlabel("WQL of days with its 95 % interval (lower is better)")
    left.grid(axis="x", alpha=0.3)
    right.barh(places, scored["seconds"].clip(lower=0.1), color=colours)
    right.set_xscale("log")
    right.set_xlabel("seconds, all origins")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()
