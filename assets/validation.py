"""Bad lines into quarantine, and the expectations that every table must meet."""

from collections.abc import Iterator

import dagster as dg

from assets.common import markdown_table, metadata, table_spec
from pipeline.validation.lines import validate_lines
from resources.lake import HomeResource

TABLES = ("quarantined_order_lines", "data_quality")


def build(partitions: dg.PartitionsDefinition) -> dg.Definitions:
    """Assets of the stage; facts have no night of their own."""
    return dg.Definitions(assets=[validation])


@dg.multi_asset(name="validation", specs=[table_spec(name, ["raw_order_lines", "raw_files"]) for name in TABLES])
def validation(context: dg.AssetExecutionContext, home: HomeResource) -> Iterator[dg.MaterializeResult]:
    """Put bad lines into quarantine, each with its reason."""
    with home.work(context) as work:
        report = validate_lines(work.lake, work.settings)
        files = markdown_table([vars(file) for file in report.files])
        for name in TABLES:
            yield dg.MaterializeResult(
                name, metadata=metadata(rows=work.lake.count(name), seconds=work.seconds, files=files)
            )
