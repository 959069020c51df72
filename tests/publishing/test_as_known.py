"""What a night knew and said, years later: corrections, named replays, seasons, leads."""

from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.backtesting import scores
from pipeline.lake import Lake
from pipeline.publishing.publish import publish
from pipeline.publishing.query import query
from pipeline.settings import QUANTILE_COLUMNS
from tests.forecasting.fakes import some_settings
from tests.publishing.shop import HORIZON, ITEMS, NIGHT, NIGHTS, write_shop, write_vintage_of

A_DAY = sum(rate * times for _, _, rate, times in ITEMS.values())
"""Units that the shop's nights expect a day."""
MORE = 162
"""Units that a corrected delivery adds to the last day before NIGHT."""
CORRECTED = NIGHT + timedelta(days=3)


def ask(home: Path, sql: str) -> list[dict]:
    answer = query(home, sql)
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def correct(lake: Lake) -> None:
    """A corrected delivery that becomes known three days after NIGHT, about the day of NIGHT."""
    row = {"item_id": ["20"], "location": [""], "demand_day": [NIGHT], "reason": ["correction"]}
    with lake.connect() as con:
        partition = {"known_on": CORRECTED.isoformat()}
        lake.write(
            con, "demand_changes", partition, pa.table(row | {"units": [MORE], "lines": [0], "revenue": [324.0]})
        )


@pytest.fixture(scope="module")
def before_and_after(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A home published on NIGHT, and one published again after the corrected delivery."""
    lakes = [write_shop(Lake(tmp_path_factory.mktemp(name))) for name in ("before", "after")]
    for lake in lakes:
        publish(lake, some_settings(), NIGHT)
    correct(lakes[1])
    write_vintage_of(lakes[1], CORRECTED)
    publish(lakes[1], some_settings(), CORRECTED)
    return lakes[0].home, lakes[1].home


FIRST_WEEK = f"as_of = DATE '{NIGHTS[0]}' AND lead_days = '001-007'"


def test_a_correction_scores_accuracy_anew_and_the_old_reading_stays(before_and_after):
    before, after = before_and_after
    (told,) = ask(before, f"FROM forecast_accuracy WHERE {FIRST_WEEK}")
    (as_known,) = ask(after, f"FROM accuracy_as_known(DATE '{NIGHT}') WHERE {FIRST_WEEK}")
    (anew,) = ask(after, f"FROM accuracy_as_known(DATE '{CORRECTED}') WHERE {FIRST_WEEK}")
    (newest,) = ask(after, f"FROM forecast_accuracy WHERE {FIRST_WEEK}")
    assert as_known == pytest.approx(told)
    assert newest == pytest.approx(anew)
    assert anew["actual"] == told["actual"] + MORE
    assert anew["forecasts"] == told["forecasts"]
    assert anew["bias"] < told["bias"]


def test_a_correction_leaves_old_vintages_alone(before_and_after):
    old = [ask(home, f"FROM forecasts WHERE as_of <= DATE '{NIGHT}' ORDER BY ALL") for home in before_and_after]
    assert old[0] == old[1]


def test_a_correction_shows_as_a_revision(before_and_after):
    (row,) = ask(before_and_after[1], f"FROM demand_revisions WHERE known_on > DATE '{NIGHT}'")
    assert row == {
        "item_id": "20",
        "location": "",
        "day": NIGHT,
        "known_on": CORRECTED,
        "reason": "correction",
        "units": MORE,
        "lines": 0,
    }


def test_accuracy_by_lead_is_the_accuracy_of_each_day_ahead(before_and_after):
    found = ask(before_and_after[1], "FROM accuracy_by_lead")
    assert [row["lead_days"] for row in found] == list(range(1, 11))
    assert [row["nights"] for row in found] == [2] * 3 + [1] * 7
    for row in found:
        days = ask(before_and_after[1], f"FROM forecast_vs_actual WHERE horizon_days = {row['lead_days']}")
        actual = np.array([day["actual"] for day in days])
        mean = np.array([day["mean"] for day in days])
        quantiles = np.array([[day[name] for name in QUANTILE_COLUMNS] for day in days])
        assert len(days) == row["forecasts"]
        if not actual.sum():
            assert row["wape"] is None
            continue
        assert row["wape"] == pytest.approx(scores.wape(actual, mean))
        assert row["wql"] == pytest.approx(scores.wql(actual, quantiles))
        assert row["bias"] == pytest.approx(scores.bias(actual, mean))
        assert row["coverage_80"] == pytest.approx(scores.coverage(actual, quantiles, 0.8))


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which a person replayed both nights by another version, which expects twice as much."""
    lake = write_shop(Lake(tmp_path_factory.mktemp("replayed")))
    for night in NIGHTS:
        write_vintage_of(lake, night, version="lstm/9", is_named=True, made_at=datetime(2030, 1, 1), times=2)
    publish(lake, some_settings(), NIGHT)
    return lake.home


@pytest.mark.parametrize(
    "asked", ["forecast_latest", "forecast_totals_latest", f"forecast_as_of(DATE '{NIGHTS[0]}')", "forecast_weekly"]
)
def test_a_replay_with_a_named_version_never_passes_for_what_the_night_said(replayed, asked):
    assert ask(replayed, f"SELECT DISTINCT model_version FROM {asked}") == [{"model_version": "lstm/1"}]


def test_a_replay_with_a_named_version_is_published_beside_it(replayed):
    shown = ask(replayed, f"SELECT model_version, is_current FROM vintages WHERE as_of = DATE '{NIGHT}' ORDER BY 1")
    assert shown == [{"model_version": "lstm/1", "is_current": True}, {"model_version": "lstm/9", "is_current": False}]
    accuracy = ask(replayed, "SELECT model_version, is_current, bias FROM forecast_accuracy ORDER BY 1")
    assert [row["is_current"] for row in accuracy] == [True, False]
    assert accuracy[0]["bias"] < accuracy[1]["bias"]
    assert ask(replayed, "FROM forecast_stability")[0]["change"] == 0
    assert ask(replayed, "SELECT max(forecasts) AS n FROM accuracy_by_lead") == [{"n": len(ITEMS)}]


def test_a_night_that_only_a_person_made_shows_what_he_made(tmp_path):
    lake = write_shop(Lake(tmp_path))
    night = NIGHT + timedelta(days=1)
    write_vintage_of(lake, night, version="lstm/9", is_named=True)
    publish(lake, some_settings(), night)
    assert ask(tmp_path, "SELECT DISTINCT as_of, model_version FROM forecast_latest") == [
        {"as_of": night, "model_version": "lstm/9"}
    ]


def test_of_two_own_versions_of_a_night_the_newest_counts(tmp_path):
    lake = write_shop(Lake(tmp_path))
    write_vintage_of(lake, NIGHT, version="lstm/0", made_at=datetime(2030, 1, 1))
    publish(lake, some_settings(), NIGHT)
    assert ask(tmp_path, "SELECT DISTINCT model_version FROM forecast_latest") == [{"model_version": "lstm/0"}]


def season(home: Path, first: date, last: date) -> dict[date, dict]:
    return {row["as_of"]: row for row in ask(home, f"FROM season_vintages(DATE '{first}', DATE '{last}')")}


def test_a_season_that_all_nights_cover_has_what_each_expected(before_and_after):
    first, last = NIGHT + timedelta(days=5), NIGHT + timedelta(days=64)
    found = season(before_and_after[0], first, last)
    assert list(found) == list(NIGHTS)
    for row in found.values():
        assert (row["days"], row["days_covered"], row["is_exact"]) == (60, 60, False)
        assert row["expected"] == row["expected_covered"] == pytest.approx(60 * A_DAY)
        # independent Poisson days: 1.28 standard deviations to each side
        assert row["q90"] - row["expected"] == pytest.approx(1.2816 * (60 * A_DAY) ** 0.5, rel=0.1)
        assert row["expected"] - row["q10"] == pytest.approx(row["q90"] - row["expected"])
        assert row["actual"] is row["actual_covered"] is None
        assert row["sold_before"] == 0


def test_a_season_beyond_the_horizon_says_how_much_of_it_is_covered(before_and_after):
    first, last = NIGHT + timedelta(days=50), NIGHT + timedelta(days=100)
    found = season(before_and_after[0], first, last)
    for night, covered in zip(NIGHTS, (35, 42), strict=True):
        row = found[night]
        assert (row["days"], row["days_covered"]) == (51, covered)
        assert row["expected"] is row["q10"] is row["q90"] is None
        assert row["expected_covered"] == pytest.approx(covered * A_DAY)


def test_a_season_that_is_the_horizon_has_its_own_quantiles(before_and_after):
    found = season(before_and_after[0], NIGHT + timedelta(days=1), NIGHT + timedelta(days=HORIZON))
    (own,) = ask(before_and_after[0], "FROM forecast_totals_latest WHERE level = 'total-season'")
    assert found[NIGHT]["is_exact"]
    assert [found[NIGHT][name] for name in ("q10", "q50", "q90")] == [own[name] for name in ("q10", "q50", "q90")]


def test_a_season_that_has_come_stands_beside_what_came(before_and_after):
    first, last = NIGHTS[0] - timedelta(days=2), NIGHT
    (row,) = season(before_and_after[0], first, last).values()
    days = ask(
        before_and_after[0], f"SELECT day, units FROM shop_days WHERE day BETWEEN DATE '{first}' AND DATE '{last}'"
    )
    units = {day["day"]: day["units"] for day in days}
    assert len(units) == 10
    assert row["as_of"] == NIGHTS[0]
    assert row["expected"] is None
    assert row["actual"] == sum(units.values())
    assert row["actual_covered"] == sum(n for day, n in units.items() if day > NIGHTS[0])
    assert row["sold_before"] == sum(n for day, n in units.items() if day <= NIGHTS[0]) > 0


def test_a_season_that_no_night_looked_at_is_empty(before_and_after):
    assert season(before_and_after[0], date(2016, 12, 1), date(2016, 12, 24)) == {}


def test_known_then_tells_what_a_night_knew_and_by_what_it_forecast(before_and_after):
    for home in before_and_after:
        (then,) = ask(home, f"FROM known_then(DATE '{NIGHT}')")
        assert then["as_of"] == then["last_order_day"] == NIGHT
        assert then["order_days"] == 167
        assert then["units"] == 167 * sum(round(3 * rate) for _, _, rate, _ in ITEMS.values())
        assert then["lines"] == 167 * len(ITEMS)
        assert (then["model_version"], then["data_snapshot"]) == ("lstm/1", "0" * 32)
    (later,) = ask(before_and_after[1], f"FROM known_then(DATE '{CORRECTED}')")
    assert later["units"] == then["units"] + MORE
    (between,) = ask(before_and_after[1], f"FROM known_then(DATE '{NIGHT}' + 1)")
    assert between["units"] == then["units"]
    assert between["model_version"] is None


def test_known_then_names_the_champion_and_the_deliveries_of_that_night(tmp_path):
    lake = write_shop(Lake(tmp_path))
    decision = {"challenger": ["lstm/1"], "champion": [""], "promoted": [True], "reason": ["the first"]}
    empty = {
        "first_day": pa.nulls(1, pa.date32()),
        "last_day": pa.nulls(1, pa.date32()),
        "series": pa.nulls(1, pa.int64()),
        **{
            name: pa.nulls(1, pa.float64())
            for name in ("challenger_wql", "champion_wql", "change_low", "change_high", "challenger_bias")
        },
        **{name: pa.nulls(1, pa.float64()) for name in ("champion_bias", "forgetting")},
    }
    empty |= {"origins": [0], "made_at": pa.array([datetime(2020, 1, 1)], pa.timestamp("us"))}
    first, rejected = (
        decision | {"rule": ["first"]},
        {"challenger": ["lstm/2"], "promoted": [False], "rule": ["renewal"]},
    )
    with lake.connect() as con:
        for night, row in zip(NIGHTS, (first, decision | rejected), strict=True):
            lake.write(con, "champion_decisions", {"as_of": night.isoformat()}, pa.table(empty | row))
    publish(lake, some_settings(), NIGHT)
    asked = [ask(tmp_path, f"FROM known_then(DATE '{night}')")[0]["champion"] for night in (NIGHTS[0], NIGHT)]
    assert asked == ["lstm/1", "lstm/1"]
    assert ask(tmp_path, f"FROM known_then(DATE '{NIGHTS[0]}' - 1)")[0]["champion"] is None

    # of two decisions of one night the later one counts: a person has had enough of what was promoted
    second = {"challenger": ["lstm/2"], "made_at": pa.array([datetime(2020, 1, 3)], pa.timestamp("us"))}
    back = {"rule": ["rollback"], "made_at": pa.array([datetime(2020, 1, 4)], pa.timestamp("us"))}
    with lake.connect() as con:
        for part, row in (("part", first | second), ("rollback", first | back)):
            lake.write(con, "champion_decisions", {"as_of": NIGHT.isoformat()}, pa.table(empty | row), part)
    publish(lake, some_settings(), NIGHT)
    assert ask(tmp_path, f"FROM known_then(DATE '{NIGHT}')")[0]["champion"] == "lstm/1"
