"""Validation of order lines: bad ones into quarantine, each with its reason, and everything counted.

Per delivery: lines = accepted + quarantined + exact repeats. The four numbers are counted apart (lines by the reader of the
file, quarantined in what was written, the others in the lake), so that the equation is a check and not a definition.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.ingestion.mapping import SourceMapping, load_mappings, sql_text
from pipeline.ingestion.standing import attach_marks, deliveries, keep_marks
from pipeline.lake import Lake
from pipeline.models.base import Progress, silent
from pipeline.settings import Settings
from pipeline.tables import TABLES
from pipeline.validation.rules import Rule, broken_rule_sql, line_rules

_QUARANTINED = Path(__file__).with_name("quarantined_order_lines.sql").read_text(encoding="utf-8")


@dataclass(frozen=True)
class FileQuality:
    """What validation counted in one delivered order file.

    Attributes:
        file_name: its name in the drop folder.
        source: name of its mapping.
        lines: records of the file, as its reader counted them.
        accepted: lines that count.
        quarantined: lines with a reason in quarantine.
        exact_repeats: lines delivered before, here or in an earlier file.
        corrected: accepted lines that are a new version of an earlier one.
        by_rule: quarantined lines by rule.
    """

    file_name: str
    source: str
    lines: int
    accepted: int
    quarantined: int
    exact_repeats: int
    corrected: int
    by_rule: Mapping[str, int]

    @property
    def balances(self) -> bool:
        """Whether every line is accounted for."""
        return self.lines == self.accepted + self.quarantined + self.exact_repeats


@dataclass(frozen=True)
class ValidationReport:
    """What one run of validation did.

    Attributes:
        files: the deliveries validated.
        rows: rows added, by table.
        warnings: what was found amiss and mended, in words.
        seconds: time it took.
    """

    files: tuple[FileQuality, ...] = ()
    rows: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def lines(self) -> int:
        """Lines of all files."""
        return sum(file.lines for file in self.files)

    @property
    def quarantined(self) -> int:
        """Quarantined lines of all files."""
        return sum(file.quarantined for file in self.files)


@dataclass(frozen=True)
class _Delivery:
    file_hash: str
    file_name: str
    source: str
    lines: int
    delivered_at: datetime


def validate_lines(lake: Lake, settings: Settings, *, progress: Progress = silent) -> ValidationReport:
    """Validate the order lines of every delivery that was not validated yet.

    Args:
        lake: the home's lake.
        settings: the home's settings.
        progress: told how many deliveries are done.

    Raises:
        SettingsError: a mapping cannot be read.
        DiskFullError: the disk is full; what was validated before still stands.
    """
    started = time.monotonic()
    mappings = load_mappings(settings.sources, lake.home)
    files: list[FileQuality] = []
    rows = {"quarantined_order_lines": 0, "data_quality": 0}
    with lake.connect() as con:
        waiting, warnings = _pending(con, lake)
        for done, delivery in enumerate(waiting):
            progress("validation", done, len(waiting))
            rules = line_rules(settings.shop, mappings.get(delivery.source))
            quality = _judge(con, lake, delivery, rules, mappings.get(delivery.source))
            rows["quarantined_order_lines"] += quality.quarantined
            rows["data_quality"] += _write_quality(con, lake, delivery, quality)
            files.append(quality)
        if waiting:
            progress("validation", len(waiting), len(waiting))
    keep_marks(lake, "data_quality")
    return ValidationReport(tuple(files), rows, warnings, time.monotonic() - started)


def _pending(con: duckdb.DuckDBPyConnection, lake: Lake) -> tuple[list[_Delivery], tuple[str, ...]]:
    """Deliveries to validate: new ones, and those whose quarantined lines somebody deleted by hand; with warnings."""
    attach_marks(lake, con, "raw_files", "data_quality")
    rows = con.execute(
        """
        SELECT
            file_hash, file_name, source, lines, delivered_at, quality.quarantined
        FROM raw_files
        LEFT JOIN (
            SELECT file_hash, coalesce(max(value) FILTER (measure = 'quarantined'), 0) AS quarantined
            FROM data_quality
            GROUP BY file_hash
        ) AS quality USING (file_hash)
        WHERE content = 'orders'
        ORDER BY first_known_on NULLS FIRST, file_name, file_hash
        """
    ).fetchall()
    standing = deliveries(lake, "quarantined_order_lines")
    again = [row for row in rows if row[5] and row[0] not in standing]
    warnings = tuple(
        f"{row[1]}: lake/quarantined_order_lines/file_hash={row[0]} was gone; its {row[5]:,} lines are put into quarantine again"
        for row in again
    )
    return [_Delivery(*row[:5]) for row in rows if row[5] is None or row in again], warnings


def _judge(
    con: duckdb.DuckDBPyConnection,
    lake: Lake,
    delivery: _Delivery,
    rules: Sequence[Rule],
    mapping: SourceMapping | None,
) -> FileQuality:
    """Write the quarantine of one delivery, and count."""
    for name in ("file_name", "source", "delivered_at"):
        con.execute(f"SET VARIABLE {name} = $1", [getattr(delivery, name)])
    part = lake.part_path("raw_order_lines", {"file_hash": delivery.file_hash}, "part")
    # a delivery without lines has no part
    lines = f"read_parquet({sql_text(str(part))}, hive_partitioning = false)" if part.exists() else "no_lines"
    if lines == "no_lines":
        con.execute(f"CREATE OR REPLACE TEMP VIEW no_lines AS {lake.select('raw_order_lines', files=[])}")
    reasons = " ".join(f"WHEN {place} THEN {rule.reason}" for place, rule in enumerate(rules))
    con.execute(
        f"CREATE OR REPLACE TEMP VIEW judged AS SELECT *, CASE broken_rule {reasons} END AS reason "
        f"FROM (SELECT *, {broken_rule_sql(rules)} AS broken_rule FROM {lines})"
    )
    places = ", ".join(
        f"({place}, {sql_text(_column_in_file(rule.column, mapping))})" for place, rule in enumerate(rules)
    )
    con.execute(f"CREATE OR REPLACE TEMP TABLE rules AS FROM (VALUES {places}) AS rules (place, column_in_file)")
    counts = con.execute(
        """
        SELECT broken_rule, is_repeat, count(*) AS lines, count(*) FILTER (version > 1) AS corrected
        FROM judged
        GROUP BY ALL
        """
    ).fetchall()
    quarantined = lake.write(con, "quarantined_order_lines", {"file_hash": delivery.file_hash}, _QUARANTINED)
    good = [(many, corrected) for place, repeat, many, corrected in counts if place is None and not repeat]
    by_rule = {rules[place].name: many for place, repeat, many, _ in counts if place is not None and not repeat}
    return FileQuality(
        file_name=delivery.file_name,
        source=delivery.source,
        lines=delivery.lines,
        accepted=sum(many for many, _ in good),
        quarantined=quarantined,
        exact_repeats=sum(many for _, repeat, many, _ in counts if repeat),
        corrected=sum(corrected for _, corrected in good),
        by_rule={rule.name: by_rule[rule.name] for rule in rules if rule.name in by_rule},
    )


def _column_in_file(column: str, mapping: SourceMapping | None) -> str:
    """How the file names an order-line column."""
    if not column or mapping is None or mapping.orders is None:
        return column
    cell = mapping.orders.columns.given.get(column)
    return cell.label if cell is not None else column


def _write_quality(con: duckdb.DuckDBPyConnection, lake: Lake, delivery: _Delivery, quality: FileQuality) -> int:
    """Write the counts of one delivery; this marks it as validated."""
    measures = {
        "lines": quality.lines,
        "accepted": quality.accepted,
        "quarantined": quality.quarantined,
        "exact_repeats": quality.exact_repeats,
        "corrected": quality.corrected,
        **{f"quarantined:{name}": many for name, many in quality.by_rule.items()},
    }
    entries = [
        {
            "file_hash": delivery.file_hash,
            "file_name": delivery.file_name,
            "source": delivery.source,
            "measure": measure,
            "value": value,
        }
        for measure, value in measures.items()
    ]
    table = pa.Table.from_pylist(entries, schema=TABLES["data_quality"].arrow_schema)
    return lake.write(con, "data_quality", {"file_hash": delivery.file_hash}, table)
