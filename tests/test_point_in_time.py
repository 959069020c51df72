"""A night knows nothing that came later: facts from the future are put everywhere, and nothing may change.

Across the rooms, from the ledgers to the windows that a network trains on. What a single room promises is tested there.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipeline.as_of import as_of_view
from pipeline.cleaning.clean import clean
from pipeline.enrichment.calendar_features import event_features
from pipeline.enrichment.language_model import load_language_model
from pipeline.enrichment.prices import price_array
from pipeline.enrichment.promotions import promotion_array
from pipeline.enrichment.texts import text_array
from pipeline.lake import Lake
from pipeline.models.lstm_features import Windows
from pipeline.models.lstm_spec import LEVELS, FeatureSpec
from pipeline.models.panel import Panel
from pipeline.models.scaling import MinMaxScaler, PerSeriesScaler, StandardScaler
from pipeline.settings import LanguageModelSettings, Settings
from pipeline.tables import TABLES

FIRST = date(2011, 1, 3)
NIGHT = date(2011, 2, 20)
LATER = date(2011, 3, 15)
STATE = ("order_lines", "demand_daily", "shop_days", "items", "prices_daily", "promotions", "promotions_daily",
         "calendar_occurrences", "calendar_daily", "calendar_events")  # fmt: skip
SETTINGS = Settings.model_validate(
    {
        "shop": {"name": "Test", "country": "GB", "timezone": "Europe/London", "currency": "GBP"},
        "sources": [{"mapping": "online-retail-ii"}],
        "compute": {"threads": 2, "memory_limit": "500MB"},
    }
)


# --- raw lines → ledgers ---------------------------------------------------------------------------------------------


def raw_line(order: str, item: str, day: date, quantity: int, **more: Any) -> dict[str, Any]:
    at = datetime.combine(day, datetime.min.time()) + timedelta(hours=10)
    line: dict[str, Any] = {
        "order_id": order,
        "line_no": 1,
        "item_id": item,
        "item_text": f"TEXT OF {item}",
        "category": "",
        "quantity": quantity,
        "unit_price": 2.0,
        "currency": "GBP",
        "customer_key": "someone",
        "location": "",
        "country": "United Kingdom",
        "channel": "",
        "ordered_at": at,
        "available_at": at,
        "source": "online-retail-ii",
        "version": 1,
        "is_repeat": False,
        "problem_column": None,
        "problem": None,
        "raw_text": None,
    }
    return line | more


def deliver(lake: Lake, name: str, lines: Iterable[dict[str, Any]], known_on: date) -> None:
    """An order file as ingestion and validation leave it: all lines accepted."""
    numbered = [line | {"file_hash": name, "line": number} for number, line in enumerate(lines, start=2)]
    with lake.connect() as con:
        write_rows(lake, con, "raw_order_lines", {"file_hash": name}, numbered)
        file = {
            "source": "online-retail-ii",
            "content": "orders",
            "file_name": name,
            "bytes": 1,
            "lines": len(numbered),
            "first_known_on": known_on,
            "last_known_on": known_on,
            "delivered_at": datetime(2011, 1, 1),
        }
        write_rows(lake, con, "raw_files", {"file_hash": name}, [file])
        quality = {"file_name": name, "source": "online-retail-ii", "measure": "lines", "value": len(numbered)}
        write_rows(lake, con, "data_quality", {"file_hash": name}, [quality])


def write_rows(
    lake: Lake, con: Any, table: str, partition: dict[str, str], rows: list[dict[str, Any]], part: str = "part"
) -> None:
    schema = pa.schema([field for field in TABLES[table].arrow_schema if field.name not in partition])
    made = [{name: row.get(name) for name in schema.names} for row in rows]
    plain = pa.schema([pa.field(f.name, pa.float64() if pa.types.is_decimal(f.type) else f.type) for f in schema])
    lake.write(con, table, partition, pa.Table.from_pylist(made, schema=plain), part)


def random_lines(seed: int) -> list[dict[str, Any]]:
    """Orders, partial and whole cancellations, returns of anonymous customers, write-offs and changed texts."""
    random = np.random.default_rng(seed)
    lines = []
    for number in range(160):
        item = f"I{random.integers(6)}"
        day = FIRST + timedelta(days=int(random.integers((LATER - FIRST).days)))
        quantity = int(random.integers(1, 9))
        who = str(random.choice(["a", "b", ""]))
        text = f"TEXT {random.integers(2)} OF {item}"
        lines.append(raw_line(f"{number}", item, day, quantity, customer_key=who, item_text=text))
        if random.random() < 0.5:
            back = day + timedelta(days=int(random.integers(0, 30)))
            units = -quantity if random.random() < 0.5 else -int(random.integers(1, quantity + 1))
            lines.append(raw_line(f"C{number}", item, back, units, customer_key=who, item_text=text))
    return [line for line in lines if line["available_at"].date() <= LATER]


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
        row = {"item_id": "I1", "location": "", "kind": kind, "share": share}
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


# --- what a night reads → what a network trains on -------------------------------------------------------------------


def some_panel(*, history: int = 800, horizon: int = 28, seed: int = 5) -> Panel:
    random = np.random.default_rng(seed)
    series, days = 4, history + horizon
    units = random.poisson(1.5, (series, history)).astype(np.float32)
    price = (2 + random.random((series, days))).astype(np.float32)
    return Panel(
        item_id=np.array([f"I{n}" for n in range(series)]),
        location=np.array([""] * series),
        first_day=FIRST,
        units=units,
        units_winsorised=units,
        price=price,
        promotion=np.zeros((series, days, 1), np.float32),
        promotion_kinds=("mailer",),
        calendar=random.random((days, 2)).astype(np.float32),
        calendar_names=("a", "b"),
        closed=np.zeros(days, np.bool_),
        first_sold=np.zeros(series, np.int64),
        text=np.zeros((series, 0), np.float32),
        category=np.zeros(series, np.int64),
        category_names=("",),
    )


def window_bytes(panel: Panel, night: int, horizon: int) -> dict[str, bytes]:
    """What the network reads of windows that end on a night."""
    spec = FeatureSpec(
        history_days=112,
        calendar_names=panel.calendar_names,
        promotion_kinds=panel.promotion_kinds,
        category_names=panel.category_names,
        text_size=0,
        year_ago=True,
        levels=StandardScaler(np.zeros(LEVELS), np.ones(LEVELS), 6.0),
        calendar=MinMaxScaler(np.zeros(2), np.ones(2)),
        series=PerSeriesScaler(),
    )
    rows = torch.arange(panel.series)
    batch = Windows(panel, spec).cut(rows, torch.full_like(rows, night), horizon)
    return {name: getattr(batch, name).numpy().tobytes() for name in batch.__dataclass_fields__}


def with_other_future(panel: Panel, night: int, what: str) -> Panel:
    """The panel with other values after a night within its history."""
    values = np.array(getattr(panel, what))
    random = np.random.default_rng(9)
    if what == "price":
        # paid on days with a sale only: that a price moved tells that there was one
        values[:, night + 1 :] = 0.5 + 4 * random.random(values[:, night + 1 :].shape)
    else:
        values[:, night + 1 :] = random.poisson(40, values[:, night + 1 :].shape)
    changed = replace(panel, **{what: values.astype(np.float32)})
    return replace(changed, units_winsorised=changed.units) if what == "units" else changed


@pytest.mark.parametrize("what", ["units", "price"])
@pytest.mark.parametrize("horizon", [28, 366], ids=["28 days", "a year ahead"])
def test_a_training_window_reads_no_demand_and_no_price_paid_after_its_night(what: str, horizon: int) -> None:
    panel, night = some_panel(), 420
    before = window_bytes(panel, night, horizon)
    after = window_bytes(with_other_future(panel, night, what), night, horizon)
    differing = [name for name in before if before[name] != after[name]]
    assert not differing, f"{what} after the window's night reach {differing}"
