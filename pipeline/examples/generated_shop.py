"""A generated shop with known truth: the ground truth of the tests, and an example that needs no data.

`generate(ShopSpec(...))` draws a shop from its seed: items (`shop_catalogue.py`), what drives their demand
(`shop_drivers.py`) and the order lines that follow (`shop_orders.py`). `shop_files.py` writes it as order files, with
all the dirt that real exports have; `load.py` writes order files of any size for benchmarks.

What is known: expected demand per item and day, every driver, realised units as of any night, and how many lines of
each kind of dirt every file carries.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

import numpy as np
from pydantic import Field

from pipeline.closed_yaml import Closed
from pipeline.examples.shop_catalogue import Catalogue, Ints, make_catalogue
from pipeline.examples.shop_drivers import Drivers, make_drivers
from pipeline.examples.shop_orders import Ledger, Lines, make_lines


class DirtSpec(Closed):
    """How dirty the shop's data are; shares are of order lines unless said otherwise."""

    bad_share: float = Field(default=0.01, ge=0, le=1, description="Unreadable lines, per good line of a file.")
    repeat_share: float = Field(default=0.003, ge=0, le=1, description="Lines that a file carries twice.")
    missing_customer_share: float = Field(default=0.1, ge=0, le=1, description="Orders without a customer.")
    text_variant_share: float = Field(default=0.05, ge=0, le=1, description="Lines with another spelling, or no text.")
    cancelled_share: float = Field(default=0.015, ge=0, le=1, description="Sale lines cancelled within two days.")
    returned_share: float = Field(default=0.01, ge=0, le=1, description="Sale lines returned within three weeks.")
    fee_share: float = Field(default=0.05, ge=0, le=1, description="Orders with a line for postage or a fee.")
    write_off_share: float = Field(default=0.003, ge=0, le=1, description="Stock write-offs, per sale line.")
    adjustment_share: float = Field(default=0.0005, ge=0, le=1, description="Bad-debt adjustments, per sale line.")
    free_share: float = Field(default=0.002, ge=0, le=1, description="Free samples, per sale line.")
    foreign_share: float = Field(default=0.02, ge=0, le=1, description="Orders paid in HKD.")
    late_share: float = Field(default=0.004, ge=0, le=1, description="Sale lines delivered days later.")
    corrected_lines: int = Field(default=25, ge=0, description="Lines changed by one corrected re-delivery; 0: none.")
    huge_order: int = Field(default=74_215, ge=0, description="Units ordered and cancelled minutes later; 0: none.")


CLEAN = DirtSpec.model_validate(dict.fromkeys(DirtSpec.model_fields, 0))
"""No dirt at all: sales only."""


class ShopSpec(Closed):
    """What shop to generate."""

    seed: int = Field(default=7, ge=0, description="The same seed and sizes give the same shop, byte for byte.")
    first_day: date = Field(default=date(2021, 1, 1), description="First day of the shop.")
    days: int = Field(default=1096, ge=14, description="Days generated.")
    items: int = Field(default=500, ge=10, description="Items, those launched during the period included.")
    lines_per_day: float = Field(default=400.0, gt=0, description="Sale lines on an average day.")
    locations: tuple[str, ...] = Field(default=("SH", "GZ", "CD"), min_length=1, description="Warehouses.")
    launch_share: float = Field(default=0.25, ge=0, le=1, description="Items launched during the period.")
    intermittent_share: float = Field(default=0.2, ge=0, le=1, description="Items that sell rarely, in clumps.")
    promotions_per_year: float = Field(default=3.0, ge=0, description="Own promotions per item and year.")
    stock_outs_per_year: float = Field(default=0.8, ge=0, description="Stock-outs per item and year.")
    dirt: DirtSpec = Field(default=DirtSpec(), description="How dirty the data are.")

    @property
    def last_day(self) -> date:
        """Last day of the shop."""
        return self.first_day + timedelta(days=self.days - 1)

    def day(self, index: int) -> date:
        """The day with this index."""
        return self.first_day + timedelta(days=int(index))


@dataclass(frozen=True)
class GeneratedShop:
    """A shop and the truth about it. I items, L locations, T days.

    Attributes:
        spec: what was asked for.
        catalogue: items, texts, prices, launches.
        drivers: what drives demand, and the expected units `drivers.mean` (I, T).
        lines: every line the shop's system recorded, sales and all else, before any file dirt.
        ledger: what became known on which day about the demand of which day.
    """

    spec: ShopSpec
    catalogue: Catalogue
    drivers: Drivers
    lines: Lines
    ledger: Ledger

    @cached_property
    def units_by_location(self) -> Ints:
        """(I, L, T) units ordered and neither cancelled nor returned, all corrections made: the final truth."""
        return self.known_units(self.spec.last_day + timedelta(days=400))

    @cached_property
    def units(self) -> Ints:
        """(I, T) the same over all locations."""
        return np.asarray(self.units_by_location.sum(axis=1))

    @cached_property
    def units_gross(self) -> Ints:
        """(I, T) units ordered, those later cancelled or returned included."""
        return np.asarray(
            self.known_units(self.spec.last_day + timedelta(days=400), reasons=("sale", "correction")).sum(axis=1)
        )

    def known_units(
        self, as_of: date, reasons: tuple[str, ...] = ("sale", "correction", "cancellation", "return")
    ) -> Ints:
        """(I, L, T) units as known at the end of a night; late lines, cancellations and corrections come later."""
        ledger = self.ledger
        known = (ledger.known <= (as_of - self.spec.first_day).days) & np.isin(ledger.reason, reasons)
        shape = (len(self.catalogue.item_id), len(self.spec.locations), self.spec.days)
        units = np.zeros(shape, dtype=np.int64)
        np.add.at(units, (ledger.item[known], ledger.location[known], ledger.day[known]), ledger.units[known])
        return units


def generate(spec: ShopSpec | None = None) -> GeneratedShop:
    """Draw the shop of a spec; the same spec gives the same shop."""
    spec = spec or ShopSpec()
    # one stream per part: another number of locations must not change the items
    items_rng, drivers_rng, lines_rng = (np.random.default_rng([spec.seed, part]) for part in range(3))
    catalogue = make_catalogue(
        items_rng, spec.items, spec.days, launch_share=spec.launch_share, intermittent_share=spec.intermittent_share
    )
    drivers = make_drivers(
        drivers_rng,
        catalogue,
        spec.first_day,
        spec.days,
        locations=len(spec.locations),
        lines_per_day=spec.lines_per_day,
        promotions_per_year=spec.promotions_per_year,
        stock_outs_per_year=spec.stock_outs_per_year,
    )
    lines, ledger = make_lines(lines_rng, catalogue, drivers, spec.dirt.model_dump())
    return GeneratedShop(spec, catalogue, drivers, lines, ledger)
