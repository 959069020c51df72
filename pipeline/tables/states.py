"""What was known at the end of one night: sums over the ledgers, made as views by `pipeline/as_of.py`."""

from pipeline.tables.declare import Table, columns

TABLES = (
    Table(
        "calendar_events",
        "enrichment",
        "state",
        "One row per country, event and day, with days to and since the event, as known on the night.",
        ("country", "event", "day"),
        (),
        columns("""
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
        "items",
        "cleaning",
        "state",
        "Items as known on the night: canonical text, category, first and last sale.",
        ("item_id",),
        (),
        columns("""
            item_id | VARCHAR | item
            item_text | VARCHAR | canonical text: the master's, else the one on most order lines
            category | VARCHAR | category; empty where unknown
            text_hash | VARCHAR | hash of the text; key of its vector in the lake's item_text_features
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
        columns("""
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
        columns("""
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
        columns("""
            item_id | VARCHAR | item
            location | VARCHAR | location, empty where the shop forecasts over all
            day | DATE | day
            kind | VARCHAR | kind of promotion
            share | DOUBLE | share of the shop reached, 0 to 1
        """),
    ),
    Table(
        "planned_prices",
        "enrichment",
        "state",
        "Prices planned for a promotion's period, as known on the night; of several the one announced last counts.",
        ("item_id", "location", "starts_on", "ends_on", "unit_price", "known_on"),
        (),
        columns("""
            item_id | VARCHAR | item
            location | VARCHAR | location, empty for all
            starts_on | DATE | first day
            ends_on | DATE | last day, included
            unit_price | DOUBLE | planned price of one unit in the shop's currency
            known_on | DATE | local day on which it was announced
        """),
    ),
    Table(
        "shop_days",
        "cleaning",
        "state",
        "One row per day from the first order to the night: whole demand, and whether the shop was closed.",
        ("day",),
        (),
        columns("""
            day | DATE | local day
            units | BIGINT | units of all items
            lines | BIGINT | order lines of all items
            is_closed | BOOLEAN | no order at all on a day when the shop otherwise sells: closed, not without demand
        """),
    ),
    Table(
        "demand_revisions",
        "cleaning",
        "state",
        "What became known about the demand of a day after that day: late orders, cancellations, returns, corrections. "
        "demand_daily less the revisions known after a night is the demand as that night knew it.",
        ("item_id", "location", "day", "reason", "known_on"),
        (),
        columns("""
            item_id | VARCHAR | item
            location | VARCHAR | location, empty where the shop forecasts over all
            day | DATE | local day of the order
            known_on | DATE | local day on which it became known, later than `day`
            reason | VARCHAR | sale, cancellation, return or correction
            units | BIGINT | change of units (negative when taken back)
            lines | BIGINT | change of the number of order lines
        """),
    ),
    Table(
        "publication",
        "publishing",
        "state",
        "What this file is of, in one row: by it the next publish tells whether it may bring the file up to date.",
        ("as_of",),
        (),
        columns("""
            as_of | DATE | night that the file is of
            format | VARCHAR | hash of declared tables, SQL and settings that the file was made by
            full_as_of | DATE | night on which the file was last built in full
            full_bytes | BIGINT | size of the file when it was last built in full
        """),
    ),
    Table(
        "published_parts",
        "publishing",
        "state",
        "The lake's partitions that this file was made from, as they stood: what differs is published anew.",
        ("table_name", "value"),
        (),
        columns("""
            table_name | VARCHAR | table of the lake
            value | VARCHAR | value of its partition column
            fingerprint | VARCHAR | hash of the names, sizes and times of its files
        """),
    ),
)
