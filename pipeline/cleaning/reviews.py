"""Reviews, from what was delivered to the ledger: repeats dropped, edited ones as later versions, bad lines put aside.

A delivery is set against those before it (by the time of delivery, then name), so that it gives the same rows whenever it
is taken over. The report is written last; where fewer files stand than it says, somebody deleted one by hand, and the
delivery is taken over again.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from pipeline.cleaning.sentences import make_sentence_table
from pipeline.errors import DeliveryError
from pipeline.ingestion.standing import attach_marks, by_part, delivery_files, keep_marks, standing
from pipeline.lake import Lake
from pipeline.models.base import Progress, silent
from pipeline.settings import ShopSettings

_ROOM = Path(__file__).parent
_DELIVERED, _REVIEWS, _QUARANTINED = (
    (_ROOM / f"{name}.sql").read_text(encoding="utf-8")
    for name in ("delivered_reviews", "reviews", "quarantined_reviews")
)
_COUNTED = ("lines", "quarantined", "kept", "edited", "repeated")


@dataclass(frozen=True)
class ReviewReport:
    """What `take_over_reviews` did.

    Attributes:
        deliveries: deliveries taken over now.
        lines: lines in them.
        quarantined: bad ones.
        kept: rows written to `reviews`.
        edited: of them new versions of earlier reviews.
        repeated: lines that say what was known.
        reported: rows written to `review_report`.
        warnings: what was found amiss and mended, in words.
        seconds: duration.
    """

    deliveries: int
    lines: int
    quarantined: int
    kept: int
    edited: int
    repeated: int
    reported: int
    warnings: tuple[str, ...]
    seconds: float

    @property
    def rows(self) -> dict[str, int]:
        """Rows written, by table."""
        return {"reviews": self.kept, "quarantined_reviews": self.quarantined, "review_report": self.reported}


@dataclass(frozen=True)
class _Delivery:
    file_hash: str
    file_name: str
    delivered_at: datetime
    files: int | None


def take_over_reviews(lake: Lake, shop: ShopSettings, *, progress: Progress = silent) -> ReviewReport:
    """Write the reviews of every delivery that was not taken over yet.

    Args:
        lake: the home's lake.
        shop: its time zone, in whose days reviews become known.
        progress: told how many deliveries are done.

    Raises:
        DeliveryError: reviews were deleted by hand, and cannot be had again.
    """
    start = time.monotonic()
    deliveries = _in_order(lake)
    written = by_part(standing(lake, "reviews")) if deliveries else {}
    quarantined = {file.values[0] for file in standing(lake, "quarantined_reviews")} if deliveries else set()
    again, warnings = [], []
    for one in deliveries:
        lost = (one.files or 0) - len(written.get(one.file_hash, ())) - (one.file_hash in quarantined)
        if lost > 0:
            again.append(one)
            warnings.append(
                f"{one.file_name}: {lost} of the {one.files} files that its reviews stand in were gone; it is taken over again"
            )
    waiting = [one for one in deliveries if one.files is None or one in again]
    totals = dict.fromkeys(_COUNTED, 0)
    reported = 0
    for done, delivery in enumerate(waiting):
        progress("reviews", done, len(waiting))
        counts = _take_over(lake, shop, delivery, deliveries[: deliveries.index(delivery)])
        reported += len(counts)
        for measure in totals:
            totals[measure] += counts[measure]
    if waiting:
        progress("reviews", len(waiting), len(waiting))
    keep_marks(lake, "review_report")
    return ReviewReport(
        len(waiting), **totals, reported=reported, warnings=tuple(warnings), seconds=time.monotonic() - start
    )


def _in_order(lake: Lake) -> list[_Delivery]:
    """Deliveries of reviews in the order in which they came, with the number of files that was written of each."""
    with lake.connect() as con:
        attach_marks(lake, con, "raw_files", "review_report")
        rows = con.execute(
            """
            SELECT file_hash, file_name, delivered_at, max(value) FILTER (measure = 'files')
            FROM raw_files
            LEFT JOIN review_report USING (file_hash)
            WHERE content = 'reviews'
            GROUP BY ALL
            ORDER BY delivered_at, file_name, file_hash
            """
        ).fetchall()
    return [_Delivery(*row) for row in rows]


def _take_over(lake: Lake, shop: ShopSettings, delivery: _Delivery, earlier: Sequence[_Delivery]) -> dict[str, int]:
    part = delivery.file_hash
    raw = delivery_files(lake, "raw_reviews", [part])
    if delivery.files and not raw:
        raise DeliveryError(
            f"{lake.root}: the reviews of {delivery.file_name} are gone, and so are they as delivered; restore "
            f"lake/raw_reviews/file_hash={part} from a backup"
        )
    with lake.connect() as con:
        con.execute(f"CREATE TEMP VIEW raw_reviews AS {lake.select('raw_reviews', files=raw)}")
        con.execute(f"CREATE TEMP VIEW ledger AS {lake.select('reviews')}")
        con.register("earlier", pa.table({"file_hash": pa.array([one.file_hash for one in earlier], pa.string())}))
        con.execute("SET VARIABLE time_zone = $1", [shop.timezone])
        con.execute("SET VARIABLE delivered_at = $1::TIMESTAMP", [delivery.delivered_at])
        con.execute("SET VARIABLE file_name = $1", [delivery.file_name])
        con.execute("SET VARIABLE file_hash = $1", [part])
        make_sentence_table(con, "cut_texts", "SELECT text FROM raw_reviews WHERE problem IS NULL")
        con.execute(f"CREATE TEMP TABLE delivered_reviews AS {_DELIVERED}")
        written = lake.write_partitions(con, "reviews", _REVIEWS, part)
        quarantined = lake.write(con, "quarantined_reviews", {"file_hash": part}, _QUARANTINED)
        lines, edited = con.execute(
            "SELECT (SELECT count(*) FROM raw_reviews), count(*) FILTER (version > 1 AND is_kept) FROM delivered_reviews"
        ).fetchall()[0]
        kept = sum(written.values())
        counts = {
            "lines": int(lines),
            "quarantined": quarantined,
            "kept": kept,
            "edited": int(edited),
            "repeated": int(lines) - quarantined - kept,
            "files": len(written) + (quarantined > 0),
        }
        report = pa.table({"measure": list(counts), "value": list(counts.values())})
        lake.write(con, "review_report", {"file_hash": part}, report)
    return counts
