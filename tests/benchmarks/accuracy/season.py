"""A season ahead: weekly totals of the 91 days after two origins of Online Retail II, each after a peak."""

from datetime import date

from pipeline.backtesting.backtest import BacktestReport, run_backtest
from pipeline.examples.homes import ONLINE_RETAIL_NIGHT
from pipeline.lake import Lake
from pipeline.models.base import Compute
from pipeline.settings import Settings
from tests.benchmarks.accuracy.scores import TITLES, Bar, below_the_best, pooled, table
from tests.benchmarks.accuracy.shop import changed, tell

ORIGINS = (date(2010, 12, 31), date(2011, 2, 28))
HORIZON = 91
RIVALS = ("auto_ets", "dynamic_theta", "seasonal_naive_year")


def run(lake: Lake, settings: Settings, compute: Compute) -> BacktestReport:
    """The backtest of the measure."""
    asked = {"on": ORIGINS, "horizon_days": HORIZON, "min_sale_days": 60, "max_items": 2000, "max_seconds": None}
    return run_backtest(
        lake,
        changed(settings, backtest=asked),
        ONLINE_RETAIL_NIGHT,
        compute=compute,
        workdir=lake.home / "training" / "backtest",
        progress=tell,
        models=RIVALS,
    )


def bars(report: BacktestReport) -> list[Bar]:
    """What the measure asks of a season ahead."""
    best, gain, low, high = below_the_best(report, RIVALS, metric="wql_week")
    told = f"{100 * gain:.1f} % [{100 * low:.1f}, {100 * high:.1f}] below {TITLES[best]}"
    return [Bar("a season ahead, WQL of weeks 10 % below the best rival", told, gain >= 0.10)]


def markdown(report: BacktestReport) -> str:
    """The table of the README."""
    found = pooled(report)
    header = ["model", "WQL of weeks", *map(str, ORIGINS), "WQL of 91-day totals", "80 % covers weeks / totals", "bias"]
    rows = [
        [
            TITLES.get(model, model),
            f"{found[model]['wql_week']:.3f}",
            *(f"{pooled(report, origin.isoformat())[model]['wql_week']:.3f}" for origin in report.origins),
            f"{found[model]['wql_total']:.3f}",
            f"{100 * found[model]['coverage_80_week']:.0f} / {100 * found[model]['coverage_80_total']:.0f} %",
            f"{found[model]['bias']:+.2f}",
        ]
        for model in sorted(report.models, key=lambda name: found[name]["wql_week"])
    ]
    return table(header, rows)
