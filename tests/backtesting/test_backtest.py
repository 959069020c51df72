"""The backtest of a night on a real lake: point in time, aligned, whole, and repeatable."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from pipeline.backtesting.backtest import BacktestReport, run_backtest
from pipeline.backtesting.plots import plot_wql_by_horizon
from pipeline.enrichment.calendar import build_calendar
from pipeline.errors import HistoryError
from pipeline.lake import Lake
from pipeline.models.base import Compute, Dependence, Forecast, TrainingReport, silent
from pipeline.models.controls import CONTROLS
from pipeline.models.panel import Panel
from pipeline.models.quantiles import whole_units
from pipeline.models.registry import MODEL
from pipeline.models.seasonal_naive import SeasonalNaive
from pipeline.settings import QUANTILE_COLUMNS, QUANTILES, Settings
from pipeline.tables import TABLES
from tests.forecasting.fakes import some_settings, write_demand

NIGHT = date(2017, 11, 26)
FIRST = NIGHT - timedelta(days=139)
ITEMS = {"pen": 12, "ink": 5, "quill": 1}


@dataclass(frozen=True)
class DayNumber:
    """Stands in for the network: forecasts the day's number since 2017, and notes what it was shown."""

    name: str = "ensemble"
    dependence: Dependence = field(default_factory=Dependence)
    report: TrainingReport = field(default_factory=TrainingReport)
    seen: list[Panel] = field(default_factory=list)

    def fit(self, panel: Panel, *, folder: Path, compute: Compute, progress: Any = silent) -> "DayNumber":
        self.seen.append(panel)
        folder.mkdir(parents=True)
        (folder / "checkpoint").write_text("training under way")
        progress("steps", 1, 1)
        return self

    def forecast(self, panel: Panel, horizon: int, *, grid: bool = False, progress: Any = silent) -> Forecast:
        first = (panel.as_of - date(2017, 1, 1)).days + 1
        mean = np.tile(first + np.arange(horizon, dtype=float), (panel.series, 1))
        spread = np.linspace(-5, 5, len(QUANTILES))
        return Forecast(mean=mean, quantiles=whole_units(mean[:, :, None] + spread), fallbacks=1)

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        return {}


def maker(model: Any) -> Callable[[str, Settings], Any]:
    return lambda name, *_: model if name == MODEL else SeasonalNaive()


def settings_with(**backtest: Any) -> Settings:
    content = some_settings().model_dump()
    content["backtest"] |= {"origins": 2, "min_sale_days": 20, "baselines": ("seasonal_naive",)} | backtest
    return Settings.model_validate(content)


def units_of(item: str, day: date) -> int:
    """Demand with a week in it; the quill is sold on Mondays only."""
    if item == "quill" and day.weekday():
        return 0
    return ITEMS[item] + 3 * day.weekday()


def sales(items: Any = ITEMS) -> list[tuple[str, str, date, int]]:
    days = [FIRST + timedelta(days=n) for n in range(140)]
    return [(item, "", day, units) for day in days for item in items if (units := units_of(item, day))]


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lake(tmp_path_factory.mktemp("untouched"), sales()).home


@pytest.fixture
def lake(untouched: Path, tmp_path: Path) -> Lake:
    return Lake(Path(shutil.copytree(untouched, tmp_path / "home")))


def make_lake(home: Path, rows: list[tuple[str, str, date, int]]) -> Lake:
    lake = Lake(home)
    write_demand(lake, rows)
    build_calendar(lake, some_settings(), FIRST, NIGHT)
    return lake


def run(
    lake: Lake, tmp_path: Path, settings: Settings | None = None, model: Any = None, **options: Any
) -> BacktestReport:
    return run_backtest(
        lake,
        settings or settings_with(),
        options.pop("as_of", NIGHT),
        compute=Compute(threads=1),
        workdir=tmp_path / "work",
        make=maker(model or DayNumber()),
        **options,
    )


@pytest.fixture(scope="module")
def plain(untouched: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, BacktestReport]:
    """The default backtest, for tests that only read it."""
    folder = tmp_path_factory.mktemp("plain")
    lake = Lake(Path(shutil.copytree(untouched, folder / "home")))
    return lake, run(lake, folder)


def table(lake: Lake, name: str) -> pd.DataFrame:
    with lake.connect() as con:
        return con.sql(f"SELECT * FROM ({lake.select(name)})").df()


def test_each_day_is_forecast_for_itself_beside_what_came(plain):
    lake, report = plain
    rows = table(lake, "backtest_forecasts")
    assert len(rows) == report.rows == 2 * 2 * 3 * 28 - 2 * 2 * 28  # the quill sells too seldom to be scored
    assert set(rows["item_id"]) == {"pen", "ink"}
    day = rows["target_date"].dt.date
    assert (rows["target_date"] - rows["origin"]).dt.days.tolist() == rows["horizon_days"].tolist()
    expected = [units_of(item, when) for item, when in zip(rows["item_id"], day, strict=True)]
    assert rows["actual"].tolist() == expected
    mine = rows[rows["model"] == "ensemble"]
    number = (mine["target_date"] - pd.Timestamp(2017, 1, 1)).dt.days
    assert mine["mean"].tolist() == number.tolist()
    assert mine["q50"].tolist() == number.tolist()
    naive = rows[rows["model"] == "seasonal_naive"]
    assert naive["mean"].tolist() == naive["actual"].tolist()


def test_rows_keep_the_contract_and_their_key(plain):
    lake, _ = plain
    for name in ("backtest_forecasts", "backtest_scores"):
        rows = table(lake, name)
        assert tuple(rows.columns) == TABLES[name].column_names
        assert not rows.duplicated(list(TABLES[name].key)).any()
    quantiles = table(lake, "backtest_forecasts")[list(QUANTILE_COLUMNS)].to_numpy()
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert (quantiles >= 0).all()


def test_a_stretch_of_one_week_is_that_week_and_what_came_is_counted_once(lake, tmp_path):
    run(lake, tmp_path, settings_with(horizon_days=7))
    rows = table(lake, "backtest_sums")
    assert not rows.duplicated(list(TABLES["backtest_sums"].key)).any()
    days = pd.date_range(rows["period_start"].iloc[0], rows["period_end"].iloc[0])
    assert len(days) == 7
    first = rows.iloc[0]
    assert first["actual"] == sum(units_of(first["item_id"], day.date()) for day in days)


def test_slices_cover_every_forecast_once(plain):
    lake, _ = plain
    scores = table(lake, "backtest_scores")
    counts = scores[scores["metric"] == "mae"].groupby(["model", "origin", "slice"])["forecasts"].sum()
    by_slice = counts.unstack()
    assert set(by_slice.columns) == {"all", "horizon", "volume", "intermittency", "age", "holiday"}
    assert (by_slice.nunique(axis=1) == 1).all()
    assert by_slice.loc[("ensemble", "all"), "all"] == 2 * 2 * 28


def test_pooled_scores_are_those_of_the_written_forecasts(plain):
    lake, report = plain
    rows = table(lake, "backtest_forecasts")
    rows = rows[rows["model"] == "ensemble"]
    error = rows["mean"] - rows["actual"]
    assert report.summary.loc["ensemble", "wape"] == pytest.approx(error.abs().sum() / rows["actual"].sum())
    assert report.summary.loc["ensemble", "bias"] == pytest.approx(error.sum() / rows["actual"].sum())
    assert report.summary.loc["seasonal_naive", "wql"] == 0
    assert report.summary.loc["ensemble", "fallbacks"] == report.fallbacks["ensemble"] == 2
    assert list(report.summary.index) == ["ensemble", "seasonal_naive"]


def test_an_origin_is_shown_nothing_after_it(lake, tmp_path):
    model = DayNumber()
    report = run(lake, tmp_path, model=model)
    assert [panel.as_of for panel in model.seen] == list(report.origins)
    assert report.origins[-1] == NIGHT - timedelta(days=28)
    for panel in model.seen:
        assert panel.first_day == FIRST
        pen = panel.item_id.tolist().index("pen")
        assert panel.units[pen].tolist() == [units_of("pen", FIRST + timedelta(days=n)) for n in range(panel.history)]


def test_later_facts_change_no_forecast_of_an_earlier_origin(lake, tmp_path):
    settings = settings_with(baselines=("seasonal_naive",))
    run(lake, tmp_path / "before", settings)
    newest = NIGHT - timedelta(days=28)
    # after the newest origin everything is ten times what it was, and an item is born
    changed = [(i, w, d, 10 * u if d > newest else u) for i, w, d, u in sales()]
    newcomer = [("newcomer", "", NIGHT - timedelta(days=n), 500) for n in range(27)]
    canary = make_lake(tmp_path / "canary", [*changed, *newcomer])
    run(canary, tmp_path / "after", settings)
    before, after = (table(where, "backtest_forecasts") for where in (lake, canary))
    forecast = ["model", "origin", "item_id", "target_date", "mean", *QUANTILE_COLUMNS]
    assert before[forecast].to_csv() == after[forecast].to_csv()
    assert (before["actual"] != after["actual"]).any()


def test_what_came_is_what_the_night_knew_and_no_more(lake, tmp_path):
    run(lake, tmp_path)
    before = table(lake, "backtest_forecasts")
    late = NIGHT + timedelta(days=3)
    with lake.connect() as con:
        lake.write(
            con,
            "demand_changes",
            {"known_on": late.isoformat()},
            f"SELECT 'pen' AS item_id, '' AS location, DATE '{NIGHT}' - 2 AS demand_day, 'cancellation' AS reason, "
            "-5 AS units, 0 AS lines, -10.0 AS revenue",
        )
    run(lake, tmp_path)
    pd.testing.assert_frame_equal(before, table(lake, "backtest_forecasts"))
    run(lake, tmp_path, settings_with(on=(NIGHT - timedelta(days=28),)), as_of=late)
    rows = table(lake, "backtest_forecasts")
    mine = rows[(rows["as_of"].dt.date == late) & (rows["item_id"] == "pen") & (rows["model"] == "ensemble")]
    came = mine[mine["target_date"].dt.date == NIGHT - timedelta(days=2)]["actual"].tolist()
    assert came == [units_of("pen", NIGHT - timedelta(days=2)) - 5]


def test_a_repeat_reuses_forecasts_and_changes_no_byte(lake, tmp_path):
    first = run(lake, tmp_path)
    path = lake.part_path("backtest_forecasts", {"as_of": NIGHT.isoformat()}, "part")
    before = path.read_bytes()
    again = run(lake, tmp_path, model=None)
    assert (first.reused, again.reused) == (0, 4)
    assert path.read_bytes() == before
    pd.testing.assert_frame_equal(first.scores, again.scores)
    assert again.seconds == first.seconds
    kept = sorted((tmp_path / "work" / "origins").iterdir())
    assert [item.suffix for item in kept] == [".parquet"] * 4


@pytest.mark.parametrize(
    "change",
    [{"training": {"seed": 8}}, {"backtest": {"min_sale_days": 10}}, {"backtest": {"horizon_days": 14}}],
    ids=["training", "items", "horizon"],
)
def test_other_settings_are_forecast_anew(change, lake, tmp_path):
    run(lake, tmp_path)
    content = settings_with().model_dump()
    for name, section in change.items():
        content[name] |= section
    assert run(lake, tmp_path, Settings.model_validate(content)).reused == 0


def test_a_corrected_past_is_forecast_anew(lake, tmp_path):
    run(lake, tmp_path)
    changed = sales()
    changed[0] = (*changed[0][:3], 99)
    write_demand(lake, changed)
    assert run(lake, tmp_path).reused == 0


def test_another_pretrained_model_in_the_folder_is_asked_anew(lake, tmp_path, monkeypatch):
    from pipeline.backtesting import origin_forecasts

    monkeypatch.setattr(origin_forecasts, "pretrained_ids", lambda name, *_: (f"{name}@abc",))
    run(lake, tmp_path)
    monkeypatch.setattr(origin_forecasts, "pretrained_ids", lambda name, *_: (f"{name}@def",))
    assert run(lake, tmp_path).reused == 0


def test_overlapping_origins_tell_how_stable_the_forecast_is(lake, tmp_path):
    report = run(lake, tmp_path, settings_with(every_days=7))
    stability = report.scores[report.scores["metric"] == "stability"].set_index(["model", "origin"])
    # the stand-in says the same of a day whatever the origin; seasonal naive is right every time
    assert stability["score"].tolist() == [0, 0, 0, 0]
    assert stability.loc[("ensemble", "all"), "forecasts"] == 2 * 21
    apart = run(lake, tmp_path, settings_with(every_days=28))
    assert not (apart.scores["metric"] == "stability").any()


def test_gains_name_the_reference_and_hold_their_interval(plain):
    scores = plain[1].scores
    pooled = scores[(scores["origin"] == "all") & (scores["slice"] == "all")].set_index(["model", "metric"])["score"]
    assert pooled[("ensemble", "wql_low")] <= pooled[("ensemble", "wql")] <= pooled[("ensemble", "wql_high")]
    # nothing to gain on a perfect reference: no number rather than an infinite one
    assert ("ensemble", "wql_gain_on_seasonal_naive") not in pooled.index


def test_origins_that_are_not_possible_are_said_and_the_rest_is_scored(lake, tmp_path):
    report = run(lake, tmp_path, settings_with(origins=6))
    assert len(report.origins) + len(report.skipped) == 6
    assert report.origins == (NIGHT - timedelta(days=84), NIGHT - timedelta(days=56), NIGHT - timedelta(days=28))
    assert all("min_history_days" in reason for reason in report.skipped.values())


def test_an_origin_that_a_model_refuses_is_left_out_for_all(lake, tmp_path):
    refused = NIGHT - timedelta(days=56)

    class Choosy(DayNumber):
        def fit(self, panel: Panel, **options: Any) -> Any:
            if panel.as_of == refused:
                raise HistoryError("too short for me")
            return super().fit(panel, **options)

    report = run(lake, tmp_path, model=Choosy())
    assert report.origins == (NIGHT - timedelta(days=28),)
    assert report.skipped == {refused: "too short for me"}
    assert set(table(lake, "backtest_forecasts")["origin"].dt.date) == set(report.origins)


@pytest.mark.parametrize(
    ("as_of", "backtest", "message"),
    [
        (FIRST + timedelta(days=60), {}, "0 of 2 origins fit.*cover 61 days.*one origin needs 84"),
        (NIGHT, {"min_sale_days": 200}, "no item was sold on 200 days.*lower backtest.min_sale_days"),
        (FIRST - timedelta(days=1), {}, f"the first order became known on {FIRST}"),
    ],
    ids=["too short", "no item sold often enough", "before the first order"],
)
def test_too_little_history_is_refused_and_leaves_the_lake_alone(as_of, backtest, message, lake, tmp_path):
    with pytest.raises(HistoryError, match=f"(?s){message}"):
        run(lake, tmp_path, settings_with(**backtest), as_of=as_of)
    assert lake.partitions("backtest_forecasts") == []
    assert lake.partitions("backtest_scores") == []


def test_locations_are_kept_apart_where_the_shop_asks(tmp_path):
    doubled = [
        (i, where, d, u * times) for i, _, d, u in sales(["pen"]) for where, times in (("north", 1), ("south", 2))
    ]
    lake = make_lake(tmp_path / "home", doubled)
    settings = settings_with()
    settings = settings.model_copy(update={"shop": settings.shop.model_copy(update={"by_location": True})})
    report = run(lake, tmp_path, settings)
    rows = table(lake, "backtest_forecasts").pivot_table(
        index=["model", "origin", "target_date"], columns="location", values="actual"
    )
    assert report.items == (2, 2)
    assert (rows["south"] == 2 * rows["north"]).all()


def test_progress_counts_up_to_all_origins_and_models(lake, tmp_path):
    told: list[tuple[str, int, int]] = []
    run(lake, tmp_path, progress=lambda *step: told.append(step))
    steps = [(done, of) for what, done, of in told if what.endswith(("ensemble", "seasonal_naive")) and of == 4]
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert any(what.endswith("ensemble, steps") for what, _, _ in told)


def test_the_plot_is_a_picture(plain):
    assert plot_wql_by_horizon(plain[1].scores).startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_registry_s_forecasters_run_side_by_side(lake, tmp_path):
    content = settings_with(origins=1, baselines=("seasonal_naive", "auto_ets", "dynamic_theta")).model_dump()
    content["training"] |= {"max_steps": 3, "pretrain_steps": 1, "hidden": 4, "batch_size": 16, "validation_days": 7}
    settings = Settings.model_validate(content)
    report = run_backtest(lake, settings, NIGHT, compute=Compute(threads=1), workdir=tmp_path / "work")
    assert list(report.summary.index) == ["ensemble", "seasonal_naive", "auto_ets", "dynamic_theta"]
    assert report.summary["wql"].notna().all()
    # demand repeats weekly without noise: both find it
    assert (report.summary.loc[["auto_ets", "dynamic_theta"], "wql"] < 0.05).all()
    assert not any(report.fallbacks.values())


def test_a_control_is_fitted_without_what_words_tell_and_scored_beside_the_model(lake, tmp_path, monkeypatch):
    model = DayNumber()
    taken: list[Panel] = []

    def take(panel: Panel) -> Panel:
        taken.append(panel)
        return replace(panel, item_text=np.full(panel.series, "taken"))

    monkeypatch.setitem(cast("dict[str, Any]", CONTROLS), "category-only", take)
    report = run(lake, tmp_path, model=model, controls=("category-only",))
    assert len(taken) == 2
    assert set(model.seen[1].item_text) == {"taken"}
    assert report.models == (MODEL, f"{MODEL}@category-only", "seasonal_naive")
    plain, control = model.seen[:2]
    assert control.item_id.tolist() == plain.item_id.tolist()
    assert control.units.tobytes() == plain.units.tobytes()
    assert report.summary.loc[f"{MODEL}@category-only", "wql"] == report.summary.loc[MODEL, "wql"]
    again = run(lake, tmp_path, model=DayNumber(), controls=("category-only",))
    assert again.reused == 6
