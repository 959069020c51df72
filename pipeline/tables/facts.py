"""Facts of the shop, from the delivered file to what explains demand: the ledgers of the lake."""

from pipeline.tables.declare import Table, columns

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

TABLES = (
    Table(
        "raw_files",
        "ingestion",
        "lake",
        "One row per delivered file; its content hash makes ingestion idempotent.",
        ("file_hash",),
        ("file_hash",),
        columns("""
            file_hash | VARCHAR | SHA-256 of the file's bytes (first 32 hex digits)
            source | VARCHAR | name of the source's mapping
            content | VARCHAR | what the file holds: orders, items, promotions or reviews
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
        columns(_ORDER_LINE)
        + columns("""
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
        columns("""
            item_id | VARCHAR | item
            item_text | VARCHAR | description
            category | VARCHAR | category, levels joined by ' > '
            unit_price | DOUBLE | price of one unit at its launch in `currency`, null without; not a number where it is none
            currency | VARCHAR | ISO 4217 code of that price
            on_sale_from | DATE | first day on which it is to be sold, null without
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
        columns("""
            item_id | VARCHAR | item
            location | VARCHAR | location, empty for all
            kind | VARCHAR | kind of promotion: display, mailer, discount, …
            starts_on | DATE | first day
            ends_on | DATE | last day, included
            share | DOUBLE | share of the shop's locations (or of customers) that it reaches, 0 to 1
            unit_price | DOUBLE | planned price of one unit in `currency`, null without; not a number where it is none
            currency | VARCHAR | ISO 4217 code of the planned price
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
        columns("""
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
        columns("""
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
        columns(_ORDER_LINE)
        + columns("""
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
        columns("""
            file_hash | VARCHAR | delivery
            source | VARCHAR | name of the source's mapping
            measure | VARCHAR | lines:<kind>, netted, unmatched_cancellations, corrected, …; or files:<ledger>
            value | BIGINT | count of lines; of files:<ledger> how many files the ledger got of the delivery
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
        columns("""
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
        columns("""
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
        "demand_changes_until",
        "cleaning",
        "lake",
        "First day of the demand ledger up to the end of a quarter, so that a night need not look for it in all of the "
        "ledger. Made from the ledger; may be deleted at any time.",
        ("known_until",),
        ("known_until",),
        columns("""
            first_day | DATE | earliest local day of an order known by then
            known_until | DATE | last day of the quarter
        """),
    ),
    Table(
        "item_sightings",
        "cleaning",
        "lake",
        "The item ledger: which text and category an item was seen with, and how often, by the day it became known.",
        ("item_id", "item_text", "category", "origin", "known_on"),
        ("known_on",),
        columns("""
            item_id | VARCHAR | item
            item_text | VARCHAR | normalised text
            category | VARCHAR | category, levels joined by ' > '; empty where unknown
            origin | VARCHAR | orders, or master for item master data (which wins)
            lines | BIGINT | order lines that carried this text
            known_on | DATE | local day on which it became known
        """),
    ),
    Table(
        "item_sightings_until",
        "cleaning",
        "lake",
        "Sums of the item ledger up to the end of a quarter, so that a night reads one of them and the days since instead of "
        "all days. Made from the ledger; may be deleted at any time.",
        ("item_id", "item_text", "category", "origin", "known_until"),
        ("known_until",),
        columns("""
            item_id | VARCHAR | item
            item_text | VARCHAR | normalised text
            category | VARCHAR | category, levels joined by ' > '; empty where unknown
            origin | VARCHAR | orders or master
            lines | BIGINT | order lines that carried this text
            first_known | DATE | first local day on which it became known
            last_known | DATE | last such day
            known_until | DATE | last day of the quarter
        """),
    ),
    Table(
        "announced_items",
        "cleaning",
        "lake",
        "What item master data said of launches: from when an item is on sale, and for how much.",
        ("item_id", "known_on"),
        ("known_on",),
        columns("""
            item_id | VARCHAR | item
            on_sale_from | DATE | first day on which it is to be sold, null where only the price was said
            unit_price | DOUBLE | price of one unit at its launch in the shop's currency, null without
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
        columns("""
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
        columns("""
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
        "promotions",
        "enrichment",
        "lake",
        "Promotions by item and period with the day of their announcement; overlapping and adjoining periods of one "
        "delivery, kind, share and planned price are merged. Where shares differ the larger counts.",
        ("item_id", "location", "kind", "starts_on", "ends_on", "share", "unit_price", "known_on"),
        ("known_on",),
        columns("""
            item_id | VARCHAR | item
            location | VARCHAR | location, empty for all
            kind | VARCHAR | kind of promotion
            starts_on | DATE | first day
            ends_on | DATE | last day, included
            share | DOUBLE | share of the shop reached, 0 to 1
            unit_price | DOUBLE | planned price of one unit in the shop's currency, null where none is planned
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
        columns("""
            file_hash | VARCHAR | delivery
            measure | VARCHAR | delivered, kept, merged (into an overlapping or adjoining period), impossible; impossible_prices; or files
            value | BIGINT | count of promotions; of files: how many were written
        """),
    ),
    Table(
        "item_text_features",
        "enrichment",
        "lake",
        "Vectors of item texts and of sentences of reviews from a language model, computed once per text and model.",
        ("model_id", "text_hash"),
        ("model_id", "batch"),
        columns("""
            model_id | VARCHAR | language model and the hash of its weights and settings
            batch | VARCHAR | hash of the texts encoded together
            text_hash | VARCHAR | SHA-256 of the normalised text (first 32 hex digits)
            item_text | VARCHAR | the normalised text
            vector | FLOAT[] | mean-pooled, L2-normalised vector
        """),
    ),
)
