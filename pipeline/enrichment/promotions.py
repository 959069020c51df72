"""Promotions: from what was delivered to the ledger, and from a night's view to an array.

A delivery's promotions go into `promotions` once, in parts named after its file; a later delivery adds promotions and
never takes any away. Where several reach an item on the same day the largest share counts. The report says how many files
were written; where fewer stand, somebody deleted one by hand, and the delivery is taken over again.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.enrichment.series import registered_series
from pipeline.errors import DeliveryError
from pipeline.ingestion.standing import attach_marks, by_part, deliveries, delivery_files, keep_marks, standing
from pipeline.lake import Lake

Floats = NDArray[np.float32]

_MERGED = Path(__file__).with_name("merged_promotions.sql").read_text(encoding="utf-8")
_ROWS_AT_ONCE = 250_000


LONGEST_LEAD = 255
"""Days of announcement ahead that are told apart: more than any forecast looks ahead with promotions."""


@dataclass(frozen=True)
class PromotionReport:
    """What `take_over_promotions` did.

    Attributes:
        deliveries: deliveries taken over now.
        delivered: promotions in them.
        kept: rows written to `promotions`.
        merged: promotions that went into an overlapping or adjoining period.
        impossible: promotions left out: no item, kind or announcement, an end before the start, a share beyond 0 to 1.
        reported: rows written to `promotion_report`.
        warnings: what was found amiss and mended, in words.
        seconds: duration.
    """

    deliveries: int
    delivered: int
    kept: int
    merged: int
    impossible: int
    reported: int
    warnings: tuple[str, ...]
    seconds: float

    @property
    def rows(self) -> dict[str, int]:
        """Rows written, by table."""
        return {"promotions": self.kept, "promotion_report": self.reported}


def take_over_promotions(lake: Lake, *, progress: Callable[[str, int, int], None] | None = None) -> PromotionReport:
    """Write the promotions of every delivery that was not taken over yet; the count per delivery is written last.

    Args:
        lake: the home's lake.
        progress: called with (what, done, of).

    Raises:
        DeliveryError: promotions were deleted by hand, and cannot be had again.
    """
    start = time.monotonic()
    again, warnings = _broken(lake)
    waiting = sorted(deliveries(lake, "raw_promotions") - deliveries(lake, "promotion_report"))
    totals = {"delivered": 0, "kept": 0, "merged": 0, "impossible": 0}
    reported = 0
    for number, file_hash in enumerate([*again, *waiting]):
        if progress is not None:
            progress("promotions", number, len(again) + len(waiting))
        counts = _take_over(lake, file_hash)
        reported += len(counts)
        for measure in totals:
            totals[measure] += counts[measure]
    if progress is not None and (again or waiting):
        progress("promotions", len(again) + len(waiting), len(again) + len(waiting))
    keep_marks(lake, "promotion_report")
    return PromotionReport(
        len(again) + len(waiting), **totals, reported=reported, warnings=warnings, seconds=time.monotonic() - start
    )


def _broken(lake: Lake) -> tuple[list[str], tuple[str, ...]]:
    """Deliveries to take over again because files were deleted by hand, and what to say of it.

    Raises:
        DeliveryError: their promotions as delivered are gone too.
    """
    with lake.connect() as con:
        attach_marks(lake, con, "promotion_report")
        reported = con.execute(
            "SELECT file_hash, value FROM promotion_report WHERE measure = 'files' AND value > 0 ORDER BY file_hash"
        ).fetchall()
    files = by_part(standing(lake, "promotions"))
    lost = {str(part): int(many) for part, many in reported if len(files.get(part, ())) < many}
    gone = sorted(lost.keys() - deliveries(lake, "raw_promotions"))
    if gone:
        named = "\n".join(f"  lake/raw_promotions/file_hash={part}" for part in gone)
        raise DeliveryError(
            f"{lake.root}: promotions that were taken over are gone, and so are they as delivered; restore these from a "
            f"backup:\n{named}"
        )
    warnings = tuple(
        f"lake/promotions: {many - len(files.get(part, ()))} of the {many} files {part}.parquet were gone; the delivery is "
        "taken over again"
        for part, many in lost.items()
    )
    return list(lost), warnings


def _take_over(lake: Lake, file_hash: str) -> dict[str, int]:
    with lake.connect() as con:
        own = delivery_files(lake, "raw_promotions", [file_hash])
        con.execute(f"CREATE VIEW raw_promotions AS {lake.select('raw_promotions', files=own)}")
        con.execute("SET VARIABLE file_hash = $1::VARCHAR", [file_hash])
        delivered, possible = con.execute(
            "SELECT count(*), count(*) FILTER (item_id <> '' AND kind <> '' AND starts_on <= ends_on "
            "AND known_on IS NOT NULL AND coalesce(share, 1.0) BETWEEN 0 AND 1) "
            "FROM raw_promotions WHERE file_hash = getvariable('file_hash')"
        ).fetchall()[0]
        written = lake.write_partitions(con, "promotions", _MERGED, file_hash)
        kept = sum(written.values())
        counts = {
            "delivered": int(delivered),
            "kept": kept,
            "merged": int(possible) - kept,
            "impossible": int(delivered) - int(possible),
            "files": len(written),
        }
        report = pa.table({"measure": list(counts), "value": list(counts.values())})
        lake.write(con, "promotion_report", {"file_hash": file_hash}, report)
    return counts


def promotion_kinds(con: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    """Kinds of promotions known on the night, sorted."""
    return tuple(kind for (kind,) in con.execute("SELECT DISTINCT kind FROM promotions ORDER BY kind").fetchall())


def promotion_array(
    con: duckdb.DuckDBPyConnection,
    item_ids: Sequence[str] | NDArray[np.str_],
    locations: Sequence[str] | NDArray[np.str_],
    first_day: date,
    days: int,
    *,
    kinds: Sequence[str] | None = None,
) -> tuple[tuple[str, ...], Floats, NDArray[np.uint8]]:
    """Promotions of series × days, past and announced, as known on the night of the view.

    Args:
        con: connection of an as-of view.
        item_ids: (S,) item of each series.
        locations: (S,) location of each series, '' when over all; a promotion without location counts for each.
        first_day: day of column 0.
        days: number of days.
        kinds: kinds wanted, in this order (those of a trained model); default: all known on the night.

    Returns:
        Names of the P kinds; (S, days, P) float32: share of the shop reached, zero without promotion; and
        (S, days, P) uint8: how many days before each day its promotion was announced, at most `LONGEST_LEAD`.
    """
    wanted = tuple(kinds) if kinds is not None else promotion_kinds(con)
    shares = np.zeros((len(item_ids), days, len(wanted)), dtype=np.float32)
    if not wanted or not len(item_ids):
        return wanted, shares, np.zeros(shares.shape, dtype=np.uint8)
    leads = np.zeros(shares.shape, dtype=np.uint8)
    flat, flat_leads = shares.reshape(-1), leads.reshape(-1)
    with registered_series(con, item_ids, locations) as series:
        periods = con.sql(
            f"SELECT s.number AS number, (list_position($1, p.kind) - 1)::BIGINT AS kind, "
            f"greatest(p.starts_on - $2, 0)::BIGINT AS first, least(p.ends_on - $2, $3 - 1)::BIGINT AS last, "
            f"p.share::FLOAT AS share, ($2 - p.known_on)::BIGINT AS known FROM promotions AS p INNER JOIN {series} AS s "
            "ON p.item_id = s.item_id AND p.location IN ('', s.location) "
            "WHERE list_contains($1, p.kind) AND p.ends_on >= $2 AND p.starts_on < $2 + $3::INTEGER",
            params=[list(wanted), first_day, days],
        )
        for batch in periods.to_arrow_reader(_ROWS_AT_ONCE):
            number, kind, first, last, share, known = (
                column.to_numpy(zero_copy_only=False) for column in batch.columns
            )
            length = last - first + 1
            # one entry per day of each period: its start repeated, plus 0, 1, 2, … within the period
            within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
            cell = np.repeat((number * days + first) * len(wanted) + kind, length) + within * len(wanted)
            np.maximum.at(flat, cell, np.repeat(share, length))
            lead = np.clip(np.repeat(first + known, length) + within, 0, LONGEST_LEAD).astype(np.uint8)
            np.maximum.at(flat_leads, cell, lead)
    return wanted, shares, leads
