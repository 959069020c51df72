"""Cleaning of all deliveries that are validated and not yet cleaned.

A delivery is cleaned alone, in the order of what it makes known (`raw_files.first_known_on`, then file name), on what
earlier deliveries left. It writes `order_lines`, `netted_lines`, `demand_changes` and `item_sightings`, each as parts
named after the delivery, and `cleaning_report` last: a killed run is begun again at the delivery it was in.

The ledgers do not depend on how the same lines are cut into deliveries, as long as the deliveries come in the order of
what they make known. Two things do depend on it: a cancellation (or a correction) that was cleaned before its order is
netted when the order comes, on what is left then; and item master data tells kinds of lines (fuel, coupons) only for
lines that are cleaned after it was ingested.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.cleaning.netting import Matches, NettingLines, net
from pipeline.cleaning.texts import make_text_table
from pipeline.errors import SettingsError
from pipeline.ingestion.mapping import SourceMapping, line_kind_sql, load_mappings, sql_text
from pipeline.lake import Lake
from pipeline.models.base import Progress, silent
from pipeline.settings import Settings

LOOK_BACK_DAYS = 400
"""How long after an order a known customer's cancellation or return may come: a year, and the weeks of a late one."""
ANONYMOUS_DAYS = 7
"""The same without a customer: on Online Retail II half of the exact matches lie within 5 days, the others up to a
year off, where an equal line of someone else is as likely."""

_SQL = {path.stem: path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("*.sql")}
_WRITTEN = ("order_lines", "netted_lines", "demand_changes", "item_sightings")
_DAY = 86_400_000_000


@dataclass(frozen=True)
class CleaningReport:
    """What one run of cleaning did.

    Attributes:
        deliveries: deliveries cleaned.
        lines: accepted order lines read.
        measures: (lines, units) by measure, summed over the deliveries; see the table `cleaning_report`.
        seconds: time it took.
    """

    deliveries: int = 0
    lines: int = 0
    measures: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class _Delivery:
    file_hash: str
    file_name: str
    source: str
    content: str


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
    deliveries = _pending(lake)
    measures: dict[str, tuple[int, int]] = {}
    for done, delivery in enumerate(deliveries):
        progress("cleaning", done, len(deliveries))
        for measure, value, units in _clean_delivery(lake, settings, mappings, delivery):
            before = measures.get(measure, (0, 0))
            measures[measure] = (before[0] + value, before[1] + units)
    if deliveries:
        progress("cleaning", len(deliveries), len(deliveries))
    lines = sum(value for measure, (value, _) in measures.items() if measure.startswith("lines:"))
    return CleaningReport(len(deliveries), lines, measures, time.monotonic() - started)


def _pending(lake: Lake) -> list[_Delivery]:
    """Deliveries to clean, in order; removes what a killed run left of one."""
    cleaned = {partition["file_hash"] for partition in lake.partitions("cleaning_report")}
    for table in _WRITTEN:
        for part in lake.parts(table) - cleaned:
            lake.discard(table, part)
    with lake.connect() as con:
        lake.attach(con, "raw_files", "data_quality")
        rows = con.execute(
            """
            SELECT file_hash, file_name, source, content
            FROM raw_files
            WHERE content = 'items' OR (content = 'orders' AND file_hash IN (SELECT file_hash FROM data_quality))
            ORDER BY first_known_on NULLS FIRST, file_name, file_hash
            """
        ).fetchall()
    return [_Delivery(*row) for row in rows if row[0] not in cleaned]


def _clean_delivery(
    lake: Lake, settings: Settings, mappings: Mapping[str, SourceMapping], delivery: _Delivery
) -> list[tuple[str, int, int]]:
    """Clean one delivery; returns its report."""
    part = delivery.file_hash
    with lake.connect() as con:
        _prepare(con, settings, mappings, delivery)
        lake.attach(con, "raw_order_lines", "quarantined_order_lines", "raw_items", "netted_lines")
        # a view lists its files when it is read: this delivery's own stand among them by then
        con.execute(
            f"CREATE TEMP VIEW state_lines AS FROM ({lake.select('order_lines')}) "
            "WHERE file_hash <> getvariable('file_hash')"
        )
        if delivery.content == "items":
            con.execute(_SQL["delivery_lines"])
            make_text_table(con, "item_texts", f"SELECT item_text FROM raw_items WHERE file_hash = {sql_text(part)}")
            lake.write_partitions(con, "item_sightings", _SQL["master_sightings"], part)
        else:
            con.execute(_SQL["delivery_lines"])
            lake.write_partitions(con, "order_lines", "FROM delivery_lines", part)
        con.execute(f"CREATE TEMP VIEW own_lines AS {lake.select('order_lines', part)}")
        con.execute("SET VARIABLE own_since = (SELECT min(demand_day) FROM own_lines)")
        _check_currencies(con, settings, delivery)
        con.execute(_SQL["corrections"])
        con.execute(_SQL["netting_lines"])
        _net(con)
        if delivery.content == "orders":
            lake.write_partitions(con, "netted_lines", _SQL["netted_lines"], part)
            lake.write_partitions(con, "demand_changes", _SQL["demand_changes"], part)
            texts = "SELECT item_text FROM own_lines UNION ALL SELECT item_text FROM version_nights"
            make_text_table(con, "item_texts", texts)
            lake.write_partitions(con, "item_sightings", _SQL["item_sightings"], part)
        lake.write(con, "cleaning_report", {"file_hash": part}, _SQL["cleaning_report"])
        lake.attach(con, "cleaning_report")
        report = con.execute(
            "SELECT measure, value, units FROM cleaning_report WHERE file_hash = $1", [part]
        ).fetchall()
    return [(str(measure), int(value), int(units)) for measure, value, units in report]


def _prepare(
    con: duckdb.DuckDBPyConnection, settings: Settings, mappings: Mapping[str, SourceMapping], delivery: _Delivery
) -> None:
    """Variables and macros that the SQL files read."""
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
        for currency, rate in settings.shop.exchange_rates.items()
        if currency != settings.shop.currency
    )
    exact = "quantity * unit_price"
    money = f"CASE {rates} ELSE {exact} END" if rates else exact
    con.execute(f"CREATE TEMP MACRO line_revenue(quantity, unit_price, currency) AS CAST({money} AS DECIMAL(38,4))")


def _check_currencies(con: duckdb.DuckDBPyConnection, settings: Settings, delivery: _Delivery) -> None:
    known = [settings.shop.currency, *settings.shop.exchange_rates]
    unknown = con.execute(
        "SELECT DISTINCT currency FROM own_lines WHERE kind = 'sale' AND NOT list_contains($1, currency) ORDER BY 1",
        [known],
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
