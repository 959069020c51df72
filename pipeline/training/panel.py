"""From an as-of view to the panel that forecasters read: the one way, for training, backtests and nights alike.

What belongs here: which series and days, and how they are laid out. What does not: what a price, a promotion, a
calendar feature or a closed day is; the enrichment and cleaning rooms say that.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.as_of import AsOfView
from pipeline.cleaning.closed_days import expected_closed
from pipeline.enrichment.calendar_features import event_features
from pipeline.enrichment.language_model import find_language_model
from pipeline.enrichment.prices import price_array
from pipeline.enrichment.promotion_features import promotion_array
from pipeline.enrichment.review_features import review_array
from pipeline.enrichment.series import registered_series
from pipeline.enrichment.texts import text_array
from pipeline.errors import HistoryError
from pipeline.models.panel import Panel
from pipeline.settings import Settings

MAX_SERIES = 20_000
"""Series of a panel that nobody chose: best sellers and a draw of the others, which teach a network all that the rest would."""
MAX_DAYS = 1461
"""Days of history of a panel to train on: four years. A forecast reads fewer, see `Fitted.lookback_days`."""
_LETTERS_PER_TOKEN = 16
"""More than the words of any text have on average: what a model reads of a text is in so many letters."""

_ROOM = Path(__file__).parent
_DEMAND = (_ROOM / "panel.sql").read_text(encoding="utf-8")
_ACTIVE = (_ROOM / "active_series.sql").read_text(encoding="utf-8")


def build_panel(
    view: AsOfView,
    settings: Settings,
    *,
    horizon: int,
    series: Sequence[tuple[str, str]] | None = None,
    model_id: str | None = None,
    history_days: int | None = None,
    home: Path | None = None,
) -> Panel:
    """The panel of a night: what was known then of some series, and of the days ahead.

    The same series give the same rows in every panel of a night, whatever other series are in it. A view that begins
    later gives the columns of the days that it has; only what was paid before them is not carried into them.

    Args:
        view: what was known on the night.
        settings: the home's settings.
        horizon: days ahead.
        series: (item, location) of each row; default: those sold within `forecast.active_days`, at most `MAX_SERIES`.
        model_id: language model whose text vectors to read, '' for none; default: that of the settings, where the
            view has vectors at all.
        history_days: days of history, at most; default: `MAX_DAYS`. Fewer where the shop, or the view, began later.
        home: folder that a relative language model is relative to.

    Raises:
        HistoryError: nothing was sold within the active days, or the calendar does not reach the horizon.
    """
    chosen = list(series) if series is not None else active_series(view, settings.forecast.active_days, MAX_SERIES)
    items = np.array([item for item, _ in chosen], dtype=np.str_)
    locations = np.array([location for _, location in chosen], dtype=np.str_)
    days = min((view.as_of - view.begins).days + 1, history_days or MAX_DAYS)
    first_day = view.as_of - timedelta(days=days - 1)
    units, winsorised = _demand(view, items, locations, first_day, days)
    kinds, promotion, lead = promotion_array(view.con, items, locations, first_day, days + horizon)
    names, calendar = event_features(view.con, settings.holiday_countries, first_day, days + horizon)
    category, category_names = _categories(view, items)
    if model_id is None:
        model_id = language_model_id(view, settings, home=home)
    price = price_array(view.con, items, locations, first_day, days, horizon)
    sold = units > 0
    return Panel(
        item_id=items,
        location=locations,
        first_day=first_day,
        units=units,
        units_winsorised=winsorised,
        price=price,
        promotion=promotion,
        promotion_kinds=kinds,
        promotion_lead=lead,
        calendar=calendar,
        calendar_names=names,
        closed=_closed(view, settings, first_day, days, horizon),
        first_sold=np.where(sold.any(axis=1), sold.argmax(axis=1), days).astype(np.int64),
        text=text_array(view.con, items, model_id) if model_id else np.zeros((len(items), 0), dtype=np.float32),
        category=category,
        category_names=category_names,
        item_text=_item_text(view, items, _LETTERS_PER_TOKEN * settings.language_model.max_tokens),
        on_sale=_announced(view, items, price, days),
        reviews=review_array(view.con, items, first_day, days, settings, home=home),
    )


def active_series(view: AsOfView, active_days: int, most: int | None = None) -> list[tuple[str, str]]:
    """Items (and locations) with a sale within `active_days` up to the night, in order.

    Args:
        view: what was known on the night.
        active_days: days up to the night.
        most: at most so many, half of them best sellers and half drawn from the others; default: all.

    Raises:
        HistoryError: there are none.
    """
    values = {"as_of": view.as_of, "active_days": active_days, "most": most}
    found = view.con.execute(_ACTIVE, values).fetchall()
    if not found:
        raise HistoryError(
            f"the night of {view.as_of}: nothing was sold within the {active_days} days before it, so there is nothing to "
            "train on or to forecast; choose an earlier --as-of, ingest newer orders, or raise forecast.active_days in "
            "almanac.yaml"
        )
    return [(item, location) for item, location in found]


def announced_series(view: AsOfView, horizon: int) -> list[tuple[str, str]]:
    """Announced items that have not sold yet and are to be on sale within the horizon, wherever the shop sells, in order."""
    found = view.con.execute(
        "SELECT item_id, location FROM announced_items, "
        "(SELECT DISTINCT location FROM demand_daily WHERE day > $as_of::DATE - 28) "
        "WHERE on_sale_from <= $as_of::DATE + $horizon::INTEGER ORDER BY ALL",
        {"as_of": view.as_of, "horizon": horizon},
    ).fetchall()
    return [(item, location) for item, location in found]


def language_model_id(view: AsOfView, settings: Settings, *, home: Path | None = None) -> str:
    """Id of the settings' language model; '' when no text was ever encoded, so that none need be installed.

    Hashing the weights takes a tenth of a second, and forecasting asks for every slice of series: remembered per view.
    """
    remembered = view.con.execute("SELECT getvariable('language_model_id')").fetchall()[0][0]
    if remembered is not None:
        return str(remembered)
    encoded = view.con.execute("SELECT 1 FROM item_text_features LIMIT 1").fetchall()
    found = find_language_model(settings.language_model, home=home).model_id if encoded else ""
    view.con.execute("SET VARIABLE language_model_id = $1::VARCHAR", [found])
    return found


def _demand(
    view: AsOfView, items: NDArray[np.str_], locations: NDArray[np.str_], first_day: date, days: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    units = np.zeros((len(items), days), dtype=np.float32)
    winsorised = np.zeros((len(items), days), dtype=np.float32)
    with registered_series(view.con, items, locations) as name:
        view.con.execute(f'CREATE OR REPLACE TEMP VIEW _panel_series AS FROM "{name}"')
        sold = view.con.execute(_DEMAND, {"first_day": first_day}).fetchnumpy()
        view.con.execute("DROP VIEW _panel_series")
    at = (np.asarray(sold["number"]), np.asarray(sold["day"]))
    units[at], winsorised[at] = sold["units"], sold["units_winsorised"]
    return units, winsorised


def _closed(view: AsOfView, settings: Settings, first_day: date, days: int, horizon: int) -> NDArray[np.bool_]:
    rows = view.con.execute("SELECT day, is_closed FROM shop_days ORDER BY day").fetchall()
    holidays: dict[str, list[date]] = {}
    for event, start in view.con.execute(
        "SELECT DISTINCT event, starts_on FROM calendar_occurrences "
        "WHERE kind IN ('holiday', 'lunar') AND list_contains($1, country) ORDER BY ALL",
        [list(settings.holiday_countries)],
    ).fetchall():
        holidays.setdefault(event, []).append(start)
    ahead = [view.as_of + timedelta(days=day) for day in range(1, horizon + 1)]
    known = [day for day, _ in rows]
    was = [bool(closed) for _, closed in rows]
    expected = expected_closed(known, was, ahead, closed_on=settings.shop.closed_on, holidays=holidays)
    behind = np.zeros(days, dtype=np.bool_)
    for day, closed in rows:
        if closed and day >= first_day:
            behind[(day - first_day).days] = True
    return np.concatenate([behind, expected])


def _announced(
    view: AsOfView, items: NDArray[np.str_], price: NDArray[np.float32], history: int
) -> NDArray[np.int64] | None:
    """Column from which each announced item is on sale, 0 for those that sold; their launch prices go into `price`."""
    found = view.con.execute("SELECT item_id, on_sale_from - $1::DATE, unit_price FROM announced_items", [view.as_of])
    said = {item: (max(history - 1 + int(days), history), paid) for item, days, paid in found.fetchall()}
    if not said:
        return None
    on_sale = np.zeros(len(items), dtype=np.int64)
    for row, item in enumerate(items.tolist()):
        if item in said:
            on_sale[row], paid = said[item]
            price[row, history:] = np.nan if paid is None else paid
    return on_sale


def _item_text(view: AsOfView, items: NDArray[np.str_], most: int) -> NDArray[np.str_]:
    """The first letters of each item's text, as the night knew it: an array takes for every text what the longest takes."""
    found = dict(view.con.execute("SELECT item_id, left(item_text, $1) FROM items", [most]).fetchall())
    return np.array([found.get(item, "") for item in items.tolist()], dtype=np.str_)


def _categories(view: AsOfView, items: NDArray[np.str_]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Index of each item's category into all categories of the shop, which are the same in every slice."""
    names = [row[0] for row in view.con.execute("SELECT DISTINCT category FROM items ORDER BY category").fetchall()]
    if "" not in names:
        names.insert(0, "")
    place = {name: index for index, name in enumerate(names)}
    found = dict(view.con.execute("SELECT item_id, category FROM items").fetchall())
    return np.array([place[found.get(item, "")] for item in items.tolist()], dtype=np.int64), tuple(names)
