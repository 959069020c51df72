from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.as_of import as_of_view
from pipeline.errors import HistoryError, ModelError
from pipeline.forecasting import nightly
from pipeline.forecasting.nightly import ForecastReport, make_forecasts
from pipeline.lake import Lake
from pipeline.models.base import Dependence, Forecast
from pipeline.settings import QUANTILE_COLUMNS, QUANTILES
from tests.forecasting.fakes import AS_OF, GammaForecaster, make_panel, some_settings, write_demand

CATEGORY = {"apple": "fruit", "pear": "fruit", "plum": "fruit", "nail": "tools", "saw": "tools", "年糕": "食品"}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path)
    sales = [(item, "", AS_OF - timedelta(days=7 * n), 3 + n) for n, item in enumerate(CATEGORY)]
    write_demand(lake, [*sales, ("forgotten", "", AS_OF - timedelta(days=365), 5)])
    return lake


@pytest.fixture
def gamma() -> GammaForecaster:
    return GammaForecaster(dependence=Dependence(item=0.15, market=0.05))


@pytest.fixture(autouse=True)
def panels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Panels without arrays: the fake forecaster reads names only."""

    def fake(_: Any, __: Any, series: list[tuple[str, str]], *___: Any, **____: Any) -> Iterator[Any]:
        for start in range(0, len(series), nightly.SLICE):
            rows = series[start : start + nightly.SLICE]
            yield make_panel(
                [item for item, _ in rows],
                locations=[place for _, place in rows],
                categories=[CATEGORY[item] for item, _ in rows],
            )

    monkeypatch.setattr(nightly, "_panels", fake)


def run(lake: Lake, fitted: Any, **shop: Any) -> ForecastReport:
    settings = some_settings(**shop)
    with as_of_view(lake, AS_OF, by_location=settings.shop.by_location) as view:
        return make_forecasts(view, lake, settings, fitted, "gamma/1")


def rows(lake: Lake, sql: str) -> list[tuple[Any, ...]]:
    with lake.connect() as con:
        lake.attach(con, "forecasts", "forecast_totals")
        return con.execute(sql).fetchall()


def stored_bytes(lake: Lake) -> list[bytes]:
    found = sorted([*lake.folder("forecasts").rglob("*.parquet"), *lake.folder("forecast_totals").rglob("*.parquet")])
    assert [path.name for path in found] == ["gamma%2F1.parquet"] * 2
    return [path.read_bytes() for path in found]


def test_every_item_sold_within_the_year_is_forecast_for_every_day_of_the_horizon(lake, gamma):
    report = run(lake, gamma)
    found = rows(
        lake,
        "SELECT item_id, count(*), min(target_date), max(target_date), max(horizon_days) FROM forecasts GROUP BY 1",
    )
    last = AS_OF + timedelta(days=91)
    assert sorted(found) == [(item, 91, AS_OF + timedelta(days=1), last, 91) for item in sorted(CATEGORY)]
    assert (report.series, report.rows, report.last_day) == (6, 6 * 91, last)
    assert report.total_rows == rows(lake, "SELECT count(*) FROM forecast_totals")[0][0]
    stamped = rows(lake, "SELECT DISTINCT as_of, model_version, length(data_snapshot) FROM forecasts")
    assert stamped == [(AS_OF, "gamma/1", 32)]


@pytest.mark.parametrize("table", ["forecasts", "forecast_totals"])
def test_the_contract_holds_in_what_is_stored(lake, gamma, table):
    run(lake, gamma)
    crossing = " OR ".join(f"{a} > {b}" for a, b in pairwise(QUANTILE_COLUMNS))
    odd = " OR ".join(f"{q} IS NULL OR {q} < 0 OR {q} <> round({q})" for q in QUANTILE_COLUMNS)
    bad = f"SELECT * FROM {table} WHERE {crossing} OR {odd} OR mean IS NULL OR mean < 0 OR NOT isfinite(mean)"
    assert rows(lake, bad) == []
    key = {"forecasts": "item_id, target_date", "forecast_totals": "level, id, location, period_start"}[table]
    assert rows(lake, f"SELECT {key} FROM {table} GROUP BY ALL HAVING count(*) > 1") == []


def test_means_of_sums_are_the_sums_of_the_means_at_every_level(lake, gamma):
    run(lake, gamma)
    whole = rows(lake, "SELECT sum(mean) FROM forecasts")[0][0]
    by_level = rows(lake, "SELECT level, sum(mean) FROM forecast_totals GROUP BY level ORDER BY level")
    assert [level for level, _ in by_level] == sorted(
        [f"{what}-{kind}" for what in ("category", "total") for kind in ("day", "week", "month", "season")]
        + [f"item-{kind}" for kind in ("week", "month", "season")]
    )
    for level, total in by_level:
        assert total == pytest.approx(whole, rel=1e-12), level
    december = rows(
        lake,
        """
        SELECT t.mean, (SELECT sum(mean) FROM forecasts f WHERE f.item_id = t.id AND month(target_date) = 12)
        FROM forecast_totals t WHERE level = 'item-month' AND period_start = DATE '2017-12-01'
        """,
    )
    assert len(december) == 6
    assert all(mean == pytest.approx(days, rel=1e-12) for mean, days in december)


def test_sums_lie_between_independent_days_and_days_in_step(lake, gamma):
    """For the season ahead of a well-sold item: wider than the root of summed squares, narrower than summed widths."""
    gamma = replace(gamma, rates={"apple": 20.0})
    run(lake, gamma)
    ((in_step, independent),) = rows(
        lake, "SELECT sum(q90 - q10), sqrt(sum((q90 - q10) ** 2)) FROM forecasts WHERE item_id = 'apple'"
    )
    ((width,),) = rows(lake, "SELECT q90 - q10 FROM forecast_totals WHERE level = 'item-season' AND id = 'apple'")
    assert independent * 1.5 < width < in_step * 0.8


def test_the_same_night_gives_the_same_bytes_whatever_the_slices(lake, gamma, monkeypatch):
    run(lake, gamma)
    first = stored_bytes(lake)
    content = rows(lake, "FROM forecasts"), rows(lake, "FROM forecast_totals")
    run(lake, gamma)
    assert stored_bytes(lake) == first
    monkeypatch.setattr(nightly, "SLICE", 2)
    run(lake, gamma)
    assert (rows(lake, "FROM forecasts"), rows(lake, "FROM forecast_totals")) == content


def test_sales_that_became_known_later_change_no_byte(lake, gamma):
    run(lake, gamma)
    first = stored_bytes(lake)
    write_demand(lake, [("saw", "", AS_OF + timedelta(days=1), 5000), ("new", "", AS_OF + timedelta(days=2), 1)])
    run(lake, gamma)
    assert stored_bytes(lake) == first


def test_by_location_each_place_is_forecast_and_summed(tmp_path, gamma):
    lake = Lake(tmp_path)
    write_demand(lake, [(item, place, AS_OF, 2) for item in ("apple", "saw") for place in ("north", "south")])
    run(lake, gamma, by_location=True)
    assert rows(lake, "SELECT DISTINCT item_id, location FROM forecasts ORDER BY ALL") == [
        ("apple", "north"),
        ("apple", "south"),
        ("saw", "north"),
        ("saw", "south"),
    ]
    places = rows(lake, "SELECT id, location, mean FROM forecast_totals WHERE level = 'location-season' ORDER BY 2")
    assert [(item, place) for item, place, _ in places] == [("", "north"), ("", "south")]
    ((whole,),) = rows(lake, "SELECT mean FROM forecast_totals WHERE level = 'total-season'")
    assert sum(mean for _, _, mean in places) == pytest.approx(whole)
    drawn = rows(lake, "SELECT q50 FROM forecast_totals WHERE level = 'item-week' AND id = 'saw' ORDER BY location")
    assert len(drawn) == 26


def test_large_sums_lie_around_their_mean_even_when_mean_and_quantiles_disagree(lake, gamma):
    class Biased(GammaForecaster):
        def forecast(self, *args: Any, **kwargs: Any) -> Forecast:
            answer = super().forecast(*args, **kwargs)
            return replace(answer, mean=answer.mean * 0.8)

    run(lake, Biased(dependence=gamma.dependence, rates=dict.fromkeys(CATEGORY, 20.0)))
    outside = rows(
        lake, "SELECT level, id, q10, mean, q90 FROM forecast_totals WHERE level LIKE '%-season' AND id NOT IN "
        f"({', '.join(repr(item) for item in CATEGORY)}) AND NOT mean BETWEEN q10 AND q90",
    )  # fmt: skip
    assert outside == []


def test_a_forecaster_without_a_grid_is_drawn_from_its_quantiles(lake, gamma):
    run(lake, replace(gamma, with_grid=False))
    ((low, mean, high),) = rows(lake, "SELECT q10, mean, q90 FROM forecast_totals WHERE level = 'total-season'")
    assert low < mean < high


def test_crossing_or_fractional_quantiles_are_put_in_order(lake, gamma):
    class Untidy(GammaForecaster):
        def forecast(self, *args: Any, **kwargs: Any) -> Forecast:
            answer = super().forecast(*args, **kwargs)
            return replace(answer, quantiles=answer.quantiles[:, :, ::-1] * 1.3 - 0.4, grid=answer.grid[:, :, ::-1])

    run(lake, Untidy())
    bad = "SELECT * FROM {} WHERE q05 > q10 OR q10 > q50 OR q50 > q95 OR q05 < 0 OR q50 <> round(q50)"
    assert rows(lake, bad.format("forecasts")) == []
    assert rows(lake, bad.format("forecast_totals")) == []


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        pytest.param({"mean": np.full((6, 91), np.nan)}, "mean not finite for item 'apple'", id="mean"),
        pytest.param(
            {"quantiles": np.full((6, 91, 11), np.inf)}, "quantiles not finite for item 'apple'", id="quantiles"
        ),
        pytest.param({"mean": np.zeros((6, 90))}, r"shapes \(6, 90\)", id="shape"),
    ],
)
def test_a_broken_forecast_is_refused_and_what_stood_before_still_stands(lake, gamma, broken, named):
    run(lake, gamma)
    before = stored_bytes(lake)

    class Broken(GammaForecaster):
        def forecast(self, *args: Any, **kwargs: Any) -> Forecast:
            return replace(super().forecast(*args, **kwargs), **broken)

    with pytest.raises(ModelError, match=named):
        run(lake, Broken())
    assert stored_bytes(lake) == before
    assert not list((lake.root / ".scratch").iterdir())


def test_a_night_long_after_the_last_sale_says_what_to_do(tmp_path, gamma):
    lake = Lake(tmp_path)
    write_demand(lake, [("apple", "", date(2015, 1, 1), 2)])
    with pytest.raises(HistoryError, match=r"nothing was sold within the 365 days .* forecast\.active_days"):
        run(lake, gamma)


def test_totals_quantiles_are_at_the_contracts_levels(lake, gamma):
    """Two thousand paths of one item's day must give back the day's own quantiles."""
    from pipeline.forecasting.totals import path_quantiles
    from pipeline.models.paths import Paths

    panel = make_panel(["apple"])
    answer = replace(gamma, rates={"apple": 25.0}).forecast(panel, 91, grid=True)
    paths = Paths(AS_OF, "gamma/1", gamma.dependence, answer.grid_levels, 91, 2000)
    grid = answer.grid.astype(np.float32)
    units = paths.draw("apple", "", grid[0], paths.tail(grid, answer.mean)[0][0])
    got = path_quantiles(units.astype(np.int64))
    assert got.shape == (91, len(QUANTILES))
    assert np.abs(got / np.maximum(answer.quantiles[0], 1) - 1).mean() < 0.05
