"""Promotions and the prices planned for them, from what was delivered to the ledger.

A delivery's promotions go into `promotions` once, in parts named after its file; a later delivery adds promotions and
never takes any away. The report says how many files were written; where fewer stand, somebody deleted one by hand, and the
delivery is taken over again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pipeline.errors import DeliveryError
from pipeline.ingestion.standing import attach_marks, by_part, deliveries, delivery_files, keep_marks, standing
from pipeline.lake import Lake
from pipeline.settings import ShopSettings

_MERGED = Path(__file__).with_name("merged_promotions.sql").read_text(encoding="utf-8")


@dataclass(frozen=True)
class PromotionReport:
    """What `take_over_promotions` did.

    Attributes:
        deliveries: deliveries taken over now.
        delivered: promotions in them.
        kept: rows written to `promotions`.
        merged: promotions that went into an overlapping or adjoining period.
        impossible: promotions left out: no item, kind or announcement, an end before the start, a share beyond 0 to 1.
        impossible_prices: planned prices left out: no number above zero, or in a currency without a rate.
        reported: rows written to `promotion_report`.
        warnings: what was found amiss and mended, in words.
        seconds: duration.
    """

    deliveries: int
    delivered: int
    kept: int
    merged: int
    impossible: int
    impossible_prices: int
    reported: int
    warnings: tuple[str, ...]
    seconds: float

    @property
    def rows(self) -> dict[str, int]:
        """Rows written, by table."""
        return {"promotions": self.kept, "promotion_report": self.reported}


def take_over_promotions(
    lake: Lake, shop: ShopSettings, *, progress: Callable[[str, int, int], None] | None = None
) -> PromotionReport:
    """Write the promotions of every delivery that was not taken over yet; the count per delivery is written last.

    Args:
        lake: the home's lake.
        shop: its currency and exchange rates, for planned prices.
        progress: called with (what, done, of).

    Raises:
        DeliveryError: promotions were deleted by hand, and cannot be had again.
    """
    start = time.monotonic()
    again, warnings = _broken(lake)
    waiting = sorted(deliveries(lake, "raw_promotions") - deliveries(lake, "promotion_report"))
    totals = {"delivered": 0, "kept": 0, "merged": 0, "impossible": 0, "impossible_prices": 0}
    reported = 0
    for number, file_hash in enumerate([*again, *waiting]):
        if progress is not None:
            progress("promotions", number, len(again) + len(waiting))
        counts = _take_over(lake, shop, file_hash)
        reported += len(counts)
        for measure in totals:
            totals[measure] += counts[measure]
    if progress is not None and (again or waiting):
        progress("promotions", len(again) + len(waiting), len(again) + len(waiting))
    keep_marks(lake, "promotion_report")
    if totals["impossible_prices"]:
        warnings += (
            f"promotions: {totals['impossible_prices']:,} planned prices are left out, for they are no number above zero, or "
            f"in a currency without a rate into {shop.currency} (shop: exchange_rates); they stand in raw_promotions",
        )
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


def _take_over(lake: Lake, shop: ShopSettings, file_hash: str) -> dict[str, int]:
    rates = pa.table({"currency": list(shop.rates), "rate": list(shop.rates.values())})
    with lake.connect() as con:
        con.register("rates", rates)
        own = delivery_files(lake, "raw_promotions", [file_hash])
        con.execute(f"CREATE VIEW raw_promotions AS {lake.select('raw_promotions', files=own)}")
        con.execute("SET VARIABLE file_hash = $1::VARCHAR", [file_hash])
        delivered, possible, impossible_prices = con.execute(
            "SELECT count(*), count(*) FILTER (item_id <> '' AND kind <> '' AND starts_on <= ends_on "
            "AND known_on IS NOT NULL AND coalesce(share, 1.0) BETWEEN 0 AND 1), "
            "count(unit_price) FILTER (rate IS NULL OR unit_price <= 0 OR NOT isfinite(unit_price)) "
            "FROM raw_promotions LEFT JOIN rates USING (currency) WHERE file_hash = getvariable('file_hash')"
        ).fetchall()[0]
        written = lake.write_partitions(con, "promotions", _MERGED, file_hash)
        kept = sum(written.values())
        counts = {
            "delivered": int(delivered),
            "kept": kept,
            "merged": int(possible) - kept,
            "impossible": int(delivered) - int(possible),
            "impossible_prices": int(impossible_prices),
            "files": len(written),
        }
        report = pa.table({"measure": list(counts), "value": list(counts.values())})
        lake.write(con, "promotion_report", {"file_hash": file_hash}, report)
    return counts
