"""What the parts of the benchmark share: scores by name, bars, and tables in Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.backtesting.backtest import BacktestReport
from pipeline.backtesting.scoring import POOLED

TITLES = {
    "ensemble": "Almanac's ensemble",
    "lstm": "LSTM",
    "transformer": "patch Transformer",
    "mlp": "plain network, hurdle-lognormal",
    "quantile_mlp": "plain quantile network",
    "lightgbm": "LightGBM quantiles",
    "seasonal_naive": "seasonal naive, week",
    "seasonal_naive_year": "seasonal naive, year",
    "auto_ets": "AutoETS",
    "dynamic_theta": "dynamic optimised Theta",
    "croston": "Croston (SBA)",
}


@dataclass(frozen=True)
class Bar:
    """One bar of the measure, and what was measured against it."""

    what: str
    measured: str
    met: bool

    def __str__(self) -> str:
        return f"- {'met' if self.met else 'MISSED'}: {self.what}: {self.measured}"


def pooled(report: BacktestReport, origin: str = POOLED) -> dict[str, dict[str, float]]:
    """Model → metric → score, over all forecasts of one origin or of all."""
    scores = report.scores
    chosen = scores[(scores["origin"] == origin) & (scores["slice"] == POOLED)]
    return {
        str(model): dict(zip(rows["metric"], rows["score"], strict=True)) for model, rows in chosen.groupby("model")
    }


def below_the_best(
    report: BacktestReport, rivals: Sequence[str], *, metric: str = "wql"
) -> tuple[str, float, float, float]:
    """The rival with the least loss, and by how much the model is below it with the 95 % interval.

    Args:
        report: a backtest.
        rivals: names; those that were not scored are left out.
        metric: wql, wql_week or wql_total.
    """
    found = pooled(report)
    best = min((name for name in rivals if name in found), key=lambda name: found[name][metric])
    mine = found[report.models[0]]
    return best, *(mine[f"{metric}_gain_on_{best}{ending}"] for ending in ("", "_low", "_high"))


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [" | ".join(header), "|".join(["---"] * len(header)), *(" | ".join(map(str, row)) for row in rows)]
    return "\n".join(f"| {line} |" if "---" not in line else f"|{line}|" for line in lines)


def slice_rows(scores: pd.DataFrame, model: str, metric: str, *, least: int) -> dict[str, tuple[float, int]]:
    """Slice → score and number, of slices with at least so many forecasts, all origins pooled."""
    chosen = scores[(scores["model"] == model) & (scores["metric"] == metric) & (scores["origin"] == POOLED)]
    chosen = chosen[(chosen["forecasts"] >= least) & (chosen["slice"] != POOLED)]
    return {
        f"{row['slice']} {row['value_of_slice']}": (float(row["score"]), int(row["forecasts"]))
        for row in chosen.to_dict("records")
    }
