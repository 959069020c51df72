"""A night's new items: announced ones are forecast, and what they sell like is said."""

import shutil
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.as_of import AsOfView, as_of_view
from pipeline.enrichment.calendar import build_calendar
from pipeline.forecasting.nightly import make_forecasts
from pipeline.forecasting.vintages import part_of
from pipeline.lake import Lake
from pipeline.model_settings import EnsembleSettings
from pipeline.models.base import Compute
from pipeline.models.ensemble import LAUNCHES, Ensemble, FittedEnsemble
from pipeline.models.launches.forecaster import Launches
from pipeline.models.seasonal_naive import SeasonalNaive
from pipeline.publishing.publish import publish
from pipeline.publishing.query import query
from pipeline.publishing.retention import apply_retention
from pipeline.settings import Settings
from pipeline.training import panel as panels
from tests.forecasting.fakes import AS_OF, some_settings, write_demand
from tests.models.launching_shop import launching_shop
from tests.publishing.shop import write_row_of, write_vintage_of

MODEL = "test@0"
NEW = ("soon", "late", "far", "obsolete")
"""Announced for the day after the night, for twenty days later, for beyond the horizon; and named years ago, never sold."""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    shop, theme, _ = launching_shop(days=300, there=120, launches=90, last=0)
    lake = Lake(tmp_path_factory.mktemp("new"))
    first = AS_OF - timedelta(days=shop.history - 1)
    sales = [
        (str(shop.item_id[row]), "", first + timedelta(days=int(day)), int(shop.units[row, day]))
        for row, day in zip(*np.nonzero(shop.units), strict=True)
    ]
    write_demand(lake, sales, known_on=AS_OF)
    build_calendar(lake, some_settings(), first, AS_OF + timedelta(days=91))
    like = int(np.flatnonzero(theme[:120] == 2)[0])
    texts = {str(item): (f"text of {item}", shop.text[row]) for row, item in enumerate(shop.item_id)}
    texts |= {item: (f"text of {item}", shop.text[like]) for item in NEW}
    named = {"item_id": list(texts), "item_text": [text for text, _ in texts.values()], "category": [""] * len(texts)}
    origin = {"origin": ["master" if item in NEW else "orders" for item in texts], "lines": [1] * len(texts)}
    starts = {"soon": 1, "late": 20, "far": 200, "obsolete": -400}
    said = {"item_id": list(NEW), "on_sale_from": [AS_OF + timedelta(days=starts[item]) for item in NEW]}
    with lake.connect() as con:
        lake.write(con, "item_sightings", {"known_on": AS_OF.isoformat()}, pa.table(named | origin))
        lake.write(con, "announced_items", {"known_on": AS_OF.isoformat()}, pa.table(said | {"unit_price": [2.0] * 4}))
        con.register(
            "texts", pa.table({"item_text": named["item_text"], "vector": [v.tolist() for _, v in texts.values()]})
        )
        lake.write(
            con,
            "item_text_features",
            {"model_id": MODEL, "batch": "all"},
            "SELECT left(sha256(item_text), 32) AS text_hash, item_text, vector::FLOAT[] AS vector FROM texts ORDER BY 1",
        )
    return lake


@pytest.fixture(scope="module")
def view(lake: Lake) -> Iterator[AsOfView]:
    with as_of_view(lake, AS_OF) as view, pytest.MonkeyPatch.context() as patched:
        patched.setattr(panels, "language_model_id", lambda *_, **__: MODEL)
        yield view


@pytest.fixture(scope="module")
def fitted(view: AsOfView, lake: Lake) -> FittedEnsemble:
    panel = panels.build_panel(view, some_settings(), horizon=91)
    members = {"seasonal_naive": SeasonalNaive(), LAUNCHES: Launches()}
    return Ensemble(members, EnsembleSettings()).fit(panel, folder=lake.home / "fit", compute=Compute(threads=1))


@pytest.fixture(scope="module")
def home(view: AsOfView, lake: Lake, fitted: FittedEnsemble) -> Path:
    report = make_forecasts(view, lake, some_settings(), fitted, "ensemble/1")
    write_row_of(lake, AS_OF, "ensemble/1", report.series)
    publish(lake, some_settings(), AS_OF)
    return lake.home


def ask(home: Path, sql: str) -> list[tuple]:
    return query(home, sql).rows


def test_an_announced_item_is_forecast_from_the_day_it_is_on_sale(home):
    first = dict(ask(home, "SELECT item_id, min(target_date) FROM forecasts WHERE mean > 0 GROUP BY 1"))
    assert first["soon"] == AS_OF + timedelta(days=1)
    assert first["late"] == AS_OF + timedelta(days=20)
    assert not {"far", "obsolete"} & first.keys()


def test_it_is_in_the_sums_too(home):
    season = dict(
        ask(home, "SELECT id, mean FROM forecast_totals WHERE level = 'item-season' AND id IN ('soon', 'late')")
    )
    assert season["soon"] > season["late"] > 0


def test_the_panel_knows_price_and_day_of_an_announcement(view):
    panel = panels.build_panel(view, some_settings(), horizon=91, series=[("late", ""), ("item-0", "")])
    assert panel.on_sale.tolist() == [panel.history + 19, 0]
    assert panel.first_sold.tolist()[0] == panel.history
    assert np.isnan(panel.price[0, : panel.history]).all()
    assert (panel.price[0, panel.history :] == 2.0).all()


def test_a_model_without_launches_forecasts_no_announced_item(view, lake, fitted):
    naive = fitted.members["seasonal_naive"]
    report = make_forecasts(view, lake, some_settings(), naive, "naive/1")
    assert report.series == len(panels.active_series(view, 365))


def test_a_version_goes_on_reading_the_vectors_it_learned_when_the_language_model_changes(
    view, lake, fitted, home, tmp_path, monkeypatch
):
    monkeypatch.setattr(panels, "language_model_id", lambda *_, **__: "of-another-width@0")
    for words, same in ((MODEL, True), (None, False)):
        again = Lake(tmp_path / str(words))
        report = make_forecasts(view, again, some_settings(), fitted, "ensemble/1", text_model=words, home=home)
        assert report.degraded == "" if same else "carry 0: language_model in almanac.yaml changed" in report.degraded
        made, before = (
            next(one.folder("forecasts").rglob(f"{part_of('ensemble/1')}.parquet")) for one in (again, lake)
        )
        with lake.connect() as con:
            differ = con.execute(
                f"SELECT count(*) FROM '{made}' AS a JOIN '{before}' AS b USING (item_id, target_date) WHERE a.mean <> b.mean"
            ).fetchall()[0][0]
        assert (differ == 0) == same


def test_what_a_new_item_sells_like_is_shown(home):
    found = ask(home, "SELECT item_id, days_on_sale, launch_share, sells_like, mean, q10, q90 FROM new_items")
    by_item = {row[0]: row for row in found}
    assert by_item["soon"][1] is None
    assert by_item["soon"][2] == 1
    assert len(by_item["soon"][3]) == 5
    assert all(text.startswith("text of item-") for text in by_item["soon"][3])
    assert by_item["soon"][5] <= by_item["soon"][4] <= by_item["soon"][6]
    ages = [row[1] for row in found if row[1] is not None]
    assert ages
    assert min(row[2] for row in found) >= 0.05


def test_a_night_that_is_made_anew_without_new_items_keeps_no_similar_ones(view, lake, fitted, tmp_path):
    again = Lake(tmp_path)
    first = make_forecasts(view, again, some_settings(), fitted, "ensemble/1", home=lake.home)
    assert first.similar_rows
    then = make_forecasts(view, again, some_settings(), fitted.members["seasonal_naive"], "ensemble/1", home=lake.home)
    assert (then.similar_rows, again.partitions("similar_items")) == (0, [])


def test_when_a_new_item_was_first_sold_or_may_be_is_shown(home):
    found = {row[0]: row[1:] for row in ask(home, "SELECT item_id, on_sale_from, days_on_sale FROM new_items")}
    assert found["soon"] == (AS_OF + timedelta(days=1), None)
    assert found["late"] == (AS_OF + timedelta(days=20), None)
    sold = dict(ask(home, "SELECT item_id, min(day) FROM demand_daily WHERE units > 0 GROUP BY 1"))
    young = {item: row for item, row in found.items() if row[1] is not None}
    assert young
    assert all(row == (sold[item], (AS_OF - sold[item]).days + 1) for item, row in young.items())


def test_similar_items_are_the_nearest_first(home):
    ranks = ask(home, "SELECT item_id, list(rank ORDER BY similarity DESC, rank) FROM similar_items GROUP BY 1")
    assert all(rank == [1, 2, 3, 4, 5] for _, rank in ranks)


def test_every_item_forecast_has_its_seasons(home):
    (items,) = ask(home, "SELECT count(DISTINCT item_id) FROM forecasts")
    (seasons,) = ask(home, "SELECT count(DISTINCT item_id) FROM item_seasons")
    assert items == seasons
    assert ask(home, "SELECT 1 FROM item_seasons GROUP BY item_id, season HAVING count(*) > 1") == []


def test_months_of_an_item_are_its_year(home):
    year = ask(home, "SELECT DISTINCT round(sum(share), 6) FROM item_seasons WHERE kind = 'month' GROUP BY item_id")
    assert year == [(1.0,)]


def test_an_item_that_never_sold_is_read_from_words_and_others_from_both(home):
    evidence = dict(
        ask(home, "SELECT item_id, list(DISTINCT evidence) FROM item_seasons WHERE kind = 'month' GROUP BY 1")
    )
    assert evidence["soon"] == ["text"]
    assert "both" in evidence["item-0"]
    ((history, text),) = ask(
        home, "SELECT count(probability_history), count(probability_text) FROM item_seasons WHERE item_id = 'soon'"
    )
    assert history == 0
    assert text > 0


def test_a_season_says_when_it_comes_next(home):
    spans = dict(ask(home, "SELECT DISTINCT season, [begins_on, ends_on] FROM item_seasons WHERE kind <> 'event'"))
    assert len(spans) > 4
    for begins, ends in spans.values():
        assert begins.day == 1
        assert (ends + timedelta(days=1)).day == 1
        assert ends > AS_OF
    events = ask(home, "SELECT DISTINCT season, begins_on, ends_on FROM item_seasons WHERE kind = 'event'")
    assert all(ends > AS_OF and (ends - begins).days in {14, 28} for _, begins, ends in events)
    assert {"easter", "halloween"} <= {name for name, *_ in events}


def test_a_season_that_the_history_does_not_hold_is_left_out(view, home):
    assert view.as_of - timedelta(days=299) > date(AS_OF.year - 1, 12, 25)
    assert ask(home, "SELECT 1 FROM item_seasons WHERE season IN ('christmas', 'december')") == []


def test_only_what_the_current_version_of_the_newest_night_says_of_seasons_is_published(
    view, lake, fitted, home, tmp_path
):
    again = Lake(Path(shutil.copytree(home, tmp_path / "home")))
    count = ask(home, "SELECT count(*) FROM item_seasons")
    report = make_forecasts(view, again, some_settings(), fitted, "ensemble/2", home=lake.home)
    write_row_of(again, AS_OF, "ensemble/2", report.series, made_at=datetime(2030, 1, 1), is_named=True)
    publish(again, some_settings(), AS_OF)
    assert ask(again.home, "SELECT model_version, count(*) FROM item_seasons GROUP BY 1") == [("ensemble/1", *count[0])]
    write_row_of(again, AS_OF, "ensemble/2", report.series, made_at=datetime(2030, 1, 1))
    publish(again, some_settings(), AS_OF)
    assert ask(again.home, "SELECT model_version, count(*) FROM item_seasons GROUP BY 1") == [("ensemble/2", *count[0])]


def test_retention_forgets_what_stands_beside_the_forecasts_too(home, tmp_path):
    again = Lake(Path(shutil.copytree(home, tmp_path / "home")))
    write_vintage_of(again, AS_OF + timedelta(days=100))
    keep = Settings.model_validate(some_settings().model_dump() | {"retention": {"forecast_days": 30}})
    apply_retention(again, keep)
    assert again.partitions("similar_items") == again.partitions("item_seasons") == []
