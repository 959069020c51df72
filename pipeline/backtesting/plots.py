"""Pictures of a backtest for asset metadata and the README."""

import io

import pandas as pd

from pipeline.backtesting.scoring import POOLED
from pipeline.backtesting.slices import HORIZONS


def plot_wql_by_horizon(scores: pd.DataFrame) -> bytes:
    """Pooled WQL by horizon bucket, one line per model.

    Args:
        scores: rows of `backtest_scores` (`BacktestReport.scores`).

    Returns:
        A PNG.
    """
    from matplotlib.figure import Figure

    chosen = scores[(scores["metric"] == "wql") & (scores["origin"] == POOLED) & (scores["slice"] == "horizon")]
    order = [f"{first}-{last}" for first, last in HORIZONS]
    order = [bucket for bucket in [*order, f"{HORIZONS[-1][1] + 1}+"] if (chosen["value_of_slice"] == bucket).any()]
    # a Figure of its own, not pyplot: no global state, no display, safe in any thread
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for model in chosen["model"].unique():
        line = chosen[chosen["model"] == model].set_index("value_of_slice")["score"].reindex(order)
        axes.plot(range(len(order)), line.to_numpy(), marker="o", label=str(model).replace("_", " "))
    axes.set_xticks(range(len(order)), labels=order)
    axes.set_xlabel("days ahead")
    axes.set_ylabel("WQL (lower is better)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()
