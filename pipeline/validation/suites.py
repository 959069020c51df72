"""Runs a table's suite with Great Expectations 1.x, on what was not checked before.

Facts are checked once: of a ledger the parts of each delivery, of other tables their partitions. What was checked without
an ERROR is kept beside the newest result (`report/validations/<table>.json`), by the size and time of its files; with the
file deleted, or after a change of the suite or its limits, everything is checked again. An ERROR leaves a delivery
unchecked, so that the next run stops at it too. What a night makes is checked every time that it was made.

Great Expectations is imported where it is used: the import takes seconds, and a run with nothing new does without.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from pipeline.errors import SettingsError
from pipeline.ingestion.standing import PartFile, delivery_files, fingerprint, standing
from pipeline.lake import Lake, replace_file
from pipeline.settings import Settings
from pipeline.tables import TABLES, lake_tables
from pipeline.validation.data_docs import great_expectations, new_context, results_folder
from pipeline.validation.expectations import SUITES, Expected, Severity

_FRAMES = Path(__file__).with_name("frames")
_LISTED_BY = {"quarantined_order_lines": "data_quality"}
"""Tables that have no file of a delivery without fault, and the table that tells what was delivered."""
_EMPTY = ""
"""The unit of a table without any."""


@dataclass(frozen=True)
class ExpectationOutcome:
    """How one expectation came out.

    Attributes:
        expectation: its type, for example expect_column_values_to_be_between.
        meaning: what it says of the table.
        severity: ERROR or WARN.
        success: whether it holds.
        observed: what was found, in a few words.
    """

    expectation: str
    meaning: str
    severity: Severity
    success: bool
    observed: str


@dataclass(frozen=True)
class SuiteOutcome:
    """How a table's suite came out.

    Attributes:
        table: the table.
        as_of: night that was looked at; None for all.
        looked_at: deliveries or partitions looked at; 0 when nothing was new (or nothing is there).
        results: one per expectation; none when all was checked before.
        document: Great Expectations' own result, as JSON, for the Data Docs; empty when all was checked before.
        checked: what needs no check any more: fingerprint by delivery or partition.
        made_from: hash of the suite.
    """

    table: str
    as_of: date | None
    looked_at: int = 0
    results: tuple[ExpectationOutcome, ...] = ()
    document: str = ""
    checked: Mapping[str, str] = field(default_factory=dict)
    made_from: str = ""

    @property
    def errors(self) -> tuple[ExpectationOutcome, ...]:
        """Failed expectations that stop what is downstream."""
        return tuple(result for result in self.results if not result.success and result.severity == "ERROR")

    @property
    def warnings(self) -> tuple[ExpectationOutcome, ...]:
        """Failed expectations that somebody should look at."""
        return tuple(result for result in self.results if not result.success and result.severity == "WARN")

    @property
    def success(self) -> bool:
        """Whether all hold."""
        return all(result.success for result in self.results)


def checked_tables() -> tuple[str, ...]:
    """Tables that have a suite."""
    return tuple(SUITES)


def run_suite(lake: Lake, table: str, settings: Settings, as_of: date | None = None) -> SuiteOutcome:
    """Check what a table holds that was not checked before; `keep_results` makes the outcome last.

    Args:
        lake: the home's lake.
        table: a table of `checked_tables()`.
        settings: the home's settings; limits come from `validation`.
        as_of: look at this night only; default: every night there is. Facts have no night of their own.

    Raises:
        SettingsError: the table has no suite.
    """
    if table not in SUITES:
        raise SettingsError(f"no suite for table {table!r}; there is one for {', '.join(SUITES)}")
    expected = SUITES[table](settings)
    sql = (_FRAMES / f"{table}.sql").read_text(encoding="utf-8")
    made_from = hashlib.sha256((sql + repr(expected)).encode()).hexdigest()[:16]
    units: dict[str, list[PartFile]] = {}
    fingerprints: dict[str, str] = {}
    new: set[str] | None = None
    if TABLES[table].partition != ("as_of",):
        units = _units(lake, _LISTED_BY.get(table, table))
        # an empty table is a unit too: what passed without a row is not looked at again until there is one
        fingerprints = {unit: fingerprint(files) for unit, files in units.items()} or {_EMPTY: ""}
        checked = _checked(lake.home, table, made_from)
        new = {unit for unit, stamp in fingerprints.items() if checked.get(unit) != stamp}
        if not new:
            return SuiteOutcome(table, as_of, checked=fingerprints, made_from=made_from)
        checked = {unit: stamp for unit, stamp in checked.items() if unit in units}
    frame = _frame(lake, table, sql, {unit: units[unit] for unit in new - {_EMPTY}} if new is not None else None, as_of)
    result = _validate(table, frame, expected)
    results = tuple(
        ExpectationOutcome(
            one.expectation_config.type, wanted.meaning, wanted.severity, bool(one.success), _observed(one, frame)
        )
        for one, wanted in zip(_in_order(result.results, expected), expected, strict=True)
    )
    failed = any(not one.success and one.severity == "ERROR" for one in results)
    return SuiteOutcome(
        table,
        as_of,
        len((new or set()) - {_EMPTY}),
        results,
        json.dumps(result.to_json_dict()),
        (checked if failed else fingerprints) if new is not None else {},
        made_from,
    )


def keep_results(home: Path, outcomes: Iterable[SuiteOutcome]) -> bool:
    """Keep the newest result of each table, and what needs no check any more; returns whether there is anything new."""
    news = False
    for outcome in outcomes:
        if not outcome.document:
            continue
        news = True
        kept = {
            "as_of": str(outcome.as_of or "all"),
            "result": json.loads(outcome.document),
            "made_from": outcome.made_from,
            "checked": dict(outcome.checked),
        }
        folder = results_folder(home)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f".{outcome.table}.new"
        file.write_text(json.dumps(kept), encoding="utf-8")
        replace_file(file, folder / f"{outcome.table}.json")
    return news


def _units(lake: Lake, table: str) -> dict[str, list[PartFile]]:
    """Files by what is checked at once: a delivery's parts of a ledger, else a partition."""
    units: dict[str, list[PartFile]] = {}
    for file in standing(lake, table):
        unit = file.part if TABLES[table].partition == ("known_on",) else "/".join(file.values)
        units.setdefault(unit, []).append(file)
    return units


def _checked(home: Path, table: str, made_from: str) -> dict[str, str]:
    """What was checked without an ERROR by the suite as it is now."""
    try:
        kept = json.loads((results_folder(home) / f"{table}.json").read_text(encoding="utf-8"))
        return (
            {str(unit): str(stamp) for unit, stamp in kept["checked"].items()} if kept["made_from"] == made_from else {}
        )
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return {}


def _frame(lake: Lake, table: str, sql: str, new: Mapping[str, list[PartFile]] | None, as_of: date | None) -> Any:
    """The small frame that a suite looks at.

    Args:
        lake: the home's lake.
        table: the table.
        sql: its frame; it reads tables by their name, cut to what is new, and its own one whole as `lake_<name>`.
        new: what to look at: files by delivery, or by partition of the table; None: everything.
        as_of: variable of the frames of what a night makes.
    """
    words = set(re.findall(r"\w+", sql))
    own = _LISTED_BY.get(table, table)
    with lake.connect() as con:
        for name in (declared.name for declared in lake_tables() if declared.name in words):
            files = None
            if new is not None and name == own:
                files = [file.path for found in new.values() for file in found]
            elif new is not None and TABLES[own].partition == TABLES[name].partition == ("file_hash",):
                files = delivery_files(lake, name, new)
            con.execute(f'CREATE VIEW "{name}" AS {lake.select(name, files=files)}')
        con.execute("SET VARIABLE as_of = $1::DATE", [as_of])
        if f"lake_{table}" in words:
            con.execute(f'CREATE VIEW "lake_{table}" AS {_whole(con, lake, table)}')
        return con.execute(sql).df()


def _whole(con: duckdb.DuckDBPyConnection, lake: Lake, table: str) -> str:
    """SQL that reads all of a table that what is new may be set against.

    Of a ledger these are the days since the first that something new is said of: nothing is known of a day before it.
    """
    if "demand_day" not in TABLES[table].column_names:
        return lake.select(table)
    first = con.execute(f'SELECT min(demand_day) FROM "{table}"').fetchall()[0][0]
    return lake.select(
        table,
        files=[file.path for file in standing(lake, table) if first and date.fromisoformat(file.values[0]) >= first],
    )


def _validate(table: str, frame: Any, expected: tuple[Expected, ...]) -> Any:
    gx = great_expectations()
    from great_expectations import expectations

    made = [
        getattr(expectations, one.expectation)(
            **one.arguments,
            severity="critical" if one.severity == "ERROR" else "warning",
            description=one.meaning,
            meta={"place": place},
        )
        for place, one in enumerate(expected)
    ]
    context = new_context()
    asset = context.data_sources.add_pandas("lake").add_dataframe_asset(table)
    batch = asset.add_batch_definition_whole_dataframe("frame").get_batch({"dataframe": frame})
    return batch.validate(gx.ExpectationSuite(name=table, expectations=made))


def _in_order(results: Iterable[Any], expected: tuple[Expected, ...]) -> list[Any]:
    """Results in the order of the suite; Great Expectations groups them by column."""
    by_place = {one.expectation_config.meta["place"]: one for one in results}
    return [by_place[place] for place in range(len(expected))]


def _observed(one: Any, frame: Any) -> str:
    if one.exception_info and one.exception_info.get("exception_message"):
        return str(one.exception_info["exception_message"])
    found = one.result
    if "observed_value" in found:
        return str(found["observed_value"])
    if found.get("unexpected_count"):
        places = found.get("partial_unexpected_index_list") or []
        files = frame["file_name"].iloc[places[:3]].tolist() if "file_name" in frame.columns else []
        return (
            f"{found['unexpected_count']} of {found['element_count']} rows, for example {found['partial_unexpected_list'][:3]}"
            + (f" in {', '.join(files)}" if files else "")
        )
    return f"all {found.get('element_count', 0)} rows as expected"
