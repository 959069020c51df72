"""Cleaning of all deliveries that are validated and not yet cleaned.

A delivery is cleaned alone, in the order of what it makes known (`raw_files.first_known_on`, then file name), on what
earlier deliveries left. It writes `order_lines`, `netted_lines`, `demand_changes` and `item_sightings`, each as parts
named after the delivery, and `cleaning_report` last: a killed run is begun again at the delivery it was in. It reads the
ledgers as far back as netting looks before its first day, so its cost does not grow with history.

The ledgers do not depend on how the same lines are cut into deliveries, as long as the deliveries come in the order of
what they make known. Two things do depend on it: a cancellation (or a correction) that was cleaned before its order is
netted when the order comes, on what is left then; and item master data tells kinds of lines (fuel, coupons) only for
lines that are cleaned after it was ingested.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.cleaning.checkpoints import LEDGERS, drop_checkpoints, keep_checkpoints
from pipeline.cleaning.ledgers import Cleaned, Ledgers, broken
from pipeline.cleaning.netting import Matches, NettingLines, net
from pipeline.cleaning.texts import make_text_table
from pipeline.errors import DeliveryError, SettingsError
from pipeline.ingestion.mapping import SourceMapping, line_kind_sql, load_mappings, sql_text
from pipeline.ingestion.standing import attach_marks, deliveries, delivery_files, keep_marks
from pipeline.lake import Lake
from pipeline.models.base import Progress, silent
from pipeline.settings import Settings

LOOK_BACK_DAYS = 400
"""How long after an order a known customer's cancellation or return may come: a year, and the weeks of a late one."""
ANONYMOUS_DAYS = 7
"""The same without a customer: on Online Retail II half of the exact matches lie within 5 days, the others up to a
year off, where an equal line of someone else is as likely."""

_SQL = {path.stem: path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("*.sql")}
_FILES = "files:"
_DAY = 86_400_000_000


@dataclass(frozen=True)
class CleaningReport:
    """What one run of cleaning did.

    Attributes:
        deliveries: deliveries cleaned.
        lines: accepted order lines read.
        measures: (lines, units) by measure, summed over the deliveries; see the table `cleaning_report`.
        rows: rows written, by ledger.
        warnings: what was found amiss and mended, in words.
        seconds: time it took.
    """

    deliveries: int = 0
    lines: int = 0
    measures: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class _Delivery:
    file_hash: str
    file_name: str
    source: str
    content: str
    lines: int


def clean(lake: Lake, settings: Settings, *, progress: Progress = silent) -> CleaningReport:
    """Clean every validated delivery that has not been cleaned.

    Args:
        lake: the home's lake.
        settings: the home's settings.
        progress: called before each delivery.

    Raises:
        SettingsError: a source has no mapping any more, or a line's currency has no exchange rate.
        DiskFullError: the disk is full; what was cleaned before still stands.
    """
    started = time.monotonic()
    mappings = load_mappings(settings.sources, lake.home)
    ledgers = Ledgers.listed(lake)
    waiting, warnings = _pending(lake, ledgers)
    measures: dict[str, tuple[int, int]] = {}
    for done, delivery in enumerate(waiting):
        progress("cleaning", done, len(waiting))
        for measure, value, units in _clean_delivery(lake, settings, mappings, delivery, ledgers):
            before = measures.get(measure, (0, 0))
            measures[measure] = (before[0] + value, before[1] + units)
    if waiting:
        progress("cleaning", len(waiting), len(waiting))
    keep_marks(lake, "cleaning_report")
    ledgers.keep_sizes()
    keep_checkpoints(lake)
    lines = sum(value for measure, (value, _) in measures.items() if measure.startswith("lines:"))
    return CleaningReport(len(waiting), lines, measures, ledgers.rows, warnings, time.monotonic() - started)


def _pending(lake: Lake, ledgers: Ledgers) -> tuple[list[_Delivery], tuple[str, ...]]:
    """Deliveries to clean, in order, and warnings; removes what a killed run, or whoever deleted files, left of them."""
    with lake.connect() as con:
        attach_marks(lake, con, "raw_files", "cleaning_report")
        validated = pa.table({"file_hash": pa.array(sorted(deliveries(lake, "data_quality")), pa.string())})
        con.register("validated", validated)
        found = con.execute(_SQL["deliveries"]).fetchall()
    by_hash = {str(row[0]): _Delivery(*row[:5]) for row in found}
    told = [Cleaned(row[0], row[1], row[5], row[6], row[7], dict(row[8] or {})) for row in found]
    again, warnings = broken(told, ledgers)
    redone = {one.file_hash for one in again}
    reported = {one.file_hash for one in told if one.reported}
    waiting = [by_hash[one.file_hash] for one in again]
    waiting += [delivery for part, delivery in by_hash.items() if part not in reported | redone]
    _check_raw(lake, waiting)
    # the last one first: killed in between, the next run finds the first one broken still
    with lake.connect() as con:
        for one in reversed(again):
            lake.write(con, "cleaning_report", {"file_hash": one.file_hash}, lake.select("cleaning_report", files=[]))
    for part in ledgers.deliveries() - (reported - redone):
        known_on = ledgers.first_day(part, LEDGERS)
        if known_on is not None:
            drop_checkpoints(lake, known_on)
        ledgers.discard(part)
    return waiting, tuple(warnings)


def _check_raw(lake: Lake, waiting: Sequence[_Delivery]) -> None:
    """Refuse to clean what is not there: the ledgers would lose what they have of it.

    Raises:
        DeliveryError: lists every delivery whose lines are gone.
    """
    tables = {"orders": "raw_order_lines", "items": "raw_items"}
    gone = [
        f"  {delivery.file_name}: lake/{tables[delivery.content]}/file_hash={delivery.file_hash} is gone"
        for delivery in waiting
        if delivery.lines and not delivery_files(lake, tables[delivery.content], [delivery.file_hash])
    ]
    if gone:
        raise DeliveryError(
            f"{lake.root}: {len(gone)} file(s) of delivered lines are missing; restore them from a backup, or put the "
            "delivered files back into the drop folder and run again:\n" + "\n".join(gone)
        )


def _clean_delivery(
    lake: Lake,
    settings: Settings,
    mappings: Mapping[str, SourceMapping],
    delivery: _Delivery,
    ledgers: Ledgers,
) -> list[tuple[str, int, int]]:
    """Clean one delivery; returns its report."""
    part = delivery.file_hash
    with lake.connect() as con:
        by_category = _prepare(con, settings, mappings, delivery)
        for table in ("raw_order_lines", "quarantined_order_lines", "raw_items"):
            own = None if table == "raw_items" and by_category else delivery_files(lake, table, [part])
            con.execute(f"CREATE TEMP VIEW {table} AS {lake.select(table, files=own)}")
        if delivery.content == "items":
            con.execute(_SQL["delivery_lines"])
            make_text_table(con, "item_texts", f"SELECT item_text FROM raw_items WHERE file_hash = {sql_text(part)}")
            _drop_checkpoints(con, lake, "raw_items WHERE file_hash = getvariable('file_hash')")
            ledgers.write(con, "item_sightings", _SQL["master_sightings"], part)
            ledgers.write(con, "announced_items", _SQL["announced_items"], part)
        else:
            con.execute(_SQL["delivery_lines"])
            ledgers.write(con, "order_lines", "FROM delivery_lines", part)
        con.execute(f"CREATE TEMP VIEW own_lines AS {ledgers.of('order_lines', part)}")
        con.execute("SET VARIABLE own_since = (SELECT min(demand_day) FROM own_lines)")
        _check_currencies(con, settings, delivery)
        own_since = _variable(con, "own_since")
        looked_at = own_since - timedelta(days=LOOK_BACK_DAYS) if own_since else None
        con.execute(f"CREATE TEMP VIEW state_lines AS {ledgers.since('order_lines', looked_at, without=part)}")
        con.execute(_SQL["corrections"])
        con.execute(_SQL["touched"])
        netting_since = _variable(con, "netting_since")
        con.execute(
            f"CREATE OR REPLACE TEMP VIEW state_lines AS {ledgers.since('order_lines', netting_since, without=part)}"
        )
        con.execute(f"CREATE TEMP VIEW netted_lines AS {ledgers.since('netted_lines', netting_since, without=part)}")
        con.execute(_SQL["netting_lines"])
        _net(con)
        if delivery.content == "orders":
            # nothing that a delivery changes becomes known before its own lines do
            _drop_checkpoints(con, lake, "own_lines")
            ledgers.write(con, "netted_lines", _SQL["netted_lines"], part)
            ledgers.write(con, "demand_changes", _SQL["demand_changes"], part)
            texts = "SELECT item_text FROM own_lines UNION ALL SELECT item_text FROM version_nights"
            make_text_table(con, "item_texts", texts)
            ledgers.write(con, "item_sightings", _SQL["item_sightings"], part)
        files = [{"measure": f"{_FILES}{table}", "value": many} for table, many in ledgers.files(part).items()]
        con.register("files_written", pa.Table.from_pylist(files))
        ledgers.rows["cleaning_report"] += lake.write(
            con, "cleaning_report", {"file_hash": part}, _SQL["cleaning_report"]
        )
        report = con.execute(
            "SELECT measure, value, units FROM read_parquet($1, hive_partitioning = false)",
            [str(lake.part_path("cleaning_report", {"file_hash": part}, "part"))],
        ).fetchall()
    return [(str(name), int(value), int(units)) for name, value, units in report if not name.startswith(_FILES)]


def _variable(con: duckdb.DuckDBPyConnection, name: str) -> date | None:
    """A variable of SQL that holds a day."""
    day: date | None = con.execute("SELECT getvariable($1)", [name]).fetchall()[0][0]
    return day


def _drop_checkpoints(con: duckdb.DuckDBPyConnection, lake: Lake, delivered: str) -> None:
    """Discard the summaries that what was delivered (a relation with known_on) makes wrong."""
    known_on = con.execute(f"SELECT min(known_on) FROM {delivered}").fetchall()[0][0]
    if known_on is not None:
        drop_checkpoints(lake, known_on)


def _prepare(
    con: duckdb.DuckDBPyConnection, settings: Settings, mappings: Mapping[str, SourceMapping], delivery: _Delivery
) -> bool:
    """Variables and macros that the SQL files read; returns whether the item master helps to tell kinds of lines."""
    mapping = mappings.get(delivery.source)
    if mapping is None:
        raise SettingsError(
            f"almanac.yaml: sources: no mapping is named {delivery.source!r}, which brought {delivery.file_name}; "
            "put the source back, its deliveries are not cleaned yet"
        )
    variables = {
        "file_hash": delivery.file_hash,
        "source": delivery.source,
        "time_zone": settings.shop.timezone,
        "look_back_days": LOOK_BACK_DAYS,
        "currencies": list(settings.shop.rates),
    }
    for name, value in variables.items():
        con.execute(f"SET VARIABLE {name} = $1", [value])
    kind = line_kind_sql(mapping.orders) if mapping.orders else "'sale'"
    con.execute(
        "CREATE TEMP MACRO line_kind(order_id, item_id, item_text, category, location, country, channel, currency, "
        f"quantity, unit_price) AS {kind}"
    )
    rates = " ".join(
        f"WHEN currency = {sql_text(currency)} THEN round(quantity * unit_price::DOUBLE * {rate!r}, 4)"
        for currency, rate in settings.shop.rates.items()
        if currency != settings.shop.currency
    )
    exact = "quantity * unit_price"
    money = f"CASE {rates} ELSE {exact} END" if rates else exact
    con.execute(f"CREATE TEMP MACRO line_revenue(quantity, unit_price, currency) AS CAST({money} AS DECIMAL(38,4))")
    return mapping.orders is not None and any("category" in rule.when for rule in mapping.orders.kinds)


def _check_currencies(con: duckdb.DuckDBPyConnection, settings: Settings, delivery: _Delivery) -> None:
    unknown = con.execute(
        "SELECT DISTINCT currency FROM own_lines WHERE kind = 'sale' "
        "AND NOT list_contains(getvariable('currencies'), currency) ORDER BY 1"
    ).fetchall()
    if unknown:
        names = ", ".join(str(row[0]) for row in unknown)
        raise SettingsError(
            f"{delivery.file_name}: lines in {names}, and almanac.yaml has no rate for it; add it under "
            f"shop: exchange_rates (units of {settings.shop.currency} per unit)"
        )


def _net(con: duckdb.DuckDBPyConnection) -> None:
    """Net this delivery's cancellations; makes the table `matches`."""
    rows = con.execute(
        f"""
        SELECT
            group_no, units, epoch_us(ordered_at) AS ordered_at, known_on - DATE '1970-01-01' AS known_on,
            CASE WHEN customer_key <> '' THEN {LOOK_BACK_DAYS} ELSE {ANONYMOUS_DAYS} END * {_DAY} AS in_time,
            coalesce(replaces, -1) AS replaces, is_new
        FROM netting_lines
        ORDER BY row_no
        """
    ).fetchnumpy()
    before = con.execute(
        """
        SELECT cancellation, coalesce(ordered, -1) AS ordered, units, known_on - DATE '1970-01-01' AS known_on
        FROM netted_before
        ORDER BY ALL
        """
    ).fetchnumpy()
    as_ints = {name: np.asarray(column).astype(np.int64) for name, column in rows.items()}
    earlier = {name: np.asarray(column).astype(np.int64) for name, column in before.items()}
    matches = net(
        NettingLines(
            group=as_ints["group_no"],
            units=as_ints["units"],
            ordered_at=as_ints["ordered_at"],
            known_on=as_ints["known_on"],
            window=as_ints["in_time"],
            replaces=as_ints["replaces"],
            new=as_ints["is_new"].astype(np.bool_),
        ),
        Matches(
            cancellation=earlier["cancellation"],
            ordered=earlier["ordered"],
            units=earlier["units"],
            lines=np.zeros_like(earlier["units"]),
            known_on=earlier["known_on"],
        ),
    )
    columns = {
        "cancellation": pa.array(matches.cancellation),
        "ordered": pa.array(matches.ordered),
        "units": pa.array(matches.units),
        "lines": pa.array(matches.lines),
        "known_on": pa.array(matches.known_on.astype("datetime64[D]")),
    }
    con.register("_matches", pa.table(columns))
    con.execute("CREATE TEMP TABLE matches AS FROM _matches")
    con.unregister("_matches")
