"""The Data Docs of a home: Great Expectations' site of the newest result of every table.

They are built from what `suites.py` keeps (`report/validations/`), so they show every table whichever process checked it.
"""

import json
import os
import shutil
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any


def results_folder(home: Path) -> Path:
    """Folder of the newest result of every table, as JSON."""
    return home / "report" / "validations"


def data_docs(home: Path) -> Path:
    """Index page of a home's Data Docs, which need not stand yet."""
    return home / "report" / "data_docs" / "index.html"


def build_data_docs(home: Path) -> Path:
    """Rebuild the Data Docs of a home (a second or two); returns their index page."""
    building = home / "report" / ".data_docs.new"
    shutil.rmtree(building, ignore_errors=True)
    _build(building, sorted(results_folder(home).glob("*.json")))
    docs = data_docs(home).parent
    shutil.rmtree(docs, ignore_errors=True)
    building.replace(docs)
    return data_docs(home)


@cache
def great_expectations() -> Any:
    """The package, imported when first asked for."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations

    return great_expectations


def new_context() -> Any:
    """A context that keeps nothing and draws no bars."""
    gx = great_expectations()
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def _build(folder: Path, results: list[Path]) -> None:
    """Let Great Expectations render its site from kept results."""
    great_expectations()
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

    context = new_context()
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
