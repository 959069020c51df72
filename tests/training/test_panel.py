"""The panel of a night, from facts written straight into the lake."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from pipeline.as_of import as_of_view
from pipeline.enrichment.calendar import build_calendar
from pipeline.errors import HistoryError
from pipeline.lake import Lake
from pipeline.models.base import Compute
from pipeline.models.panel import Panel
from pipeline.settings import ComputeSettings, Settings
from pipeline.training import panel as panel_module
from pipeline.training.panel import build_panel
from pipeline.training.train import build_training_panel, make_forecaster
from tests.enrichment.conftest import Shop

FIRST = date(2023, 1, 2)
NIGHT = date(2023, 3, 26)
DAYS = (NIGHT - FIRST).days + 1
LATER = NIGHT + timedelta(days=1)
CPU = Compute(threads=1)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Ten items sold on most days but Sundays; item 9 from the middle on; one bulk order; facts known later."""
    shop = Shop(Lake(tmp_path_factory.mktemp("panel") / "home", ComputeSettings(threads=1)))
    random = np.random.default_rng(4)
    sales = []
    for day in range(DAYS + 30):
        when = FIRST + timedelta(days=day)
        for item in range(10):
            units = int(random.poisson(6))
            if when.isoweekday() < 7 and units and (item < 9 or day >= 40):
                sales.append((f"item-{item}", when, units, 2.0 + item))
    sales.append(("bulk", FIRST, 1, 1.0))
    sales += [("bulk", FIRST + timedelta(days=7 * week), 2, 1.0) for week in range(1, 9)]
    sales.append(("bulk", date(2023, 2, 1), 5000, 1.0))
    shop.sell(sales)
    shop.sell([("item-0", date(2023, 3, 1), 777, 2.0)], known_on=LATER, part="late")
    shop.deliver(
        "item_sightings",
        [(f"item-{k}", f"text {k}", "Toys" if k % 2 else "", "orders", 1, FIRST) for k in range(10)],
    )
    shop.promote([("item-1", "", "display", date(2023, 3, 20), date(2023, 4, 2), 0.5, date(2023, 3, 15))])
    from pipeline.enrichment.promotions import take_over_promotions

    take_over_promotions(shop.lake, shop.settings().shop)
    build_calendar(shop.lake, settings(), FIRST, NIGHT + timedelta(days=40))
    return shop


def settings(**more: object) -> Settings:
    return Settings.model_validate(
        {
            "shop": {"name": "A shop", "country": "GB", "timezone": "UTC", "currency": "GBP"},
            "sources": [{"mapping": "any"}],
            "forecast": {"horizon_days": 21, "sample_paths": 20},
            "training": {"hidden": 8, "max_steps": 8, "pretrain_steps": 2, "batch_size": 16, "history_days": 28},
            "members": {"lightgbm": {"on": False}},
            **more,
        }
    )


def panel_of(shop: Shop, night: date = NIGHT, **more: object) -> Panel:
    with as_of_view(shop.lake, night) as view:
        return build_panel(view, settings(), **({"horizon": 21} | more))


def same(one: Panel, other: Panel) -> None:
    for name in one.__dataclass_fields__:
        a, b = getattr(one, name), getattr(other, name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype, name
            assert a.tobytes() == b.tobytes(), name
        else:
            assert a == b, name


def test_every_array_has_its_shape(shop):
    panel = panel_of(shop)
    assert (panel.series, panel.history, panel.horizon) == (11, DAYS, 21)
    assert (panel.first_day, panel.as_of) == (FIRST, NIGHT)
    assert panel.item_id.tolist() == sorted(panel.item_id.tolist())
    for values, shape in (
        (panel.units_winsorised, (11, DAYS)),
        (panel.price, (11, DAYS + 21)),
        (panel.promotion, (11, DAYS + 21, 1)),
        (panel.calendar, (DAYS + 21, len(panel.calendar_names))),
        (panel.closed, (DAYS + 21,)),
        (panel.text, (11, 0)),
    ):
        assert values.shape == shape


def test_demand_stands_on_its_day(shop):
    panel = panel_of(shop)
    with as_of_view(shop.lake, NIGHT) as view:
        rows = view.con.execute("SELECT item_id, day, units FROM demand_daily").fetchall()
    assert panel.units.sum() == sum(units for _, _, units in rows)
    place = {item: row for row, item in enumerate(panel.item_id.tolist())}
    assert all(panel.units[place[item], (day - FIRST).days] == units for item, day, units in rows)
    late = place["item-9"]
    assert panel.first_sold[late] >= 40
    assert np.isnan(panel.price[late, : panel.first_sold[late]]).all()
    assert (panel.price[late, panel.first_sold[late] :] == 11).all()


def test_a_bulk_order_is_pulled_in_for_training_only(shop):
    panel = panel_of(shop)
    row, day = panel.item_id.tolist().index("bulk"), (date(2023, 2, 1) - FIRST).days
    assert panel.units[row, day] == 5000
    assert 0 < panel.units_winsorised[row, day] < 500
    assert (panel.units_winsorised <= panel.units).all()
    assert (panel.units_winsorised > 0).tolist() == (panel.units > 0).tolist()


def test_known_future_goes_beyond_the_night(shop):
    panel = panel_of(shop)
    row = panel.item_id.tolist().index("item-1")
    assert panel.promotion_kinds == ("display",)
    assert np.flatnonzero(panel.promotion[row, :, 0]).tolist() == list(range(DAYS - 7, DAYS + 7))
    assert [panel.category_names[index] for index in panel.category[:4]] == ["", "", "Toys", ""]


def test_the_night_before_an_announcement_sees_no_promotion(shop):
    assert panel_of(shop, date(2023, 3, 14)).promotion_kinds == ()


def test_nothing_known_later_is_in_it(shop):
    panel = panel_of(shop)
    row = panel.item_id.tolist().index("item-0")
    assert panel.units[row, (date(2023, 3, 1) - FIRST).days] < 777
    later = panel_of(shop, LATER)
    assert later.units[row, (date(2023, 3, 1) - FIRST).days] >= 777


@pytest.mark.parametrize("chosen", [[3], [10, 0, 5], []], ids=["one", "another order", "none"])
def test_a_slice_of_series_is_a_slice_of_the_panel(shop, chosen):
    whole = panel_of(shop)
    part = panel_of(shop, series=[(str(whole.item_id[k]), "") for k in chosen])
    if chosen:
        same(part, whole.rows(np.array(chosen)))
    else:
        assert part.series == 0


def test_best_sellers_and_a_draw_of_the_others_stay_where_there_are_too_many(shop, monkeypatch):
    monkeypatch.setattr(panel_module, "MAX_SERIES", 6)
    few = panel_of(shop)
    same(few, panel_of(shop))
    everything = panel_of(shop, series=[(f"item-{k}", "") for k in range(10)] + [("bulk", "")])
    sold = dict(zip(everything.item_id.tolist(), everything.units_winsorised.sum(1), strict=True))
    by_units = sorted(sold, key=sold.get, reverse=True)
    assert few.series == 6
    assert set(by_units[:3]) <= set(few.item_id.tolist())
    assert set(few.item_id.tolist()) != set(by_units[:6])


def test_history_can_be_cut(shop):
    cut = panel_of(shop, history_days=30)
    assert (cut.history, cut.as_of) == (30, NIGHT)
    assert cut.units.tobytes() == np.ascontiguousarray(panel_of(shop).units[:, -30:]).tobytes()


@pytest.mark.parametrize("days", [30, DAYS, DAYS + 50])
def test_a_view_that_begins_later_gives_the_last_columns_of_the_panel(shop, days):
    since = NIGHT - timedelta(days=days - 1)
    with as_of_view(shop.lake, NIGHT, since=since) as view:
        bounded = build_panel(view, settings(), horizon=21)
    whole = panel_of(shop, history_days=days, series=list(zip(bounded.item_id, bounded.location, strict=True)))
    assert bounded.history == min(days, DAYS)
    # what was paid before the view begins is not known in it
    known = ~np.isnan(bounded.price)
    assert (bounded.price[known] == whole.price[known]).all()
    sold = np.maximum.accumulate(bounded.units > 0, axis=1)
    assert known[:, : bounded.history][sold].all()
    same(replace(bounded, price=whole.price), whole)


def test_a_night_without_active_items_says_so(shop):
    with as_of_view(shop.lake, date(2025, 6, 1)) as view, pytest.raises(HistoryError, match="nothing was sold within"):
        build_panel(view, settings(), horizon=21)


def test_too_short_a_history_is_refused_before_training(shop):
    with (
        as_of_view(shop.lake, date(2023, 2, 1)) as view,
        pytest.raises(HistoryError, match=r"31 days of orders.*56 are needed"),
    ):
        build_training_panel(view, settings())


def test_trains_from_the_view_and_forecasts_the_horizon(shop, tmp_path):
    with as_of_view(shop.lake, NIGHT) as view:
        panel = build_training_panel(view, settings())
    fitted = make_forecaster(settings()).fit(panel, folder=tmp_path, compute=CPU)
    assert fitted.name == make_forecaster(settings()).name
    forecast = fitted.forecast(panel, 21)
    assert np.isfinite(forecast.mean).all()
    with_closed_sundays = forecast.mean[:, panel.closed[DAYS:]]
    assert (with_closed_sundays == 0).all()
