"""Drift on shops whose change is known: what stays, what comes every year, and what has never been."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.as_of import as_of_view
from pipeline.lake import Lake
from pipeline.settings import QUANTILE_COLUMNS, QUANTILES, ComputeSettings, DriftSettings
from pipeline.training.drift import Measure, describe, drift_since, least_psi, measure_drift, psi, write_drift
from tests.enrichment.conftest import Shop

FIRST = date(2022, 1, 3)
TRAINED = date(2023, 6, 4)
NIGHT = TRAINED + timedelta(days=56)
SETTINGS = DriftSettings()
ITEMS = 60

Rate = Callable[[date, int], float]
"""Expected units of an item on a day."""


def usual(day: date, item: int) -> float:
    """A few units a day, a busy December, and a slow growth of a tenth a year."""
    season = 2.2 if day.month == 12 else 1.0
    return (1 + item % 7) * season * (1 + 0.1 * (day - FIRST).days / 365) * (0.6 + 0.2 * (day.weekday() % 4))


def make_shop(
    home: Path, rate: Rate = usual, price: Rate = lambda day, item: 2.0 + item, last: date = NIGHT, first: date = FIRST
) -> Lake:
    shop = Shop(Lake(home, ComputeSettings(threads=1)))
    random = np.random.default_rng(3)
    days = [first + timedelta(days=day) for day in range((last - first).days + 1)]
    shop.sell(
        [
            (f"item-{item:02d}", day, int(units), price(day, item))
            for day in days
            for item, units in enumerate(random.poisson([rate(day, item) for item in range(ITEMS)]))
            if units
        ]
    )
    shop.deliver(
        "item_sightings", [(f"item-{k:02d}", f"text {k}", "abc"[k % 3], "orders", 1, first) for k in range(ITEMS)]
    )
    return shop.lake


def measured(lake: Lake, trained: date = TRAINED, night: date = NIGHT) -> dict[str, Measure]:
    with as_of_view(lake, night, since=drift_since(trained, night, SETTINGS)) as view:
        return {one.measure: one for one in measure_drift(view, lake, SETTINGS, trained)}


def drifted(found: dict[str, Measure]) -> set[str]:
    return {name for name, one in found.items() if one.is_drift}


@pytest.fixture(scope="module")
def stable(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Two years, so that a Christmas can be set against the one before."""
    return make_shop(tmp_path_factory.mktemp("stable"), last=date(2024, 1, 28))


@pytest.mark.parametrize(
    ("trained", "night"),
    [
        (TRAINED, NIGHT),
        (TRAINED, TRAINED + timedelta(days=7)),
        (date(2023, 10, 1), date(2023, 12, 24)),
        (date(2023, 10, 1), date(2024, 1, 7)),
        (date(2023, 12, 24), date(2024, 1, 28)),
    ],
    ids=["summer", "a week after training", "before Christmas", "after Christmas", "trained in December"],
)
def test_a_stable_shop_does_not_drift_not_even_at_christmas(stable: Lake, trained: date, night: date) -> None:
    found = measured(stable, trained, night)
    assert {"psi:units", "psi:price", "psi:assortment", "share:unseen_items"} <= set(found)
    assert drifted(found) == set()
    assert found["psi:units"].value < 0.1
    assert found["psi:units"].threshold == SETTINGS.max_psi


def test_a_christmas_never_seen_before_informs_and_triggers_nothing(tmp_path: Path) -> None:
    first = date(2023, 2, 6)
    found = measured(
        make_shop(tmp_path, first=first, last=date(2023, 12, 24)), trained=date(2023, 11, 1), night=date(2023, 12, 24)
    )
    assert found["psi:units"].value > 0.05
    assert found["psi:units"].threshold is None
    assert drifted(found) == set()
    assert "ratio:units_year_ago" not in found


CHANGE = NIGHT - timedelta(days=27)


@pytest.mark.parametrize(
    ("rate", "price", "told"),
    [
        (lambda day, item: usual(day, item) * (2.2 if day >= CHANGE else 1), lambda day, item: 2.0 + item, "psi:units"),
        (usual, lambda day, item: (2.0 + item) * (1.3 if day >= CHANGE else 1), "psi:price"),
        (
            lambda day, item: usual(day, item) * ((0.15, 0.15, 2.7)[item % 3] if day >= CHANGE else 1),
            lambda day, item: 2.0 + item,
            "psi:assortment",
        ),
    ],
    ids=["demand doubles", "prices rise", "one category takes over"],
)
def test_what_has_never_been_is_drift_until_a_new_network_has_seen_it(
    tmp_path: Path, rate: Rate, price: Rate, told: str
) -> None:
    lake = make_shop(tmp_path, rate, price)
    found = measured(lake)
    assert told in drifted(found)
    assert told in describe(list(found.values()))
    assert drifted(measured(lake, trained=NIGHT)) == set()


def test_units_beside_those_of_a_year_ago(stable: Lake) -> None:
    assert measured(stable)["ratio:units_year_ago"].value == pytest.approx(1.1, abs=0.05)


def test_items_that_training_has_not_seen_are_told(tmp_path: Path) -> None:
    lake = make_shop(tmp_path, lambda day, item: 0.0 if item < 20 and day < CHANGE else usual(day, item))
    assert measured(lake)["share:unseen_items"].value == pytest.approx(1 / 3, abs=0.06)


# --- errors -----------------------------------------------------------------------------------------------------------


def forecast_of(
    lake: Lake, night: date, off: Callable[[date], float], *, version: str = "m/1", named: bool = False
) -> None:
    """What a night forecast: the usual demand times `off` of each day, as a Poisson variable; with its vintage."""
    from scipy import stats

    days = [night + timedelta(days=ahead) for ahead in range(1, 11)]
    cells = [(item, ahead, day) for item in range(ITEMS) for ahead, day in enumerate(days, start=1)]
    mean = np.array([usual(day, item) * off(day) for item, _, day in cells])
    quantiles = stats.poisson.ppf(QUANTILES, mean[:, None])
    table = pa.table(
        {
            "item_id": [f"item-{item:02d}" for item, _, _ in cells],
            "location": [""] * len(cells),
            "target_date": pa.array([day for *_, day in cells], pa.date32()),
            "horizon_days": pa.array([ahead for _, ahead, _ in cells], pa.int32()),
            "mean": mean,
            **{name: quantiles[:, k] for k, name in enumerate(QUANTILE_COLUMNS)},
            "model_version": [version] * len(cells),
            "data_snapshot": [""] * len(cells),
        }
    )
    vintage = {
        "model_version": version, "trained_as_of": TRAINED, "is_named": named, "data_snapshot": "", "series": ITEMS,
        "forecast_rows": len(cells), "total_rows": 0, "forecasts_hash": "", "totals_hash": "", "settings_hash": "",
        "device": "cpu", "threads": 1, "libraries": "{}", "made_at": datetime(2024, 1, 1), "removed_on": None, "degraded": "",
    }  # fmt: skip
    part = version.replace("/", "-")
    with lake.connect() as con:
        lake.write(con, "forecasts", {"as_of": night}, table, part=part)
        lake.write(con, "vintages", {"as_of": night}, pa.Table.from_pylist([vintage]), part=part)


def nights(first: date, last: date, every: int) -> list[date]:
    return [first + timedelta(days=day) for day in range(0, (last - first).days + 1, every)]


@pytest.mark.parametrize("every", [1, 7], ids=["each night", "each week"])
def test_errors_drift_when_forecasts_no_longer_fit_and_not_before(tmp_path: Path, every: int) -> None:
    lake = make_shop(tmp_path)
    for night in nights(TRAINED, NIGHT - timedelta(days=1), every):
        forecast_of(lake, night, lambda day: 1.0)
    good = measured(lake)
    assert (good["error:wql_ratio"].value, good["error:bias"].value) == (
        pytest.approx(1, abs=0.1),
        pytest.approx(0, abs=0.1),
    )
    assert good["error:wql_ratio"].days == 28
    assert drifted(good) == set()
    for night in nights(TRAINED + timedelta(days=28), NIGHT - timedelta(days=1), every):
        forecast_of(lake, night, lambda day: 2.5)
    bad = measured(lake)
    assert drifted(bad) == {"error:wql_ratio"}
    assert bad["error:bias"].value == pytest.approx(1.5, abs=0.1)


def test_wql_is_that_of_the_backtest(tmp_path: Path) -> None:
    from pipeline.backtesting.scores import wql

    lake = make_shop(tmp_path)
    for night in nights(NIGHT - timedelta(days=28), NIGHT - timedelta(days=1), 7):
        forecast_of(lake, night, lambda day: 0.7)
    with as_of_view(lake, NIGHT) as view:
        rows = view.con.execute(
            f"SELECT {', '.join(QUANTILE_COLUMNS)}, coalesce(units, 0) FROM ({lake.select('forecasts')}) AS f "
            "LEFT JOIN demand_daily AS d ON f.item_id = d.item_id AND d.day = f.target_date WHERE horizon_days <= 7"
        ).fetchall()
    scored = np.array(rows, dtype=float)
    assert measured(lake)["error:wql"].value == pytest.approx(wql(scored[:, -1], scored[:, :-1]))


def test_what_a_person_named_or_retention_removed_speaks_for_no_night(tmp_path: Path) -> None:
    lake = make_shop(tmp_path)
    for night in nights(NIGHT - timedelta(days=28), NIGHT - timedelta(days=1), 7):
        forecast_of(lake, night, lambda day: 1.0)
        forecast_of(lake, night, lambda day: 9.0, version="m/2", named=True)
    assert measured(lake)["error:bias"].value == pytest.approx(0, abs=0.1)


def test_too_few_scored_days_are_not_compared(tmp_path: Path) -> None:
    lake = make_shop(tmp_path)
    forecast_of(lake, NIGHT - timedelta(days=7), lambda day: 5.0)
    assert not [name for name in measured(lake) if name.startswith("error")]


# --- rows and arithmetic ----------------------------------------------------------------------------------------------


def test_the_rows_of_a_night_are_written_and_replaced(tmp_path: Path) -> None:
    lake = Lake(tmp_path, ComputeSettings(threads=1))
    assert write_drift(lake, NIGHT, "m/1", [Measure("a", 0.5, 0.25, 28), Measure("b", 0.5, None, 28)]) == 2
    write_drift(lake, NIGHT, "m/1", [Measure("a", 0.1, 0.25, 28)])
    with lake.connect() as con:
        rows = con.execute(f"SELECT measure, value, is_drift, as_of FROM ({lake.select('drift')})").fetchall()
    assert rows == [("a", 0.1, False, NIGHT)]


counts = st.lists(st.integers(0, 500), min_size=3, max_size=3).map(lambda values: np.array([*values, 1.0]))


@given(counts, counts)
def test_psi_is_a_distance(one: np.ndarray, other: np.ndarray) -> None:
    assert psi(one, one) == 0
    assert psi(one, 3 * one) == pytest.approx(0, abs=1e-12)
    assert psi(one, other) == pytest.approx(psi(other, one))
    assert psi(one, other) >= 0


def test_psi_of_a_known_case() -> None:
    assert psi(np.array([50.0, 50.0]), np.array([80.0, 20.0])) == pytest.approx(0.3 * np.log(1.6) - 0.3 * np.log(0.4))


def test_the_least_distance_is_that_of_the_most_alike_stretch() -> None:
    weeks = np.array([[90.0, 10], [90, 10], [10, 90], [50, 50], [88, 12], [92, 8], [10, 90]])
    assert least_psi(weeks, 2, range(2, 6)) == pytest.approx(psi(weeks[4:6].sum(0), weeks[:2].sum(0)))
    assert least_psi(weeks, 2, (2, 3)) > 0.1
    assert least_psi(weeks / 100, 2, range(2, 6)) is None, "a handful tells nothing"
    assert least_psi(weeks, 2, (6, 9)) is None, "not there whole"
