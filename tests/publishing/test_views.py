"""What analysts ask, on a shop whose answers are known."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from pipeline.backtesting import scores
from pipeline.lake import Lake
from pipeline.publishing.publish import publish
from pipeline.publishing.query import query
from pipeline.settings import QUANTILE_COLUMNS, QUANTILES
from tests.forecasting.fakes import some_settings
from tests.publishing.shop import HORIZON, ITEMS, NIGHT, NIGHTS, distribution, write_shop, write_vintage_of


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = write_shop(Lake(tmp_path_factory.mktemp("views")))
    publish(lake, some_settings(), NIGHT)
    return lake.home


def ask(home: Path, sql: str) -> list[dict]:
    answer = query(home, sql)
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def test_forecast_latest_is_the_newest_night_with_texts(home):
    found = ask(home, "FROM forecast_latest")
    assert len(found) == len(ITEMS) * HORIZON
    assert {row["as_of"] for row in found} == {NIGHT}
    assert {(row["item_id"], row["item_text"]) for row in found} == {(i, text) for i, (text, *_) in ITEMS.items()}


@pytest.mark.parametrize(
    ("asked", "answered"),
    [(NIGHT, NIGHT), (NIGHT + timedelta(days=9), NIGHT), (NIGHT - timedelta(days=1), NIGHTS[0])],
    ids=["the night itself", "a later day", "between two nights"],
)
def test_forecast_as_of_is_what_was_thought_then(home, asked, answered):
    found = ask(home, f"SELECT DISTINCT as_of FROM forecast_as_of(DATE '{asked}')")
    assert found == [{"as_of": answered}]


def test_forecast_as_of_before_any_night_is_empty(home):
    assert ask(home, f"FROM forecast_as_of('{NIGHTS[0] - timedelta(days=1)}')") == []


def test_forecast_weekly_has_thirteen_weeks_of_each_item(home):
    found = ask(home, "SELECT item_id, count(*) AS n, min(week_start) AS first FROM forecast_weekly GROUP BY ALL")
    assert {(row["n"], row["first"]) for row in found} == {(13, NIGHT + timedelta(days=1))}


def test_forecast_vs_actual_fills_days_without_sales_with_zero(home):
    found = ask(home, "FROM forecast_vs_actual ORDER BY item_id, target_date")
    assert len(found) == len(ITEMS) * 7
    assert {row["as_of"] for row in found} == {NIGHTS[0]}
    # items sell every third day up to the night, three days' worth at once
    candle = [row["actual"] for row in found if row["item_id"] == "10"]
    assert candle == [9, 0, 0, 9, 0, 0, 9][::-1]
    assert all(row["error"] == row["mean"] - row["actual"] for row in found)


def test_forecast_accuracy_agrees_with_the_definitions(home):
    (accuracy,) = ask(home, "FROM forecast_accuracy")
    days = ask(home, "FROM forecast_vs_actual")
    actual = sum(row["actual"] for row in days)
    pinball = 0.0
    for row in days:
        levels = distribution(row["mean"])
        for level in QUANTILES[1:-1]:
            short = row["actual"] - levels[f"q{round(level * 100):02d}"]
            pinball += max(level * short, (level - 1) * short)
    assert accuracy["lead_days"] == "001-007"
    assert accuracy["forecasts"] == len(days)
    assert accuracy["wape"] == pytest.approx(sum(abs(row["error"]) for row in days) / actual)
    assert accuracy["bias"] == pytest.approx(sum(row["error"] for row in days) / actual)
    assert accuracy["wql"] == pytest.approx(2 * pinball / 9 / actual)
    assert accuracy["coverage_90"] == pytest.approx(
        sum(row["q05"] <= row["actual"] <= row["q95"] for row in days) / len(days)
    )


def test_forecast_accuracy_has_the_wql_and_wape_of_the_backtest(tmp_path):
    """One definition in SQL and one in Python: an analyst's number and the backtest's are the same number."""
    lake = write_shop(Lake(tmp_path))
    early = NIGHT - timedelta(days=70)
    write_vintage_of(lake, early)
    publish(lake, some_settings(), NIGHT)
    accuracy = ask(tmp_path, f"FROM forecast_accuracy WHERE as_of = DATE '{early}'")
    assert {row["lead_days"] for row in accuracy} == {"001-007", "008-028", "029-056", "057-"}
    for row in accuracy:
        first, _, last = row["lead_days"].partition("-")
        days = ask(
            tmp_path,
            f"FROM forecast_vs_actual WHERE as_of = DATE '{early}' "
            f"AND horizon_days BETWEEN {int(first)} AND {int(last or HORIZON)}",
        )
        actual = np.array([day["actual"] for day in days], dtype=np.float64)
        quantiles = np.array([[day[name] for name in QUANTILE_COLUMNS] for day in days])
        mean = np.array([day["mean"] for day in days])
        assert len(days) == row["forecasts"] > 0
        assert row["wql"] == pytest.approx(scores.wql(actual, quantiles), rel=1e-12)
        assert row["wape"] == pytest.approx(scores.wape(actual, mean), rel=1e-12)
        assert row["bias"] == pytest.approx(scores.bias(actual, mean), rel=1e-12)
        assert row["coverage_90"] == pytest.approx(scores.coverage(actual, quantiles, 0.9), rel=1e-12)


def test_forecast_stability_of_an_unchanged_mind_is_zero(home):
    assert ask(home, "FROM forecast_stability") == [
        {"as_of": NIGHT, "as_of_before": NIGHTS[0], "forecasts": len(ITEMS) * (HORIZON - 7), "change": 0.0}
    ]


def test_rising_items_finds_what_the_season_lifts(home):
    first, last = NIGHT + timedelta(days=5), NIGHT + timedelta(days=28)
    found = ask(home, f"FROM rising_items(DATE '{first}', DATE '{last}')")
    assert [row["item_id"] for row in found] == ["10", "11", "x904631", "20"]
    sure = {row["item_id"]: row["probability_of_rise"] for row in found}
    assert sure["10"] > 0.99
    assert 0.3 < sure["x904631"] < 0.7
    assert sure["20"] < 0.01
    candle = found[0]
    assert candle["units_expected"] == pytest.approx(24 * 12.0)
    # 19 sales of 9 units lie in the 56 days up to the night
    assert candle["units_before"] == pytest.approx(19 * 9 / 56 * 24)
    assert candle["units_last_year"] == 8 * 9
    # independent Poisson days: an 80 % interval is 1.28 standard deviations to each side
    assert candle["units_high"] - candle["units_expected"] == pytest.approx(1.2816 * (24 * 12) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("x", "share"),
    [(-1, 0.0), (3.99, 0.05), (4, 0.05), (5.5, 0.15), (7, 0.5), (7.5, 0.55), (11.5, 0.925), (12, 0.955), (40, 1.0)],
)
def test_the_share_below_is_read_off_the_quantiles_and_of_equal_ones_the_last_counts(home, x, share):
    quantiles = "[4, 5, 6, 7, 7, 7, 8, 9, 10, 11, 12]"
    (row,) = ask(home, f"SELECT share_at_most({x}, {quantiles}, 7.5, 2.5) AS share")
    assert row["share"] == pytest.approx(share, abs=0.005)


def test_rising_items_is_cut_to_the_horizon_and_knows_no_year_before_the_first_order(home):
    (row,) = ask(home, "FROM rising_items('2000-01-01', '2099-01-01') WHERE item_id = '11'")
    assert row["units_expected"] == pytest.approx(6.0 * HORIZON)
    assert row["units_last_year"] is not None
    early = write_shop(Lake(home / "early"), history_days=200)
    publish(early, some_settings(), NIGHT)
    (row,) = ask(early.home, "FROM rising_items('2000-01-01', '2099-01-01') WHERE item_id = '11'")
    assert row["units_last_year"] is None
