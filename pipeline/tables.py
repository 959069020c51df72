"""Every table, declared once: stage, grain, key, columns, types, meaning.

Used to write the lake, to check what is written, and for the comments that analysts read. Nothing writes an
undeclared table. Two layers:

- `lake` tables hold facts and results as Parquet, one folder per partition. Facts of the shop are ledgers: each row
  carries the local day on which it became known (`known_on`), and a later fact adds rows, it never changes old ones.
  What was known on a night is therefore a sum or a newest-row over `known_on <= as_of`, and nothing else.
- `state` tables are those sums: what was known at the end of one night. `pipeline/as_of.py` makes them as views, for
  training, backtests and forecasts alike, and publishing copies them into `almanac.duckdb` for analysts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from pipeline.settings import QUANTILE_COLUMNS

_ARROW: dict[str, pa.DataType] = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "SMALLINT": pa.int16(),
    "DOUBLE": pa.float64(),
    "FLOAT": pa.float32(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"),
    "DECIMAL(18,4)": pa.decimal128(18, 4),
    "DECIMAL(38,4)": pa.decimal128(38, 4),
    "FLOAT[]": pa.list_(pa.float32()),
    "VARCHAR[]": pa.list_(pa.string()),
}


@dataclass(frozen=True)
class Column:
    """A column: DuckDB type and meaning, for writing, checks and comments."""

    name: str
    type: str
    meaning: str


@dataclass(frozen=True)
class Table:
    """A table: where it is made, what one row is, and its columns."""

    name: str
    stage: str
    layer: Literal["lake", "state"]
    meaning: str
    key: tuple[str, ...]
    partition: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of all columns, in order, partition columns included."""
        return tuple(column.name for column in self.columns)

    @property
    def arrow_schema(self) -> pa.Schema:
        """Schema of the table in Arrow."""
        return pa.schema([(column.name, _ARROW[column.type]) for column in self.columns])


def _columns(text: str) -> tuple[Column, ...]:
    """Columns from lines `name | TYPE | meaning`."""
    return tuple(
        Column(*(part.strip() for part in line.split("|", 2))) for line in text.strip().splitlines() if line.strip()
    )


_DISTRIBUTION = "mean | DOUBLE | expected units (a real mean, not the mean of the quantiles)\n" + "\n".join(
    f"{name} | DOUBLE | {int(name[1:])} % quantile of units, in whole units" for name in QUANTILE_COLUMNS
)

_ORDER_LINE = """
order_id | VARCHAR | order (invoice, basket) as the shop numbers it
line_no | INTEGER | position of the line: the source's own number, else its occurrence within order and item
item_id | VARCHAR | item (stock code, product), always text
item_text | VARCHAR | description as delivered with the line
category | VARCHAR | category as delivered with the line
quantity | BIGINT | units, negative on cancellations, returns and write-offs
unit_price | DECIMAL(18,4) | price of one unit in `currency`
currency | VARCHAR | ISO 4217 code
customer_key | VARCHAR | keyed hash of the customer id; the id itself never enters the lake
location | VARCHAR | store, warehouse or region; empty where the source has none
country | VARCHAR | country of the customer
channel | VARCHAR | sales channel
ordered_at | TIMESTAMP | when it was ordered, UTC
available_at | TIMESTAMP | when Almanac could know it, UTC
source | VARCHAR | name of the source's mapping
file_hash | VARCHAR | delivery that brought the line
line | BIGINT | number of the line (record) in that file, the header being 1
"""

_TABLES = (
    Table(
        "raw_files",
        "ingestion",
        "lake",
        "One row per delivered file; its content hash makes ingestion idempotent.",
        ("file_hash",),
        ("file_hash",),
        _columns("""
            file_hash | VARCHAR | SHA-256 of the file's bytes (first 32 hex digits)
            source | VARCHAR | name of the source's mapping
            content | VARCHAR | what the file holds: orders, items or promotions
            file_name | VARCHAR | name in the drop folder
            bytes | BIGINT | size of the file
            lines | BIGINT | lines (records) of the file, header not counted
            first_ordered_at | TIMESTAMP | earliest order time in the file, UTC; null without one
            last_ordered_at | TIMESTAMP | latest order time in the file, UTC; null without one
            first_known_on | DATE | earliest local day on which a line of the file became known
            last_known_on | DATE | latest local day on which a line of the file became known
            delivered_at | TIMESTAMP | when the file was delivered, UTC
        """),
    ),
    Table(
        "raw_order_lines",
        "ingestion",
        "lake",
        "Every order line of every delivered file, as delivered: typed where it casts, and its text where it does not.",
        ("file_hash", "line"),
        ("file_hash",),
        _columns(_ORDER_LINE)
        + _columns("""
            version | INTEGER | 1 for a new line, higher for a corrected re-delivery of it
            is_repeat | BOOLEAN | an exact repeat of a line already delivered, in this file or before
            problem_column | VARCHAR | mapped column that could not be read; null for a readable line
            problem | VARCHAR | why, in words; null for a readable line
            raw_text | VARCHAR | the line as delivered, kept for unreadable lines only
        """),
    ),
    Table(
        "raw_items",
        "ingestion",
        "lake",
        "Item master data as delivered.",
        ("file_hash", "item_id"),
        ("file_hash",),
        _columns("""
            item_id | VARCHAR | item
            item_text | VARCHAR | description
            category | VARCHAR | category, levels joined by ' > '
            known_on | DATE | local day on which this became known
            source | VARCHAR | name of the source's mapping
            file_hash | VARCHAR | delivery that brought it
            line | BIGINT | number of the line (record) in that file
        """),
    ),
    Table(
        "raw_promotions",
        "ingestion",
        "lake",
        "Promotions as delivered, one row per item, location, kind and period.",
        ("file_hash", "line", "kind"),
        ("file_hash",),
        _columns("""
            item_id | VARCHAR | item
            location | VARCHAR | location, empty for all
            kind | VARCHAR | kind of promotion: display, mailer, discount, …
            starts_on | DATE | first day
            ends_on | DATE | last day, included
            share | DOUBLE | share of the shop's locations (or of customers) that it reaches, 0 to 1
            known_on | DATE | local day on which it was announced
            source | VARCHAR | name of the source's mapping
            file_hash | VARCHAR | delivery that brought it
            line | BIGINT | number of the line (record) in that file; 0 where many lines were summed into one
        """),
    ),
    Table(
        "quarantined_order_lines",
        "validation",
        "lake",
        "Lines kept out of demand, each with its reason; nothing is lost.",
        ("file_hash", "line"),
        ("file_hash",),
        _columns("""
            file_hash | VARCHAR | delivery that brought the line
            file_name | VARCHAR | its name in the drop folder
            source | VARCHAR | name of the source's mapping
            line | BIGINT | number of the line (record) in the file, the header being 1
            problem_column | VARCHAR | column at fault, as the file names it
            reason | VARCHAR | what is wrong with it, in words
            raw_text | VARCHAR | the line, as delivered
        """),
    ),
    Table(
        "data_quality",
        "validation",
        "lake",
        "What validation counted, per file: lines = accepted + quarantined + exact repeats, and each rule's count.",
        ("file_hash", "measure"),
        ("file_hash",),
        _columns("""
            file_hash | VARCHAR | delivery
            file_name | VARCHAR | its name in the drop folder
            source | VARCHAR | name of the source's mapping
            measure | VARCHAR | lines, accepted, quarantined, exact_repeats, corrected, or quarantined:<rule>
            value | BIGINT | count of lines
        """),
    ),
    Table(
        "order_lines",
        "cleaning",
        "lake",
        "Accepted lines with what kind of line each is. A corrected line is a further row with a higher version.",
        ("source", "order_id", "item_id", "line_no", "version"),
        ("known_on",),
        _columns(_ORDER_LINE)
        + _columns("""
            version | INTEGER | 1 for a new line, higher for a corrected re-delivery of it
            kind | VARCHAR | sale, cancellation, return, adjustment, write_off, non_merchandise or free
            demand_day | DATE | local day of the order
            known_on | DATE | local day on which the line became known
        """),
    ),
    Table(
        "cleaning_report",
        "cleaning",
        "lake",
        "What cleaning did with a delivery's lines, counted by reason; written last, it marks the delivery as cleaned.",
        ("file_hash", "measure"),
        ("file_hash",),
        _columns("""
            file_hash | VARCHAR | delivery
            source | VARCHAR | name of the source's mapping
            measure | VARCHAR | lines:<kind>, netted, unmatched_cancellations, corrected, …
            value | BIGINT | count of lines
            units | BIGINT | units of those lines
        """),
    ),
    Table(
        "netted_lines",
        "cleaning",
        "lake",
        "Which cancellation or return was netted against which order line, and when that became known. Negative units "
        "take an earlier netting back, because one of the two lines was corrected.",
        (
            "item_id",
            "order_source",
            "order_id",
            "order_line_no",
            "cancellation_source",
            "cancellation_id",
            "cancellation_line_no",
            "known_on",
        ),
        ("known_on",),
        _columns("""
            item_id | VARCHAR | item
            order_source | VARCHAR | source of the order line
            order_id | VARCHAR | order
            order_line_no | INTEGER | position of the line in the order
            cancellation_source | VARCHAR | source of the cancellation line
            cancellation_id | VARCHAR | cancelling document, as the shop numbers it
            cancellation_line_no | INTEGER | position of the line in it
            reason | VARCHAR | cancellation or return
            units | BIGINT | units netted
            known_on | DATE | local day on which it became known
        """),
    ),
    Table(
        "demand_changes",
        "cleaning",
        "lake",
        "The demand ledger: what became known on a day about the demand of a day. Its sum up to a night is the demand "
        "as that night knew it.",
        ("item_id", "location", "demand_day", "reason", "known_on"),
        ("known_on",),
        _columns("""
            item_id | VARCHAR | item
            location | VARCHAR | location, empty where the source has none
            demand_day | DATE | local day of the order
            reason | VARCHAR | sale, cancellation, return or correction
            units | BIGINT | change of units (negative when netted)
            lines | BIGINT | change of the number of order lines
            revenue | DECIMAL(38,4) | change of revenue in the shop's currency
            known_on | DATE | local day on which it became known
        """),
    ),
    Table(
        "item_sightings",
        "cleaning",
        "lake",
        "The item ledger: which text and category an item was seen with, and how often, by the day it became known.",
        ("item_id", "item_text", "category", "origin", "known_on"),
        ("known_on",),
        _columns("""
            item_id | VARCHAR | item
            item_text | VARCHAR | normalised text
            category | VARCHAR | category, levels joined by ' > '; empty where unknown
            origin | VARCHAR | orders, or master for item master data (which wins)
            lines | BIGINT | order lines that carried this text
            known_on | DATE | local day on which it became known
        """),
    ),
    Table(
        "calendar_daily",
        "enrichment",
        "lake",
        "One row per country and day: weekday, holidays, lunar date, solar term, events. The lake holds what is always "
        "known; a night's view adds what had been announced by then.",
        ("country", "day"),
        ("country",),
        _columns("""
            country | VARCHAR | ISO 3166-1 code
            day | DATE | day
            weekday | SMALLINT | 1 Monday to 7 Sunday
            week_of_year | SMALLINT | ISO week
            is_holiday | BOOLEAN | a public holiday of the country
            holiday | VARCHAR | names of the public holidays, joined by '; '; empty without
            lunar_month | SMALLINT | month of the Chinese lunar calendar
            lunar_day | SMALLINT | day of the lunar month
            is_leap_month | BOOLEAN | a leap lunar month
            solar_term | VARCHAR | name of the solar term that begins on the day; null on other days
            events | VARCHAR[] | events of the day (see calendar_events)
        """),
    ),
    Table(
        "calendar_occurrences",
        "enrichment",
        "lake",
        "One row per country, event and occurrence: holidays, lunar festivals, solar terms, shopping festivals and the "
        "shop's own events.",
        ("country", "event", "starts_on"),
        ("country",),
        _columns("""
            country | VARCHAR | ISO 3166-1 code
            event | VARCHAR | event, for example christmas, spring_festival, double_11, black_friday
            name | VARCHAR | its name in words
            kind | VARCHAR | holiday, workday (a weekend day worked in exchange), lunar, solar_term, festival or own
            starts_on | DATE | first day
            ends_on | DATE | last day, included
            announced_on | DATE | local day from which the occurrence was known; null when always
            made_from | VARCHAR | hash of settings, range of days and library versions that it was computed from
        """),
    ),
    Table(
        "calendar_events",
        "enrichment",
        "state",
        "One row per country, event and day, with days to and since the event, as known on the night.",
        ("country", "event", "day"),
        (),
        _columns("""
            country | VARCHAR | ISO 3166-1 code
            event | VARCHAR | event, for example christmas, spring_festival, double_11, black_friday
            kind | VARCHAR | holiday, workday, lunar, solar_term, festival or own
            day | DATE | day
            days_to | INTEGER | days until the event's next first day, 0 on it; null with none known within 400 days
            days_since | INTEGER | days since the event's last first day, 0 on it; null with none within 400 days
            is_on | BOOLEAN | the event takes place on the day
        """),
    ),
    Table(
        "promotions",
        "enrichment",
        "lake",
        "Promotions by item and period with the day of their announcement; overlapping and adjoining periods of one "
        "delivery, kind and share are merged. Where shares differ the larger counts.",
        ("item_id", "location", "kind", "starts_on", "ends_on", "share", "known_on"),
        ("known_on",),
        _columns("""
            item_id | VARCHAR | item
            location | VARCHAR | location, empty for all
            kind | VARCHAR | kind of promotion
            starts_on | DATE | first day
            ends_on | DATE | last day, included
            share | DOUBLE | share of the shop reached, 0 to 1
            known_on | DATE | local day on which it was announced
        """),
    ),
    Table(
        "promotion_report",
        "enrichment",
        "lake",
        "What became of a delivery's promotions, counted; written last, it marks the delivery as taken over.",
        ("file_hash", "measure"),
        ("file_hash",),
        _columns("""
            file_hash | VARCHAR | delivery
            measure | VARCHAR | delivered, kept, merged (into an overlapping or adjoining period) or impossible
            value | BIGINT | count of promotions
        """),
    ),
    Table(
        "item_text_features",
        "enrichment",
        "lake",
        "Vectors of item texts from a language model, computed once per text and model.",
        ("model_id", "text_hash"),
        ("model_id", "batch"),
        _columns("""
            model_id | VARCHAR | language model and the hash of its weights and settings
            batch | VARCHAR | hash of the texts encoded together
            text_hash | VARCHAR | SHA-256 of the normalised text (first 32 hex digits)
            item_text | VARCHAR | the normalised text
            vector | FLOAT[] | mean-pooled, L2-normalised vector
        """),
    ),
    Table(
        "model_versions",
        "training",
        "lake",
        "Registered model versions; a night may use only those trained on what was known by then.",
        ("model_version",),
        ("as_of",),
        _columns("""
            model_version | VARCHAR | name and number in the MLflow registry
            as_of | DATE | night whose knowledge it was trained on
            data_snapshot | VARCHAR | hash of the as-of inputs of the training
            run_id | VARCHAR | MLflow run
            trained_seconds | DOUBLE | seconds of training
            device | VARCHAR | where it was trained
            settings_hash | VARCHAR | hash of the training settings
            made_at | TIMESTAMP | when it was registered, UTC
        """),
    ),
    Table(
        "backtest_forecasts",
        "backtesting",
        "lake",
        "Forecasts made at past origins with what was known then, beside what came.",
        ("as_of", "model", "origin", "item_id", "location", "target_date"),
        ("as_of",),
        _columns(
            """
            as_of | DATE | night on which the backtest ran
            model | VARCHAR | forecaster
            origin | DATE | last day known to the forecaster
            item_id | VARCHAR | item
            location | VARCHAR | location, empty for all
            target_date | DATE | day forecast
            horizon_days | INTEGER | days after the origin, from 1
            actual | DOUBLE | units that came, as known on `as_of`
            """
            + _DISTRIBUTION
        ),
    ),
    Table(
        "backtest_scores",
        "backtesting",
        "lake",
        "Scores of the backtest, pooled and by slice.",
        ("as_of", "model", "origin", "slice", "value_of_slice", "metric"),
        ("as_of",),
        _columns("""
            as_of | DATE | night on which the backtest ran
            model | VARCHAR | forecaster
            origin | VARCHAR | origin (ISO date), or 'all' for all pooled
            slice | VARCHAR | all, horizon, volume, intermittency, age or holiday
            value_of_slice | VARCHAR | value of the slice, for example A or 1-7
            metric | VARCHAR | wql, wape, bias, mae, rmse, rmsse, mase, coverage_50, coverage_90, …
            score | DOUBLE | the score
            forecasts | BIGINT | number of forecasts (item-days) behind it
        """),
    ),
    Table(
        "forecasts",
        "forecasting",
        "lake",
        "Daily forecasts per item: every night's vintage is kept and never updated.",
        ("item_id", "location", "target_date", "as_of", "model_version"),
        ("as_of",),
        _columns(
            """
            item_id | VARCHAR | item
            location | VARCHAR | location, empty for all
            target_date | DATE | day forecast (Monday of the week at weekly grain)
            as_of | DATE | night that made the forecast
            horizon_days | INTEGER | days after the night, from 1
            """
            + _DISTRIBUTION
            + """
            model_version | VARCHAR | version that made it
            data_snapshot | VARCHAR | hash of the as-of inputs
            made_at | TIMESTAMP | when it was made, UTC
            """
        ),
    ),
    Table(
        "forecast_totals",
        "forecasting",
        "lake",
        "Forecasts of sums with quantiles of the sum, from joint sample paths.",
        ("level", "id", "location", "period_start", "as_of", "model_version"),
        ("as_of",),
        _columns(
            """
            level | VARCHAR | item-week, item-month, category-day, category-week, total-day, total-week, …
            id | VARCHAR | item or category; empty for the total
            location | VARCHAR | location, empty for all
            period_start | DATE | first day of the period within the horizon
            period_end | DATE | last day of the period within the horizon, included
            as_of | DATE | night that made the forecast
            """
            + _DISTRIBUTION
            + """
            model_version | VARCHAR | version that made it
            data_snapshot | VARCHAR | hash of the as-of inputs
            made_at | TIMESTAMP | when it was made, UTC
            """
        ),
    ),
    Table(
        "items",
        "cleaning",
        "state",
        "Items as known on the night: canonical text, category, first and last sale.",
        ("item_id",),
        (),
        _columns("""
            item_id | VARCHAR | item
            item_text | VARCHAR | canonical text: the master's, else the one on most order lines
            category | VARCHAR | category; empty where unknown
            text_hash | VARCHAR | key into item_text_features
            first_sold | DATE | first day with demand; null before any
            last_sold | DATE | last day with demand; null before any
        """),
    ),
    Table(
        "demand_daily",
        "cleaning",
        "state",
        "Demand per item, location and local day as known on the night: orders less what was cancelled or returned. "
        "Days without a row had no demand.",
        ("item_id", "location", "day"),
        (),
        _columns("""
            item_id | VARCHAR | item
            location | VARCHAR | location, empty where the shop forecasts over all
            day | DATE | local day of the order
            units | BIGINT | units ordered and not cancelled
            units_gross | BIGINT | units ordered, cancelled ones included
            lines | BIGINT | order lines
            revenue | DECIMAL(38,4) | revenue in the shop's currency, less what was cancelled
            revenue_gross | DECIMAL(38,4) | revenue in the shop's currency, cancelled orders included
            is_outlier | BOOLEAN | far above what the item sells on its own days, on days near by, and on the shop's busy days: most often one bulk order
            units_winsorised | BIGINT | units, an outlier cut to what the item would sell at most: for training and scaling only
        """),
    ),
    Table(
        "prices_daily",
        "enrichment",
        "state",
        "Price paid per item, location and day as known on the night: revenue by units ordered, days with sales only.",
        ("item_id", "location", "day"),
        (),
        _columns("""
            item_id | VARCHAR | item
            location | VARCHAR | location, empty where the shop forecasts over all
            day | DATE | local day
            unit_price | DOUBLE | mean price of one unit in the shop's currency
        """),
    ),
    Table(
        "promotions_daily",
        "enrichment",
        "state",
        "Promotions per item and day, past and announced, as known on the night.",
        ("item_id", "location", "day", "kind"),
        (),
        _columns("""
            item_id | VARCHAR | item
            location | VARCHAR | location, empty where the shop forecasts over all
            day | DATE | day
            kind | VARCHAR | kind of promotion
            share | DOUBLE | share of the shop reached, 0 to 1
        """),
    ),
    Table(
        "shop_days",
        "cleaning",
        "state",
        "One row per day from the first order to the night: whole demand, and whether the shop was closed.",
        ("day",),
        (),
        _columns("""
            day | DATE | local day
            units | BIGINT | units of all items
            lines | BIGINT | order lines of all items
            is_closed | BOOLEAN | no order at all on a day when the shop otherwise sells: closed, not without demand
        """),
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in _TABLES}
"""All tables by name, in the order of the data flow within each layer."""


def lake_tables() -> Iterator[Table]:
    """Tables of the lake."""
    return (table for table in _TABLES if table.layer == "lake")
