"""A source's mapping: how the files of one shop system become order lines, items, promotions and reviews.

A mapping is a YAML file (`data/sources/NAME.yaml`, or one of the home). What belongs here: its closed vocabulary and
how it is found and read. What does not: SQL; `reading.py` translates, and no text of a YAML file is ever run.
`data/sources/README.md` shows how to write one.
"""

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.closed_yaml import Closed, load_yaml
from pipeline.errors import SettingsError
from pipeline.settings import SETTINGS_FILE, SHIPPED_SOURCES, Settings, SourceSettings, TimeZone

Encoding = Literal["utf-8", "utf-16", "gb18030", "latin-1"]
LineKind = Literal["sale", "cancellation", "return", "adjustment", "write_off", "non_merchandise", "free"]
KindColumn = Literal["order_id", "item_id", "item_text", "category", "location", "country", "channel", "currency"]
Content = Literal["orders", "items", "promotions", "reviews"]
ISO = "iso"
"""Datetime format that stands for ISO 8601 (2010-12-01, 2010-12-01 08:26:00, 2010-12-01T08:26:00.5)."""


class Cell(Closed):
    """Where a value comes from: one file column, a constant, or a few columns put together. Exactly one of these."""

    column: str | None = Field(default=None, min_length=1, description="A column of the file. A bare name is the same.")
    constant: str | None = Field(default=None, description="The same text on every line.")
    join: tuple[str, ...] | None = Field(default=None, min_length=1, description="Columns joined, empty ones left out.")
    by: str = Field(default=" ", description="What stands between joined columns.")
    sum: tuple[str, ...] | None = Field(default=None, min_length=1, description="Numbers added; empty ones count 0.")
    divide: tuple["Cell", "Cell"] | None = Field(default=None, description="The first by the second; by 0: empty.")

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_way(self) -> "Cell":
        ways = ("column", "constant", "join", "sum", "divide")
        given = [way for way in ways if getattr(self, way) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(ways)}; given: {', '.join(given) or 'none'}")
        return self

    @property
    def file_columns(self) -> tuple[str, ...]:
        """Columns of the file that this value reads."""
        if self.column is not None:
            return (self.column,)
        if self.divide is not None:
            return self.divide[0].file_columns + self.divide[1].file_columns
        return self.join or self.sum or ()

    @property
    def label(self) -> str:
        """How a person would name the place in the file."""
        if self.constant is not None:
            return f"constant {self.constant!r}"
        if self.divide is not None:
            return f"{self.divide[0].label} / {self.divide[1].label}"
        return (" + " if self.sum else ", ").join(self.file_columns)


class CsvOptions(Closed):
    """How a CSV file is written; gzip is known by the ending .gz."""

    delimiter: str = Field(default=",", min_length=1, max_length=1, description="Character between fields.")
    quote: str = Field(default='"', max_length=1, description="Character around fields; empty: none.")
    encoding: Encoding = Field(default="utf-8", description="utf-8, utf-16, gb18030 or latin-1.")

    @model_validator(mode="after")
    def _distinct(self) -> "CsvOptions":
        if self.delimiter == self.quote:
            raise ValueError(f"delimiter and quote are both {self.quote!r}; they must differ")
        return self


class FileMapping(Closed):
    """What all contents share: which files, and how they are written."""

    files: str = Field(min_length=1, description="Pattern of the file names in the drop folder: orders_*.csv*")
    format: Literal["csv", "parquet"] = Field(default="csv", description="csv or parquet.")
    csv: CsvOptions = Field(default=CsvOptions(), description="How CSV files are written.")
    nulls: tuple[str, ...] = Field(default=(), description="Texts that mean 'nothing', beside the empty field: nan.")
    decimal_comma: bool = Field(default=False, description="Numbers are written 1.234,50 instead of 1234.50.")
    datetime_formats: tuple[str, ...] = Field(
        default=(ISO,),
        min_length=1,
        description="Formats of dates and times, tried in order: iso, or strptime patterns such as %d.%m.%Y %H:%M.",
    )
    allow_empty: bool = Field(default=False, description="A file with a header and no lines is fine (a closed day).")

    @field_validator("files")
    @classmethod
    def _inside_the_folder(cls, value: str) -> str:
        if Path(value).is_absolute() or ".." in Path(value).parts:
            raise ValueError("a pattern of names inside the drop folder; the folder itself stands in almanac.yaml")
        return value

    @field_validator("datetime_formats")
    @classmethod
    def _date_in_each(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            if pattern != ISO and "%" not in pattern:
                raise ValueError(f"{pattern!r} is neither iso nor a strptime pattern such as %d.%m.%Y %H:%M")
        return value


class OrderColumns(Closed):
    """Columns of an order line, and where each comes from."""

    order_id: Cell = Field(description="Order, invoice or basket.")
    item_id: Cell = Field(description="Item, stock code or product.")
    quantity: Cell = Field(description="Units; negative on cancellations and returns.")
    unit_price: Cell = Field(description="Price of one unit.")
    ordered_at: Cell = Field(description="Date and time of the order, in the mapping's time zone.")
    line_no: Cell | None = Field(default=None, description="Position in the order; default: counted per item.")
    item_text: Cell | None = Field(default=None, description="Description of the item.")
    category: Cell | None = Field(default=None, description="Category of the item.")
    currency: Cell | None = Field(default=None, description="ISO 4217 code; default: the mapping's currency.")
    customer: Cell | None = Field(default=None, description="Customer id; only its keyed hash is kept.")
    location: Cell | None = Field(default=None, description="Store, warehouse or region.")
    country: Cell | None = Field(default=None, description="Country of the customer.")
    channel: Cell | None = Field(default=None, description="Sales channel.")
    available_at: Cell | None = Field(default=None, description="When the line became known (rule `column` only).")

    @property
    def given(self) -> dict[str, Cell]:
        """The mapped ones, by order-line column (`customer` and `available_at` by these names)."""
        return {name: cell for name in type(self).model_fields if (cell := getattr(self, name)) is not None}


class Availability(Closed):
    """When a line counts as known. A corrected line is known from its delivery in any case."""

    rule: Literal["order_time", "delivery", "column"] = Field(
        default="order_time", description="order_time (history loaded at once), delivery, or column (available_at)."
    )
    delay_days: float = Field(default=0, ge=0, le=366, description="Days after the order time (rule order_time).")

    @model_validator(mode="after")
    def _delay_where_it_counts(self) -> "Availability":
        if self.delay_days and self.rule != "order_time":
            raise ValueError("delay_days belongs to the rule order_time only")
        return self


class LineKindRule(Closed):
    """Which lines are of a kind: all the patterns match (RE2, whole value, case as written)."""

    kind: LineKind = Field(description="Kind of the lines that match.")
    when: dict[KindColumn, str] = Field(
        min_length=1, description="Order-line column: RE2 pattern that must match its whole value, e.g. order_id: C.*"
    )

    @field_validator("when")
    @classmethod
    def _patterns_compile(cls, value: dict[KindColumn, str]) -> dict[KindColumn, str]:
        for column, pattern in value.items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{column}: {pattern!r} is not a pattern: {error}") from error
        return value


class OrdersMapping(FileMapping):
    """Order files of a source."""

    columns: OrderColumns = Field(description="Order-line columns from file columns.")
    quantity_factor: float = Field(default=1, gt=0, description="Units per unit of the file: 1000 for kg to g.")
    available: Availability = Field(default=Availability(), description="When a line became known.")
    kinds: tuple[LineKindRule, ...] = Field(
        default=(),
        description="Which lines are no sales; the first rule that matches counts. Lines that none matches: return "
        "(quantity < 0, with a price), write_off (quantity < 0 at price 0), free (price 0), else sale.",
    )

    @model_validator(mode="after")
    def _available_column(self) -> "OrdersMapping":
        if (self.available.rule == "column") != (self.columns.available_at is not None):
            raise ValueError("`available: {rule: column}` and `columns: {available_at: …}` go together")
        return self


class ItemsMapping(FileMapping):
    """Item master data of a source."""

    item_id: Cell = Field(description="Item, as order lines name it.")
    item_text: Cell | None = Field(default=None, description="Description.")
    category: Cell | None = Field(default=None, description="Category, levels joined by ' > '.")
    price: Cell | None = Field(
        default=None, description="Price of one unit at its launch, in the mapping's currency; empty: not known yet."
    )
    on_sale_from: Cell | None = Field(
        default=None,
        description="First day on which it is to be sold. Items without one, not sold yet, count as on sale from the first "
        "delivery that names them.",
    )
    known_from: date | None = Field(
        default=None,
        description="Day from which the first delivery counts as known, for a catalogue loaded with its history; later "
        "deliveries, and the first without it, are known from the day of their delivery.",
    )


class WeekPeriod(Closed):
    """Periods given as a week number."""

    number: Cell = Field(description="Number of the week.")
    first_day: date = Field(description="First day of week 1.")


class PromotionKind(Closed):
    """A kind of promotion, told by one column: any text but those of `none` says that it took place."""

    kind: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the kind: display, mailer, discount.")
    column: str = Field(min_length=1, description="Column of the file.")
    none: tuple[str, ...] = Field(default=(), description="Texts that mean: no such promotion, beside the empty field.")


class PromotionsMapping(FileMapping):
    """Promotions of a source, past and planned."""

    item_id: Cell = Field(description="Item, as order lines name it.")
    location: Cell | None = Field(default=None, description="Location; lines are summed over it into a share.")
    starts_on: Cell | None = Field(default=None, description="First day, with `ends_on`; or give `week`.")
    ends_on: Cell | None = Field(default=None, description="Last day, included.")
    week: WeekPeriod | None = Field(default=None, description="Period as a week number; or give `starts_on`.")
    kinds: tuple[PromotionKind, ...] = Field(min_length=1, description="Kinds and the columns that tell them.")
    price: Cell | None = Field(
        default=None,
        description="Planned price of one unit in the period, in the mapping's currency; empty: none planned.",
    )
    announced_days_before: int = Field(
        default=0, ge=0, le=366, description="Days before its first day on which a promotion was announced."
    )

    @model_validator(mode="after")
    def _one_period(self) -> "PromotionsMapping":
        dates = self.starts_on is not None and self.ends_on is not None
        half = (self.starts_on is None) != (self.ends_on is None)
        if half or dates == (self.week is not None):
            raise ValueError("give either `starts_on` and `ends_on`, or `week`")
        return self


class ReviewAvailability(Closed):
    """When a review counts as known. An edited one is known from its delivery in any case."""

    rule: Literal["review_time", "delivery"] = Field(
        default="review_time", description="review_time (history loaded at once) or delivery."
    )


class ReviewsMapping(FileMapping):
    """What customers say of items."""

    item_id: Cell = Field(description="Item, as order lines name it.")
    reviewed_at: Cell = Field(description="Date and time of the review, in the mapping's time zone.")
    rating: Cell | None = Field(default=None, description="Rating, a number on `scale`; empty: none given.")
    scale: tuple[float, float] = Field(
        default=(1, 5), description="Worst and best rating: [1, 5], or [6, 1] for marks."
    )
    text: Cell | None = Field(default=None, description="What was written; HTML is taken out.")
    review_id: Cell | None = Field(
        default=None,
        description="Review id, by which an edited review is known; without it every other text is another review.",
    )
    customer: Cell | None = Field(default=None, description="Customer id; only its keyed hash is kept.")
    available: ReviewAvailability = Field(default=ReviewAvailability(), description="When a review became known.")

    @model_validator(mode="after")
    def _says_something(self) -> "ReviewsMapping":
        if self.rating is None and self.text is None:
            raise ValueError("map `rating`, `text` or both")
        if self.scale[0] == self.scale[1]:
            raise ValueError(f"scale: worst and best are both {self.scale[0]:g}")
        return self

    @property
    def given(self) -> dict[str, Cell]:
        """The mapped ones, by column."""
        names = ("item_id", "reviewed_at", "rating", "text", "review_id", "customer")
        return {name: cell for name in names if (cell := getattr(self, name)) is not None}


class SourceMapping(Closed):
    """All that Almanac must know to read the files of one source."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Name of the source, kept with every line.")
    timezone: TimeZone = Field(description="IANA time zone that the files' times are written in.")
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = Field(description="ISO 4217 code of the prices.")
    orders: OrdersMapping | None = Field(default=None, description="Order files.")
    items: ItemsMapping | None = Field(default=None, description="Item master data.")
    promotions: PromotionsMapping | None = Field(default=None, description="Promotions.")
    reviews: ReviewsMapping | None = Field(default=None, description="Reviews.")

    @model_validator(mode="after")
    def _something(self) -> "SourceMapping":
        if not self.contents:
            raise ValueError("map at least one of orders, items, promotions, reviews")
        return self

    @property
    def contents(self) -> dict[Content, FileMapping]:
        """The mapped contents, in the order in which they are read."""
        names: tuple[Content, ...] = ("orders", "items", "promotions", "reviews")
        return {name: mapping for name in names if (mapping := getattr(self, name)) is not None}

    def hides_customers(self, content: Content) -> bool:
        """Whether customer ids stand in the files of a content."""
        if content == "orders":
            return self.orders is not None and self.orders.columns.customer is not None
        return content == "reviews" and self.reviews is not None and self.reviews.customer is not None


def shipped_mappings() -> tuple[str, ...]:
    """Names of the mappings that come with Almanac."""
    return tuple(sorted(path.stem for path in SHIPPED_SOURCES.glob("*.yaml")))


def load_mapping(source: SourceSettings, home: Path) -> SourceMapping:
    """Read the mapping of a source: a shipped one by name, or a YAML file relative to the home.

    Raises:
        SettingsError: there is no such mapping, or it holds a typo or an impossible value.
    """
    asked = source.mapping
    path = SHIPPED_SOURCES / f"{asked}.yaml" if asked in shipped_mappings() else home / asked
    if not path.is_file():
        raise SettingsError(
            f"{home / 'almanac.yaml'}: sources: mapping {asked!r} is neither a shipped one "
            f"({', '.join(shipped_mappings())}) nor a file ({path}); write one as data/sources/README.md shows"
        )
    return load_yaml(path, SourceMapping, missing="write one as data/sources/README.md shows")


def load_mappings(sources: tuple[SourceSettings, ...], home: Path) -> dict[str, SourceMapping]:
    """The mappings of all sources, by their name.

    Raises:
        SettingsError: a mapping cannot be read, or two sources share a name.
    """
    found: dict[str, SourceMapping] = {}
    for source in sources:
        mapping = load_mapping(source, home)
        if mapping.name in found:
            raise SettingsError(
                f"{home / 'almanac.yaml'}: sources: two mappings are named {mapping.name!r}; give each its own `name`"
            )
        found[mapping.name] = mapping
    return found


def require_exchange_rate(mapping: SourceMapping, settings: Settings, home: Path) -> None:
    """Refuse a source whose prices cannot be stated in the shop's money, before anything of it is taken in.

    Raises:
        SettingsError: names the currency and what to add.
    """
    orders, shop = mapping.orders, settings.shop
    if orders is None or orders.columns.currency is not None:
        return  # lines say their own currency, and are quarantined one by one
    if mapping.currency not in shop.rates:
        raise SettingsError(
            f"{home / SETTINGS_FILE}: shop: the prices of source {mapping.name} are in {mapping.currency}, the shop's money is "
            f"{shop.currency}; add `exchange_rates: {{{mapping.currency}: …}}` ({shop.currency} per {mapping.currency}), or correct "
            "`currency` there or in the mapping"
        )


def line_kind_sql(orders: OrdersMapping) -> str:
    """A CASE expression that says the kind of an order line, from columns named as in `order_lines`.

    The defaults come after the mapping's rules; a line without quantity or price is a sale as far as this goes.
    """
    cases = []
    for rule in orders.kinds:
        tests = " AND ".join(
            f"regexp_full_match(coalesce({column}, ''), {sql_text(pattern)})" for column, pattern in rule.when.items()
        )
        cases.append(f"WHEN {tests} THEN {sql_text(rule.kind)}")
    cases += [
        "WHEN quantity < 0 AND unit_price = 0 THEN 'write_off'",
        "WHEN quantity < 0 THEN 'return'",
        "WHEN unit_price = 0 THEN 'free'",
    ]
    return "CASE " + " ".join(cases) + " ELSE 'sale' END"


def sql_text(value: str) -> str:
    """A text as a SQL literal: settings' texts enter SQL as values only."""
    return "'" + value.replace("'", "''") + "'"
