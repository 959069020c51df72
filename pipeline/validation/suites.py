"""Runs a table's suite with Great Expectations 1.x, and builds its Data Docs.

Great Expectations is imported where it is used: the import takes seconds. Results are kept as JSON beside the Data Docs
(`report/validations/`), the newest per table, so that the docs show every table whichever process checked it.
"""

import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.errors import SettingsError
from pipeline.lake import Lake, replace_file
from pipeline.settings import Settings
from pipeline.tables import lake_tables
from pipeline.validation.expectations import SUITES, Expected, Severity

_FRAMES = Path(__file__).with_name("frames")


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
        results: one per expectation.
        document: Great Expectations' own result, as JSON, for the Data Docs.
    """

    table: str
    as_of: date | None
    results: tuple[ExpectationOutcome, ...]
    document: str

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
    """Check one table.

    Args:
        lake: the home's lake.
        table: a table of `checked_tables()`.
        settings: the home's settings, whose limits the suite uses.
        as_of: look at this night only, in tables that are kept by night.

    Raises:
        SettingsError: the table has no suite.
    """
    if table not in SUITES:
        raise SettingsError(f"no suite for table {table!r}; there is one for {', '.join(SUITES)}")
    expected = SUITES[table](settings)
    with lake.connect() as con:
        sql = (_FRAMES / f"{table}.sql").read_text(encoding="utf-8")
        words = set(re.findall(r"\w+", sql))
        lake.attach(con, *(declared.name for declared in lake_tables() if declared.name in words))
        con.execute("SET VARIABLE as_of = $1::DATE", [as_of])
        frame = con.sql(sql).df()
    result = _validate(table, frame, expected)
    document = json.dumps(result.to_json_dict())
    results = tuple(
        ExpectationOutcome(
            one.expectation_config.type, wanted.meaning, wanted.severity, bool(one.success), _observed(one, frame)
        )
        for one, wanted in zip(_in_order(result.results, expected), expected, strict=True)
    )
    return SuiteOutcome(table, as_of, results, document)


def build_data_docs(home: Path, outcomes: Iterable[SuiteOutcome]) -> Path:
    """Rebuild the Data Docs of a home with new outcomes; returns their index page.

    Args:
        home: folder of the home; the docs stand in `report/data_docs`.
        outcomes: results to add; earlier results of other tables stay.
    """
    kept = home / "report" / "validations"
    kept.mkdir(parents=True, exist_ok=True)
    for outcome in outcomes:
        new = kept / f".{outcome.table}.new"
        new.write_text(json.dumps({"as_of": str(outcome.as_of or "all"), "result": json.loads(outcome.document)}))
        replace_file(new, kept / f"{outcome.table}.json")
    building = home / "report" / ".data_docs.new"
    shutil.rmtree(building, ignore_errors=True)
    _build(building, sorted(kept.glob("*.json")))
    docs = home / "report" / "data_docs"
    shutil.rmtree(docs, ignore_errors=True)
    building.replace(docs)
    return docs / "index.html"


@cache
def _great_expectations() -> Any:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations

    return great_expectations


def _context() -> Any:
    gx = _great_expectations()
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def _validate(table: str, frame: Any, expected: tuple[Expected, ...]) -> Any:
    gx = _great_expectations()
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
    context = _context()
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


def _build(folder: Path, results: list[Path]) -> None:
    """Let Great Expectations render its site from kept results."""
    _great_expectations()
    from great_expectations.core.expectation_suite import ExpectationSuite
    from great_expectations.core.expectation_validation_result import (
        ExpectationSuiteValidationResult,
        expectationSuiteValidationResultSchema,
    )
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    context = _context()
    backend = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)}
    index = {"class_name": "DefaultSiteIndexBuilder"}
    context.add_data_docs_site(
        site_name="almanac",
        site_config={"class_name": "SiteBuilder", "site_index_builder": index, "store_backend": backend},
    )
    context.delete_data_docs_site("local_site")
    for path in results:
        kept = json.loads(path.read_text())
        loaded = expectationSuiteValidationResultSchema.load(kept["result"])
        result = loaded if not isinstance(loaded, dict) else ExpectationSuiteValidationResult(**loaded)
        context.suites.add(
            ExpectationSuite(name=path.stem, expectations=[one.expectation_config for one in result.results])
        )
        run = RunIdentifier(run_name=kept["as_of"], run_time=datetime.fromtimestamp(path.stat().st_mtime, UTC))
        key = ValidationResultIdentifier(
            expectation_suite_identifier=ExpectationSuiteIdentifier(name=path.stem), run_id=run, batch_identifier="lake"
        )
        context.validation_results_store.set(key, result)
    context.build_data_docs(site_names=["almanac"])
