"""The generated shop's demand: what drives each item on each day, and by how much. All of it is known truth.

log(expected units) = level + trend + weekday + yearly wave + events + elasticity × log(price / list price)
+ promotion + launch, times open, on sale and in stock. Shapes: I items, T days, L locations.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from lunardate import LunarDate
from numpy.typing import NDArray

from pipeline.examples.shop_catalogue import CATEGORIES, Catalogue, Floats, Ints

Bools = NDArray[np.bool_]

ANNOUNCED_DAYS_BEFORE = 14
"""Days before its first day on which a promotion is announced; the shipped mapping says the same."""

_RAMPS: dict[str, tuple[int, int]] = {
    "spring_festival": (28, 2),
    "mid_autumn": (30, 0),
    "618": (17, 0),
    "double_11": (10, 0),
    "christmas": (40, 0),
    "childrens_day": (14, 0),
}
"""Days that an event is felt before its day, and after it."""


@dataclass(frozen=True)
class Promotion:
    """One promotion: item index, kind, first and last day index, price cut, and lift in logs beside the price."""

    item: int
    kind: str
    start: int
    end: int
    cut: float
    lift: float


@dataclass(frozen=True)
class Drivers:
    """What drives demand, day by day.

    Attributes:
        events: event → day indices of its days.
        closed: (T,) the shop is closed.
        price: (I, T) price of one unit that day.
        promotions: all promotions, in order of item and start.
        promotion_lift: (I, T) lift of promotions beside their price, in logs.
        event_lift: (I, T) lift of events, in logs.
        season: (I, T) yearly wave, in logs.
        trend: (I, T) trend, in logs.
        weekday: (I, T) weekday profile, in logs.
        in_stock: (I, T) on hand.
        on_sale: (I, T) launched.
        latent: (I, T) expected units had it been in stock and the shop open.
        mean: (I, T) expected units sold.
        dispersion: (I,) size parameter k of the negative binomial (variance = m + m² / k).
        location_share: (I, L) share of each location in the item's demand.
    """

    events: dict[str, list[int]]
    closed: Bools
    price: Floats
    promotions: tuple[Promotion, ...]
    promotion_lift: Floats
    event_lift: Floats
    season: Floats
    trend: Floats
    weekday: Floats
    in_stock: Bools
    on_sale: Bools
    latent: Floats
    mean: Floats
    dispersion: Floats
    location_share: Floats


def make_drivers(
    rng: np.random.Generator,
    catalogue: Catalogue,
    first_day: date,
    days: int,
    *,
    locations: int,
    lines_per_day: float,
    promotions_per_year: float,
    stock_outs_per_year: float,
) -> Drivers:
    """Draw all drivers and scale the levels so that an average day has `lines_per_day` order lines."""
    items = len(catalogue.item_id)
    calendar = [first_day + timedelta(days=t) for t in range(days)]
    events = event_days(first_day, days)
    day_of_year = np.array([day.timetuple().tm_yday for day in calendar])
    ages = np.arange(days)[None, :] - catalogue.launched[:, None]
    on_sale = ages >= 0

    promotions = _promotions(rng, catalogue, events, days, promotions_per_year)
    cut, promotion_lift = np.zeros((items, days)), np.zeros((items, days))
    for promotion in promotions:
        period = slice(promotion.start, promotion.end + 1)
        cut[promotion.item, period] = np.maximum(cut[promotion.item, period], promotion.cut)
        promotion_lift[promotion.item, period] += promotion.lift
    price = np.maximum(np.round(_list_prices(rng, catalogue, days) * (1 - cut), 2), 0.01)

    weekday = _weekdays(rng, items)[:, [day.weekday() for day in calendar]]
    season = _waves(rng, catalogue, day_of_year)
    trend = (rng.normal(0.08, 0.15, items)[:, None] * (np.arange(days) - days / 2)[None, :]) / 365.25
    event_lift = _event_lifts(rng, catalogue, events, days)
    launch = np.where(on_sale & (catalogue.launched[:, None] > 0), 0.7 * np.exp(-np.maximum(ages, 0) / 14), 0.0)

    level = rng.normal(0, 1.1, items) - 2.0 * catalogue.intermittent
    with np.errstate(divide="ignore"):
        price_effect = catalogue.elasticity[:, None] * np.log(price / catalogue.base_price[:, None])
    latent = np.where(
        on_sale,
        np.exp(level[:, None] + trend + weekday + season + event_lift + price_effect + promotion_lift + launch),
        0.0,
    )
    closed = closed_days(first_day, days)
    in_stock = ~_stock_outs(rng, items, days, stock_outs_per_year)
    dispersion = np.where(catalogue.intermittent, 0.25, rng.choice([2.0, 6.0, 1e6], items))
    share = rng.dirichlet(20 * (0.5 ** np.arange(1, locations + 1)), items)
    sold = latent * in_stock * ~closed[None, :]
    scale = _scale(sold, share, dispersion, catalogue.split, lines_per_day)
    return Drivers(
        events, closed, price, promotions, promotion_lift, event_lift, season, trend, weekday, in_stock, on_sale,
        latent * scale, sold * scale, dispersion, share,
    )  # fmt: skip


def event_days(first_day: date, days: int) -> dict[str, list[int]]:
    """Day indices of every event from 60 days before to 60 days after the period (so indices may lie outside of it)."""
    found: dict[str, list[int]] = {name: [] for name in _RAMPS}
    for year in range(first_day.year - 1, (first_day + timedelta(days=days)).year + 2):
        dates = {
            "spring_festival": LunarDate(year, 1, 1).to_solar_date(),
            "mid_autumn": LunarDate(year, 8, 15).to_solar_date(),
            "618": date(year, 6, 18),
            "double_11": date(year, 11, 11),
            "christmas": date(year, 12, 25),
            "childrens_day": date(year, 6, 1),
        }
        for name, day in dates.items():
            index = (day - first_day).days
            if -60 <= index < days + 60:
                found[name].append(index)
    return found


def closed_days(first_day: date, days: int) -> Bools:
    """Closed on New Year's Day, and from the eve of Spring Festival for three days."""
    closed = np.zeros(days, dtype=bool)
    for index in event_days(first_day, days)["spring_festival"]:
        closed[[t for t in range(index - 1, index + 2) if 0 <= t < days]] = True
    for t in range(days):
        day = first_day + timedelta(days=t)
        closed[t] |= (day.month, day.day) == (1, 1)
    return closed


def _weekdays(rng: np.random.Generator, items: int) -> Floats:
    profile = np.array([0.0, -0.05, -0.05, 0.0, 0.1, 0.3, 0.25])
    made = profile[None, :] * rng.uniform(0.3, 1.5, (items, 1)) + rng.normal(0, 0.05, (items, 7))
    return np.asarray(made - made.mean(axis=1, keepdims=True))


def _waves(rng: np.random.Generator, catalogue: Catalogue, day_of_year: Ints) -> Floats:
    peak = np.array([CATEGORIES[c].peak for c in catalogue.category]) + rng.normal(0, 8, len(catalogue.category))
    height = np.array([CATEGORIES[c].wave for c in catalogue.category]) * rng.uniform(0.7, 1.3, len(catalogue.category))
    return np.asarray(height[:, None] * np.cos(2 * np.pi * (day_of_year[None, :] - peak[:, None]) / 365.25))


def _event_lifts(rng: np.random.Generator, catalogue: Catalogue, events: dict[str, list[int]], days: int) -> Floats:
    lifts = np.zeros((len(catalogue.category), days))
    taste = rng.uniform(0.7, 1.3, len(catalogue.category))
    for name, (before, after) in _RAMPS.items():
        height = np.array([CATEGORIES[c].events.get(name, 0.0) for c in catalogue.category]) * taste
        shape = np.zeros(days)
        for index in events[name]:
            for t in range(max(0, index - before), min(days, index + after + 1)):
                shape[t] = max(shape[t], ((t - (index - before) + 1) / (before + 1)) ** 1.5 if t <= index else 0.5)
        lifts += height[:, None] * shape[None, :]
    return lifts


def _list_prices(rng: np.random.Generator, catalogue: Catalogue, days: int) -> Floats:
    """List price per item and day: a step of up to ±12 % every nine months or so."""
    steps = (rng.random((len(catalogue.item_id), days)) < 1 / 270) * rng.uniform(
        -0.12, 0.12, (len(catalogue.item_id), days)
    )
    steps[np.arange(days)[None, :] <= catalogue.launched[:, None]] = 0
    return np.asarray(np.round(catalogue.base_price[:, None] * np.exp(np.cumsum(steps, axis=1)), 2))


def _promotions(
    rng: np.random.Generator, catalogue: Catalogue, events: dict[str, list[int]], days: int, per_year: float
) -> tuple[Promotion, ...]:
    """Own discounts and banners at random, and the discounts of 618 and Double 11 that half of the items join."""
    made: list[Promotion] = []
    for item, launched in enumerate(catalogue.launched):
        for _ in range(rng.poisson(per_year * (days - launched) / 365.25)):
            start = int(rng.integers(launched, days))
            end = min(days - 1, start + int(rng.integers(2, 14)))
            if rng.random() < 0.7:
                cut = float(rng.choice([0.1, 0.15, 0.2, 0.3]))
                made.append(Promotion(item, "discount", start, end, cut, 0.15))
            else:
                made.append(Promotion(item, "banner", start, end, 0.0, 0.4))
        for name, length in (("618", 17), ("double_11", 10)):
            for index in events[name]:
                if rng.random() < 0.5 and max(launched, 0) <= index - length and index < days:
                    cut = float(rng.choice([0.15, 0.2, 0.25]))
                    made.append(Promotion(item, "festival", index - length, index, cut, 0.1))
    # one promotion of a kind at a time: a later one that overlaps an earlier one is not held
    made.sort(key=lambda p: (p.item, p.kind, p.start, p.end))
    kept: list[Promotion] = []
    for promotion in made:
        last = kept[-1] if kept else None
        if last and (last.item, last.kind) == (promotion.item, promotion.kind) and promotion.start <= last.end:
            continue
        kept.append(promotion)
    return tuple(kept)


def _stock_outs(rng: np.random.Generator, items: int, days: int, per_year: float) -> Bools:
    out = np.zeros((items, days), dtype=bool)
    for item, count in enumerate(rng.poisson(per_year * days / 365.25, items)):
        for start in rng.integers(0, days, count):
            out[item, start : start + int(rng.integers(3, 15))] = True
    return out


def _scale(sold: Floats, share: Floats, dispersion: Floats, split: Floats, lines_per_day: float) -> float:
    """Factor on all levels that gives `lines_per_day` order lines on an average day, by bisection.

    A cell with u units makes 1 + (u − 1) · split lines on average, so lines = (1 − split) · P(u > 0) + split · E(u).
    """
    every = max(1, sold.size * share.shape[1] // 400_000)
    every += every % 7 == 0  # a sample of days must hold all weekdays
    sample = sold[:, ::every, None] * share[:, None, :]
    k, p = dispersion[:, None, None], split[:, None, None]
    low, high = -12.0, 12.0
    for _ in range(24):
        middle = (low + high) / 2
        units = sample * np.exp(middle)
        lines = float(((1 - p) * -np.expm1(-k * np.log1p(units / k)) + p * units).sum()) / sample.shape[1]
        low, high = (middle, high) if lines < lines_per_day else (low, middle)
    return float(np.exp((low + high) / 2))
