"""An item sells an unmistakable code after the origin of a backtest: no forecaster's score of it is better for that.

The same shop is backtested with one code and with another. Whoever read the future forecasts the code that came; whoever
did not forecasts the same both times, so that its score of a code is the same whether that code came or the other one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.as_of import as_of_view
from pipeline.backtesting.backtest import run_backtest
from pipeline.backtesting.origin_forecasts import Maker
from pipeline.backtesting.scores import wql
from pipeline.lake import Lake
from pipeline.models.base import Compute, Dependence, Forecast, TrainingReport, silent
from pipeline.models.panel import Panel
from pipeline.models.registry import MODEL
from pipeline.settings import QUANTILE_COLUMNS, QUANTILES, Settings
from pipeline.training.panel import build_panel
from tests.canaries.nights import FROM_FACTS
from tests.canaries.shops import HORIZON, a_day, random_shop, seen, small_settings, sold, write

ORIGIN = 80
PLANTED = "planted"
Scores = Mapping[str, tuple[float, float]]
"""By model: WQL of one code where it came, and of the same code by the forecasts made where the other came."""


def code_settings() -> Settings:
    """A backtest of one origin that scores every item with every registered forecaster."""
    small = small_settings(backtest={"on": [a_day(ORIGIN)], "horizon_days": HORIZON, "min_sale_days": 1})
    every = tuple(name for name in FROM_FACTS if name != MODEL)
    # a forecaster that is registered later is judged here too, whatever the settings allow by then
    return small.model_copy(update={"backtest": small.backtest.model_copy(update={"baselines": every})})


def coded_shop(lake: Lake, code: list[int]) -> Lake:
    """A shop with an item that sells a few units each day, and from the origin on `1000 + 900 × bit`."""
    facts = random_shop(5)
    units = [3 + day % 2 for day in range(ORIGIN + 1)] + [1000 + 900 * bit for bit in code]
    facts["demand_changes"] += [sold(PLANTED, day, sold_, day) for day, sold_ in enumerate(units)]
    facts["item_sightings"].append(seen(PLANTED, "a planted item", 0))
    return write(lake, facts)


def backtested(lake: Lake, make: Maker | None = None) -> dict[str, tuple[Any, Any]]:
    """By model: what came of the planted item (H,), and its quantiles (H, Q)."""
    run_backtest(
        lake,
        code_settings(),
        a_day(ORIGIN + HORIZON),
        compute=Compute(threads=1),
        workdir=lake.home / "work",
        make=make,
    )
    with lake.connect() as con:
        rows = con.execute(
            f"SELECT model, list(actual ORDER BY horizon_days), list([{', '.join(QUANTILE_COLUMNS)}] ORDER BY horizon_days) "
            f"FROM ({lake.select('backtest_forecasts')}) WHERE item_id = $1 GROUP BY model",
            [PLANTED],
        ).fetchall()
    return {model: (np.array(actual), np.array(quantiles)) for model, actual, quantiles in rows}


def scored(one: list[int], other: list[int], make: Any = None) -> Scores:
    """Backtest the shop with each of two codes; `make` is given the lake."""
    with TemporaryDirectory() as folder:
        answers = []
        for name, code in (("one", one), ("other", other)):
            lake = coded_shop(Lake(Path(folder) / name, code_settings().compute), code)
            answers.append(backtested(lake, make and make(lake)))
    came = {model: actual for model, (actual, _) in answers[0].items()}
    return {
        model: (wql(came[model], answers[0][model][1]), wql(came[model], answers[1][model][1])) for model in answers[0]
    }


def has_read_the_code(scores: Scores) -> list[str]:
    """Models whose score of a code is better where the code came, or that came near it at all."""
    return sorted(model for model, (with_code, without) in scores.items() if with_code < without or with_code < 0.5)


bits = st.lists(st.integers(0, 1), min_size=HORIZON, max_size=HORIZON)


@settings(max_examples=2, deadline=None)
@given(code=bits)
def test_no_registered_forecaster_scores_better_for_a_code_in_the_future(code: list[int]) -> None:
    scores = scored(code, [1 - bit for bit in code])
    assert set(scores) == set(FROM_FACTS)
    assert has_read_the_code(scores) == []
    assert all(with_code == without for with_code, without in scores.values())


@dataclass(frozen=True)
class Oracle:
    """Forecasts what comes: reads the view of a later night, as a leak would."""

    lake: Lake
    name: str = "oracle"
    dependence: Dependence = field(default_factory=Dependence)
    report: TrainingReport = field(default_factory=TrainingReport)
    validated: None = None
    lookback_days: int = 730

    def fit(self, panel: Panel, **unused: Any) -> "Oracle":
        return self

    def forecast(self, panel: Panel, horizon: int, *, grid: bool = False, progress: Any = silent) -> Forecast:
        series = list(zip(panel.item_id.tolist(), panel.location.tolist(), strict=True))
        with as_of_view(self.lake, a_day(ORIGIN + HORIZON)) as view:
            later = build_panel(view, code_settings(), horizon=horizon, series=series, home=self.lake.home)
        units = later.units[:, -horizon:].astype(np.float64)
        return Forecast(mean=units, quantiles=np.repeat(units[:, :, None], len(QUANTILES), axis=2))


@pytest.mark.parametrize("peeks", [MODEL, "seasonal_naive"])
def test_a_forecaster_that_peeks_is_caught(peeks: str) -> None:
    from pipeline.models import registry

    def make(lake: Lake) -> Maker:
        return lambda name, given, home: Oracle(lake) if name == peeks else registry.make(name, given, home)

    code = [0, 1] * (HORIZON // 2)
    assert has_read_the_code(scored(code, [1 - bit for bit in code], make)) == [peeks]
