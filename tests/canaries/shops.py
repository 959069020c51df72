"""Small random shops as ledgers, and what else may become known of them after a night.

A shop is rows by ledger, so that a test can change what became known after a night as plainly as a list. Written, it is
a lake like any other: late and corrected lines are ledger rows that become known later than their day, texts are edited,
promotions and days off are announced.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.cleaning.checkpoints import keep_checkpoints
from pipeline.enrichment.language_model import find_language_model
from pipeline.lake import Lake
from pipeline.settings import LanguageModelSettings, Settings
from pipeline.tables import TABLES

Row = dict[str, Any]
Facts = dict[str, list[Row]]
"""Rows by ledger."""

FIRST = date(2011, 2, 7)
"""A Monday; the first quarter ends on day 52, and the ledgers are summed up then."""
DAYS = 105
"""Days of a shop, those after its night included."""
KNOWN = {
    "demand_changes": "known_on",
    "item_sightings": "known_on",
    "announced_items": "known_on",
    "promotions": "known_on",
    "calendar_occurrences": "announced_on",
    "reviews": "known_on",
}
"""The column of each ledger that says when a fact became known."""
HORIZON = VALIDATION_DAYS = 14
_WEEK = (1.0, 0.7, 0.7, 0.9, 1.5, 2.2, 0.3)
_COUNTRY = "GB"


def a_day(number: int) -> date:
    """Day of a shop by its number, from 0."""
    return FIRST + timedelta(days=number)


def small_settings(*, by_location: bool = False, **sections: Any) -> Settings:
    """Settings of a training of a moment, in which the clock never has a say."""
    return Settings.model_validate(
        {
            "shop": {"name": "Canary", "country": _COUNTRY, "timezone": "UTC", "currency": "GBP"}
            | {"by_location": by_location},
            "sources": [{"mapping": "online-retail-ii"}],
            "training": {
                "hidden": 8, "max_steps": 8, "pretrain_steps": 2, "update_steps": 4, "batch_size": 16, "patience": 99,
                "history_days": 28, "validation_days": VALIDATION_DAYS, "min_history_days": 28, "max_seconds": 1e6,
            },
            "forecast": {"horizon_days": HORIZON, "sample_paths": 20},
            "compute": {"threads": 2, "memory_limit": "500MB"},
        }
        | sections
    )  # fmt: skip


# --- shops -----------------------------------------------------------------------------------------------------------


def random_shop(seed: int, *, items: int = 4, by_location: bool = False) -> Facts:
    """A shop of 15 weeks: sales, cancellations, late and corrected lines, edited texts, launches, promotions, announced days."""
    random = np.random.default_rng(seed)
    places = ("north", "south") if by_location else ("",)
    facts: Facts = {ledger: [] for ledger in KNOWN}
    for item in (f"I{number}" for number in range(items // len(places))):
        level, first = float(np.exp(random.normal(0.8, 0.8))), int(random.integers(0, 25))
        price = 1 + float(random.random() * 4)
        for day in range(first, DAYS):
            for place in places:
                units = int(random.poisson(level * _WEEK[day % 7]))
                if units:
                    late = int(random.integers(1, 21)) if random.random() < 0.1 else 0
                    facts["demand_changes"].append(sold(item, day, units, day + late, place=place, price=price))
                if units and random.random() < 0.15:
                    back, after = -int(random.integers(1, units + 1)), int(random.integers(0, 25))
                    reason = str(random.choice(["cancellation", "return", "correction"]))
                    facts["demand_changes"].append(
                        sold(item, day, back, day + after, place=place, price=price, reason=reason)
                    )
            if random.random() < 0.05:
                price *= 1 + float(random.normal(0, 0.1))
            if day == first or random.random() < 0.1:
                text, category = f"text {random.integers(3)} of {item}", f"category {random.integers(3)}"
                origin = str(random.choice(["orders", "orders", "master"]))
                facts["item_sightings"].append(seen(item, text, day, category=category, origin=origin))
        for known in random.integers(0, DAYS, 6).tolist():
            starts = known + int(random.integers(0, 20))
            kind, share = str(random.choice(["mailer", "display"])), float(random.integers(1, 5) / 4)
            price = float(random.choice([1.5, 2.5])) if random.random() < 0.5 else None
            facts["promotions"].append(promoted(item, known, starts, kind=kind, share=share, price=price))
    for number, known in enumerate(random.integers(0, DAYS, 8).tolist()):
        kind = "own" if number % 2 else "holiday"
        facts["calendar_occurrences"].append(announced(f"event {number}", known, known + number * 3, kind=kind))
    facts["reviews"] = _reviews(random, sorted({row["item_id"] for row in facts["item_sightings"]}))
    _launch(facts, random, places)
    return facts


def _launch(facts: Facts, random: np.random.Generator, places: Sequence[str]) -> None:
    """Items that are listed every fourth day: most are sold later, some put off, some never seen again."""
    for number, known in enumerate(range(2, DAYS, 4)):
        item, starts = f"N{number}", known + int(random.integers(0, 12))
        facts["item_sightings"].append(seen(item, f"text {random.integers(3)} of I0", known, origin="master"))
        facts["announced_items"].append(
            listed(item, known, starts if number % 3 else None, price=float(random.integers(1, 9)))
        )
        if number % 5 == 0:
            facts["announced_items"].append(listed(item, known + 3, starts + 9, price=None))
        if number % 4:
            days = [day for day in range(starts, min(starts + 30, DAYS)) if random.random() < 0.4]
            facts["demand_changes"] += [sold(item, day, 1 + day % 3, day, place=places[0]) for day in days]
            facts["item_sightings"] += [seen(item, f"text of {item}", day) for day in days[:1]]


def _reviews(random: np.random.Generator, items: list[str]) -> list[Row]:
    """Three reviews a day: late ones, edited ones, and such without a rating, whose words are read by those before."""
    rows = []
    for number, day in enumerate(np.repeat(np.arange(DAYS), 3).tolist()):
        item, late = str(random.choice(items)), int(random.integers(0, 9))
        rating = None if number % 5 == 0 else int(random.integers(1, 6))
        rows.append(
            reviewed(f"R{number}", item, day, day + late, rating=rating, words=random.integers(0, 30, 2).tolist())
        )
        if number % 7 == 0:
            rows.append(reviewed(f"R{number}", item, day, day + late + 6, version=2, rating=1))
    return rows


def sold(
    item: str, day: int, units: int, known: int, *, place: str = "", price: float = 2.0, reason: str = "sale"
) -> Row:
    """A row of the demand ledger; days by number, here and below."""
    row = {"item_id": item, "location": place, "demand_day": a_day(day), "reason": reason, "units": units}
    return row | {"lines": int(units > 0), "revenue": round(units * price, 2), "known_on": a_day(known)}


def seen(item: str, text: str, known: int, *, category: str = "", origin: str = "orders") -> Row:
    """A row of the item ledger."""
    row = {"item_id": item, "item_text": text, "category": category, "origin": origin}
    return row | {"lines": int(origin == "orders"), "known_on": a_day(known)}


def listed(item: str, known: int, on_sale: int | None, *, price: float | None = 2.0) -> Row:
    """What master data says of a launch."""
    starts = None if on_sale is None else a_day(on_sale)
    return {"item_id": item, "on_sale_from": starts, "unit_price": price, "known_on": a_day(known)}


def promoted(
    item: str, known: int, starts: int, *, kind: str = "mailer", share: float = 1.0, price: float | None = 0.5
) -> Row:
    """A promotion of six days, and its planned price."""
    row = {"item_id": item, "location": "", "kind": kind, "share": share, "unit_price": price}
    return row | {"known_on": a_day(known)} | {"starts_on": a_day(starts), "ends_on": a_day(starts + 5)}


def announced(event: str, known: int, starts: int, *, kind: str = "own") -> Row:
    """An event of two days that was announced."""
    row = {"country": _COUNTRY, "event": event, "name": event, "kind": kind, "made_from": "canary"}
    return row | {"starts_on": a_day(starts), "ends_on": a_day(starts + 1), "announced_on": a_day(known)}


def reviewed(
    review: str,
    item: str,
    day: int,
    known: int,
    *,
    version: int = 1,
    rating: float | None = 5.0,
    words: Sequence[int] = (),
) -> Row:
    """A version of a review."""
    row = {"review_id": review, "version": version, "item_id": item, "rating": rating, "source": "canary"}
    row |= {"sentences": [f"words {word}" for word in words], "customer_key": None, "file_hash": "canary"}
    at = datetime.combine(a_day(day), datetime.min.time())
    return row | {"reviewed_at": at, "reviewed_on": a_day(day), "known_on": a_day(known)}


# --- what may become known later ---------------------------------------------------------------------------------------


def is_future(ledger: str, row: Row, night: int) -> bool:
    """Whether a fact became known after the night."""
    return bool(row[KNOWN[ledger]] > a_day(night))


def past(facts: Facts, night: int) -> Facts:
    """Only what was known by the night: everything else deleted."""
    return {ledger: [row for row in rows if not is_future(ledger, row, night)] for ledger, rows in facts.items()}


def altered(facts: Facts, night: int, random: np.random.Generator) -> Facts:
    """Every fact of the future with other values."""
    other: dict[str, Callable[[Row], Row]] = {
        "demand_changes": lambda row: {"units": 1000 + abs(row["units"]) * 7, "lines": 30, "revenue": 0.5},
        "item_sightings": lambda row: {"item_text": "a text of the future", "origin": "master", "category": "other"},
        "announced_items": lambda row: {"on_sale_from": a_day(night + 1), "unit_price": 77.0},
        "promotions": lambda row: {
            "share": 0.111,
            "kind": "unheard of",
            "unit_price": 7.0,
            "ends_on": row["ends_on"] + timedelta(days=9),
        },
        "calendar_occurrences": lambda row: {"kind": "holiday", "name": "a day off of the future"},
        "reviews": lambda row: {"rating": None if row["rating"] == 1 else 1.0, "sentences": ["words of the future"]},
    }
    return {
        ledger: [row | other[ledger](row) if is_future(ledger, row, night) else row for row in rows]
        for ledger, rows in facts.items()
    }


def permuted(facts: Facts, night: int, random: np.random.Generator) -> Facts:
    """The facts of the future dealt out anew among items and days, and all rows in another order."""
    dealt: Facts = {}
    for ledger, rows in facts.items():
        future = [row for row in rows if is_future(ledger, row, night)]
        names = [row.get("item_id", row.get("event")) for row in future]
        random.shuffle(names)
        name = "event" if ledger == "calendar_occurrences" else "item_id"
        future = [row | {name: other} for row, other in zip(future, names, strict=True)]
        if ledger == "demand_changes":
            days = [row["demand_day"] for row in future]
            random.shuffle(days)
            future = [
                # never known before its day: ingestion holds that, and this canary with it
                row | {"demand_day": day, "known_on": max(day, row["known_on"])}
                for row, day in zip(future, days, strict=True)
            ]
        mixed = [row for row in rows if not is_future(ledger, row, night)] + future
        random.shuffle(mixed)
        dealt[ledger] = mixed
    return dealt


def joined(facts: Facts, night: int, random: np.random.Generator) -> Facts:
    """More facts of the future: late and corrected lines about the past, texts, promotions, days off, new items."""
    place = next(row["location"] for row in facts["demand_changes"])
    more: Facts = {ledger: [] for ledger in facts}
    for known in (night + 1, night + 9):
        for item in ("I0", "I1", "unborn"):
            more["demand_changes"] += [
                sold(item, known, 4000, known, place=place),
                sold(item, night - int(random.integers(0, 30)), 500, known, place=place, price=90.0),
                sold(item, night - 3, -400, known, place=place, reason="cancellation"),
                sold(item, night, 77, known, place=place, reason="correction"),
                # earlier than all that the night knows
                sold(item, -40, 60, known, place=place),
            ]
            more["item_sightings"] += [
                seen(item, "a text of the future", known, category="a new category", origin=origin)
                for origin in ("orders", "master")
            ]
            more["announced_items"].append(listed(item, known, night + 1, price=88.0))
            more["promotions"] += [
                promoted(item, known, starts, kind=kind, share=0.99)
                for starts in (night - 2, night + 2)
                for kind in ("mailer", "unheard of")
            ]
        # of items that the night expects already, and of one that it never heard of
        for item in sorted({row["item_id"] for row in facts["announced_items"]} | {"announced"}):
            more["item_sightings"].append(seen(item, "a text of the future", known, origin="master"))
            more["announced_items"].append(listed(item, known, night + int(random.integers(-5, 5)), price=99.0))
        more["reviews"] += [
            reviewed(f"late {known} {number}", "I0", night - 40 + number, known, rating=1.0, words=[3, 4])
            for number in range(40)
        ] + [reviewed(f"R{number}", "I1", 20, known, version=2 + known, rating=None) for number in range(30)]
        more["calendar_occurrences"] += [
            announced("unheard of", known, starts, kind=kind)
            for starts, kind in ((night - 2, "own"), (night + 2, "own"), (night + 4, "holiday"))
        ]
    return {ledger: [*rows, *more[ledger]] for ledger, rows in facts.items()}


FUTURES = {"altered": altered, "permuted": permuted, "joined": joined}
"""Ways in which what became known after a night may differ, to be put on one after the other; `past` deletes it."""


# --- written -------------------------------------------------------------------------------------------------------------


@cache
def model_id() -> str:
    """The language model that the settings name; its vectors here are fake ones."""
    return find_language_model(LanguageModelSettings()).model_id


def write(lake: Lake, facts: Facts) -> Lake:
    """Write a shop into an empty lake, its calendar and the vectors of its texts included."""
    texts = sorted(
        {row["item_text"] for row in facts["item_sightings"]}
        | {one for row in facts["reviews"] for one in row["sentences"]}
    )
    # a calendar grows with the orders
    orders = facts["demand_changes"]
    first, last = min(row["demand_day"] for row in orders), max(row["known_on"] for row in orders)
    daily, always = _calendar(first.year - 1, last.year + (2 if last < a_day(DAYS - 10) else 4))
    tables = facts | {
        "item_text_features": [_vector(text) for text in texts if text],
        "calendar_daily": daily,
        "calendar_occurrences": [*always, *facts["calendar_occurrences"]],
    }
    for table, rows in tables.items():
        _write_rows(lake, table, rows)
    keep_checkpoints(lake)
    return lake


def write_vectors(lake: Lake) -> None:
    """Give every text of the item ledger a vector, as the enrichment does after each cleaning."""
    with lake.connect() as con:
        lake.attach(con, "item_sightings")
        texts = con.execute(
            "SELECT DISTINCT item_text FROM item_sightings WHERE item_text <> '' ORDER BY ALL"
        ).fetchall()
    _write_rows(lake, "item_text_features", [_vector(text) for (text,) in texts])


def _write_rows(lake: Lake, table: str, rows: list[Row]) -> None:
    with lake.connect() as con:
        con.register("_rows", _arrow(table, rows))
        lake.write_partitions(con, table, "FROM _rows", part="canary")


def _arrow(table: str, rows: list[Row]) -> pa.Table:
    """Rows as a table has them; decimals as floats, which DuckDB casts."""
    schema = TABLES[table].arrow_schema
    plain = pa.schema([pa.field(f.name, pa.float64() if pa.types.is_decimal(f.type) else f.type) for f in schema])
    return pa.Table.from_pylist(rows, schema=plain)


def _vector(text: str) -> Row:
    digest = hashlib.sha256(text.encode())
    vector = [byte / 255 for byte in digest.digest()[:4]]
    row = {"model_id": model_id(), "batch": "canary", "item_text": text}
    return row | {"text_hash": digest.hexdigest()[:32], "vector": vector}


@cache
def _calendar(first_year: int, last_year: int) -> tuple[list[Row], list[Row]]:
    """Days and yearly events that are known for ever."""
    days = [
        date(first_year, 1, 1) + timedelta(days=n)
        for n in range((date(last_year + 1, 1, 1) - date(first_year, 1, 1)).days)
    ]
    daily = [
        {"country": _COUNTRY, "day": day, "weekday": day.isoweekday(), "week_of_year": day.isocalendar().week}
        | {"is_holiday": (day.month, day.day) in {(4, 25), (12, 25)}, "holiday": "", "events": []}
        for day in days
    ]
    yearly = [("christmas", "holiday", 12, 25), ("easter", "holiday", 4, 25), ("valentine", "festival", 2, 14)]
    always = [
        {"country": _COUNTRY, "event": event, "name": event, "kind": kind, "made_from": "canary", "announced_on": None}
        | {"starts_on": date(year, month, day), "ends_on": date(year, month, day)}
        for year in range(first_year - 2, last_year + 3)
        for event, kind, month, day in yearly
    ]
    return daily, always
