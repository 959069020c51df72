"""A night knows nothing that came later: facts from the future are put everywhere, and nothing may change.

Across the rooms, from raw lines to the arrays that a night reads. What a single room promises is tested there; whole nights,
and the windows that a network trains on, are in `canaries/`.
"""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.as_of import as_of_view
from pipeline.cleaning.clean import clean
from pipeline.enrichment.calendar_features import event_features
from pipeline.enrichment.language_model import load_language_model
from pipeline.enrichment.prices import price_array
from pipeline.enrichment.promotion_features import promotion_array
from pipeline.enrichment.texts import text_array
from pipeline.lake import Lake
from pipeline.settings import LanguageModelSettings
from tests.canaries.deliveries import FIRST, LATER, NIGHT, SETTINGS, deliver, random_lines, raw_line, write_rows

STATE = ("order_lines", "demand_daily", "shop_days", "items", "prices_daily", "promotions", "promotions_daily",
         "planned_prices", "calendar_occurrences", "calendar_daily", "calendar_events")  # fmt: skip


# --- raw lines → ledgers ---------------------------------------------------------------------------------------------


def state(lake: Lake, night: date = NIGHT) -> dict[str, list[Any]]:
    """All that a night knows, but for where a line stood in which file."""
    with as_of_view(lake, night) as view:
        known = {}
        for name in STATE:
            columns = "* EXCLUDE (file_hash, line)" if name == "order_lines" else "*"
            known[name] = view.con.execute(f"SELECT {columns} FROM {name} ORDER BY ALL").fetchall()
        known["snapshot"] = [view.snapshot]
        return known


def same(left: dict[str, list[Any]], right: dict[str, list[Any]]) -> None:
    for name, rows in left.items():
        assert rows == right[name], name


@pytest.mark.parametrize("seed", range(3))
def test_cleaning_a_history_at_once_tells_a_past_night_what_it_knew_then(seed: int, tmp_path: Path) -> None:
    lines = random_lines(seed)
    then = Lake(tmp_path / "then", SETTINGS.compute)
    deliver(then, "known", [line for line in lines if line["available_at"].date() <= NIGHT], FIRST)
    clean(then, SETTINGS)
    at_once = Lake(tmp_path / "at_once", SETTINGS.compute)
    deliver(at_once, "all", lines, FIRST)
    clean(at_once, SETTINGS)
    same(state(then), state(at_once))
    assert state(at_once, LATER)["demand_daily"] != state(at_once)["demand_daily"]


@pytest.mark.parametrize("seed", range(2))
def test_later_deliveries_and_corrections_change_nothing_for_a_past_night(seed: int, tmp_path: Path) -> None:
    lines = random_lines(seed)
    lake = Lake(tmp_path, SETTINGS.compute)
    known = [line for line in lines if line["available_at"].date() <= NIGHT]
    deliver(lake, "known", known, FIRST)
    clean(lake, SETTINGS)
    before = state(lake)
    late = datetime.combine(LATER, datetime.min.time())
    corrected = [
        line | {"quantity": line["quantity"] + 1, "item_text": "CORRECTED", "version": 2, "available_at": late}
        for line in known[::3]
    ]
    deliver(lake, "corrected", corrected, LATER)
    deliver(lake, "new", [line for line in lines if line["available_at"].date() > NIGHT], NIGHT + timedelta(days=1))
    clean(lake, SETTINGS)
    same(before, state(lake))
    assert state(lake, LATER)["demand_daily"] != before["demand_daily"]


def test_no_accepted_line_is_lost_in_cleaning(tmp_path: Path) -> None:
    lake = Lake(tmp_path, SETTINGS.compute)
    lines = random_lines(3)
    lines.append(raw_line("w1", "I1", NIGHT, -3, unit_price=0.0, customer_key=None, item_text="?"))
    lines.append(raw_line("f1", "I1", NIGHT, 3, unit_price=0.0, customer_key=None, item_text=None, category=None))
    deliver(lake, "all", lines, FIRST)
    report = clean(lake, SETTINGS)
    with lake.connect() as con:
        lake.attach(con, "order_lines", "demand_changes")
        assert con.sql("SELECT count(*) FROM order_lines").fetchall() == [(len(lines),)]
        sold = con.sql("SELECT sum(quantity) FROM order_lines WHERE kind = 'sale'").fetchall()
        assert con.sql("SELECT sum(units) FROM demand_changes WHERE reason = 'sale'").fetchall() == sold
    assert report.lines == len(lines)


# --- ledgers → what a night reads ------------------------------------------------------------------------------------


def ledgers(lake: Lake, *, future: bool) -> None:
    """A small shop's ledgers; with `future`, facts in each that became known after the night."""
    for day in (FIRST + timedelta(days=n) for n in range((NIGHT - FIRST).days + 1)):
        write_day(lake, day, day, units=2)
    announced = [(FIRST, FIRST + timedelta(days=9)), (NIGHT, NIGHT + timedelta(days=5))]
    for number, (known_on, starts_on) in enumerate(announced):
        write_promotion(lake, f"p{number}", known_on, starts_on, 0.5)
    write_calendar(lake, years=(2009, 2013), future=future)
    write_vectors(lake, "then", {"text of i1": [1.0, 0.0]})
    if future:
        for days_later in (1, 8):
            known_on = NIGHT + timedelta(days=days_later)
            write_day(lake, known_on, known_on, units=1000)
            # late, and about the past: sales, cancellations, corrections, texts, prices
            write_day(lake, known_on, NIGHT - timedelta(days=3), units=50, part="late")
            write_day(lake, known_on, FIRST - timedelta(days=30), units=50, part="earlier_than_all")
            write_promotion(lake, f"f{days_later}", known_on, NIGHT - timedelta(days=2), 1.0)
            write_promotion(lake, f"g{days_later}", known_on, NIGHT + timedelta(days=2), 1.0, kind="unheard_of")
        write_vectors(lake, "later", {"a text of the future": [0.0, 1.0]})


def write_day(lake: Lake, known_on: date, day: date, *, units: int, part: str = "part") -> None:
    with lake.connect() as con:
        sale = {"item_id": "I1", "location": "", "demand_day": day, "units": units, "lines": 30, "revenue": 3.0 * units}
        back = {**sale, "reason": "cancellation", "units": -1, "lines": 0, "revenue": -3.0}
        changes = [{**sale, "reason": "sale"}, back]
        write_rows(lake, con, "demand_changes", {"known_on": known_on.isoformat()}, changes, part)
        text = "text of i1" if known_on <= NIGHT else "a text of the future"
        seen = [
            {"item_id": "I1", "item_text": text, "category": f"category {units}", "origin": "orders", "lines": units}
        ]
        if known_on > NIGHT:
            seen.append({**seen[0], "origin": "master", "lines": 0})
            seen.append({**seen[0], "item_id": "an item of the future"})
        write_rows(lake, con, "item_sightings", {"known_on": known_on.isoformat()}, seen, part)


def write_promotion(lake: Lake, part: str, known_on: date, starts_on: date, share: float, kind: str = "mailer") -> None:
    with lake.connect() as con:
        row = {"item_id": "I1", "location": "", "kind": kind, "share": share, "unit_price": 2.0 + share}
        period = {"starts_on": starts_on, "ends_on": starts_on + timedelta(days=6)}
        write_rows(lake, con, "promotions", {"known_on": known_on.isoformat()}, [{**row, **period}], part)


def write_calendar(lake: Lake, *, years: tuple[int, int], future: bool) -> None:
    from pipeline.enrichment.calendar import build_calendar

    events = [("fair", FIRST, FIRST + timedelta(days=20)), ("strike", NIGHT, NIGHT + timedelta(days=3))]
    if future:
        events.append(("unheard of", NIGHT + timedelta(days=1), NIGHT + timedelta(days=2)))
    own = [{"name": n, "starts_on": day, "ends_on": day, "announced_on": known} for n, known, day in events]
    settings = SETTINGS.model_validate(SETTINGS.model_dump() | {"calendar": {"own_events": own}})
    # a calendar that was grown by later orders
    build_calendar(lake, settings, FIRST, date(2014, 1, 1) if future else NIGHT)


def write_vectors(lake: Lake, batch: str, vectors: dict[str, list[float]]) -> None:
    import hashlib

    rows = [
        {"text_hash": hashlib.sha256(text.encode()).hexdigest()[:32], "item_text": text, "vector": vector}
        for text, vector in vectors.items()
    ]
    with lake.connect() as con:
        write_rows(lake, con, "item_text_features", {"model_id": "m", "batch": batch}, rows)


def arrays(lake: Lake) -> dict[str, Any]:
    with as_of_view(lake, NIGHT) as view:
        history = (NIGHT - view.first_day).days + 1
        at = (["I1"], [""], view.first_day)
        names, calendar = event_features(view.con, ["GB"], view.first_day, history + 28)
        kinds, promotion, _ = promotion_array(view.con, *at, history + 28)
        return {
            "first_day": view.first_day,
            "calendar_names": names,
            "calendar": calendar.tobytes(),
            "kinds": kinds,
            "promotion": promotion.tobytes(),
            "price": price_array(view.con, *at, history, 28).tobytes(),
            "text": text_array(view.con, ["I1"], "m").tobytes(),
        }


def test_facts_of_the_future_change_no_view_and_no_array_of_a_night(tmp_path: Path) -> None:
    without, with_future = Lake(tmp_path / "without", SETTINGS.compute), Lake(tmp_path / "with", SETTINGS.compute)
    ledgers(without, future=False)
    ledgers(with_future, future=True)
    then, now = state(without), state(with_future)
    occurrences = then.pop("calendar_occurrences"), now.pop("calendar_occurrences")
    same(then, now)
    assert arrays(without) == arrays(with_future)
    later = state(with_future, NIGHT + timedelta(days=8))
    assert all(later[name] != rows for name, rows in then.items() if name != "order_lines"), "the test sees nothing"
    assert occurrences[0] == occurrences[1], "calendar_occurrences: later orders grow the calendar of a past night"


def test_the_vector_of_a_text_does_not_depend_on_texts_that_are_encoded_with_it() -> None:
    """Texts of the future are encoded in one batch with those of the past when a history is loaded at once."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model = load_language_model(LanguageModelSettings())
        random = np.random.default_rng(0)
        words = [
            "red",
            "white",
            "blue",
            "mug",
            "cup",
            "set",
            "of",
            "tins",
            "garden",
            "heart",
            "light",
            "holder",
            "keep",
            "calm",
            "pantry",
            "design",
            "spice",
        ]
        known, future = (
            [" ".join(random.choice(words, size=random.integers(1, longest))) for _ in range(count)]
            for count, longest in ((50, 9), (13, 14))
        )
        alone = model.encode(known).vectors
        together = model.encode([*known, *future]).vectors[: len(known)]
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(alone, together, atol=1e-5)
    differing = (alone != together).any(axis=1).sum()
    assert not differing, f"{differing} of {len(known)} texts have other bytes beside texts of the future"
