"""Days and sums of 28 days after four origins of Online Retail II, beside everything that has to be beaten."""

from dataclasses import dataclass
from datetime import date

from pipeline.backtesting.backtest import BacktestReport, run_backtest
from pipeline.examples.homes import ONLINE_RETAIL_NIGHT
from pipeline.lake import Lake
from pipeline.models.base import Compute
from pipeline.settings import Settings
from tests.benchmarks.accuracy.rivals import HORIZON, library_croston, straight_totals
from tests.benchmarks.accuracy.scores import TITLES, Bar, below_the_best, pooled, slice_rows, table
from tests.benchmarks.accuracy.shop import changed, tell

ORIGINS = (date(2010, 11, 7), date(2011, 5, 8), date(2011, 6, 12), date(2011, 7, 31))
STATISTICAL = ("auto_ets", "dynamic_theta", "croston")
LEARNED = ("lightgbm", "quantile_mlp")
OTHERS = ("lstm", "mlp", "transformer", "seasonal_naive", "seasonal_naive_year")
NOVEMBER = ORIGINS[0]


@dataclass(frozen=True)
class Beside:
    """Rivals that are no forecasters of the house, over the same items and origins.

    Attributes:
        straight_totals: WQL of 28-day totals by LightGBM straight on totals.
        library_croston: WQL of days by Croston's method as statsforecast gives it.
    """

    straight_totals: float
    library_croston: float


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
        models=(*STATISTICAL, *LEARNED, *OTHERS),
    )


def beside(lake: Lake, settings: Settings, compute: Compute, seconds: float) -> Beside:
    """Measure the rivals that are no forecasters of the house.

    Args:
        lake: the home's lake.
        settings: its settings.
        compute: what they may use of the machine.
        seconds: budget of LightGBM straight on totals, at each origin.
    """
    return Beside(
        straight_totals(lake, settings, compute, origins=ORIGINS, seconds=seconds),
        library_croston(lake, settings, origins=ORIGINS),
    )


def bars(report: BacktestReport, rivals_beside: Beside) -> list[Bar]:
    """What the measure asks of days and of sums of 28 days."""
    model = report.models[0]
    of_all = pooled(report)
    mine = of_all[model]
    straight, croston = rivals_beside.straight_totals, rivals_beside.library_croston
    best = min(croston, *(of_all[name]["wql"] for name in STATISTICAL[:2]))
    told = f"{mine['wql']:.4f} against {best:.4f}, {100 * (1 - mine['wql'] / best):.1f} % (its Croston: {croston:.4f})"
    found = [Bar("days, WQL 20 % below the best statistical rival of statsforecast", told, mine["wql"] <= 0.8 * best)]
    for rivals, least, whom in (
        (STATISTICAL, 0.20, "statistical rival, our Croston among them"),
        (LEARNED, 0.0, "learned rival"),
    ):
        best, gain, low, high = below_the_best(report, rivals)
        told = f"{100 * gain:.1f} % [{100 * low:.1f}, {100 * high:.1f}] below {TITLES[best]}"
        wanted = f"days, WQL {f'{100 * least:.0f} % ' if least else ''}below the best {whom}"
        found.append(Bar(wanted, told, gain >= least and low > 0))
    gain = 1 - mine["wql_total"] / straight
    told = f"{mine['wql_total']:.4f} against {straight:.4f}, {100 * gain:.1f} %"
    found.append(Bar("28-day totals, WQL 3 % below LightGBM straight on totals", told, gain >= 0.03))
    for level, name in (("week", "weeks"), ("total", "28-day totals")):
        share = mine[f"coverage_80_{level}"]
        found.append(Bar(f"80 % intervals of {name} cover 76 to 84 %", f"{100 * share:.1f} %", 0.76 <= share <= 0.84))
        of_slices = slice_rows(report.scores, model, f"coverage_80_{level}", least=200)
        off = {name: one for name, (one, _) in of_slices.items() if not 0.75 <= one <= 0.85}
        told = ", ".join(f"{name} {100 * one:.0f} %" for name, one in off.items()) or f"all {len(of_slices)} do"
        found.append(Bar(f"… in every slice of {name} with 200 forecasts 75 to 85 %", told, not off))
    biases = {origin: pooled(report, origin.isoformat())[model]["bias"] for origin in ORIGINS if origin != NOVEMBER}
    told = ", ".join(f"{origin}: {100 * one:+.1f} %" for origin, one in biases.items())
    found.append(Bar("bias within 8 % at each origin of 2011", told, all(abs(one) <= 0.08 for one in biases.values())))
    deciles = [mine[f"pit_{k:02d}"] for k in range(1, 11)]
    worst = max(abs(share - 0.1) for share in deciles)
    told = " ".join(f"{100 * share:.1f}" for share in deciles)
    found.append(Bar("randomised PIT of days, no decile off by more than 2 points", told, worst <= 0.02))
    return found


def markdown(report: BacktestReport) -> str:
    """The table of the README."""
    found = pooled(report)
    by_origin = [pooled(report, origin.isoformat()) for origin in report.origins]
    header = [
        "model", "WQL of days", *(str(origin) for origin in report.origins), "28-day totals: WQL", "WAPE",
        "80 % covers weeks / totals", "bias", "s", "MB",
    ]  # fmt: skip
    rows = []
    for model in sorted(report.models, key=lambda name: found[name]["wql"]):
        of = found[model]
        rows.append(
            [
                TITLES.get(model, model),
                f"{of['wql']:.4f} [{of['wql_low']:.3f}, {of['wql_high']:.3f}]",
                *(f"{scores[model]['wql']:.3f}" for scores in by_origin),
                f"{of['wql_total']:.3f}",
                f"{of['wape_total']:.3f}",
                f"{100 * of['coverage_80_week']:.0f} / {100 * of['coverage_80_total']:.0f} %",
                f"{of['bias']:+.2f}",
                f"{of['seconds']:.0f}",
                f"{of['peak_mb']:.0f}" if "peak_mb" in of else "",
            ]
        )
    return table(header, rows)
