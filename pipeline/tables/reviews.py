"""Reviews, from the delivered file to what the published file says of each item and week."""

from pipeline.tables.declare import Table, columns

TOPICS = {
    "quality": "quality: material, workmanship, whether it lasts or breaks",
    "size": "size and fit",
    "delivery": "delivery: how fast it came, or did not",
    "packaging": "packaging, damage on the way included",
    "price": "price and value",
    "looks": "looks: colour, design",
    "gift": "a gift to somebody",
}
"""What reviews are looked through for, and what it means."""

TABLES = (
    Table(
        "raw_reviews",
        "ingestion",
        "lake",
        "Every line of every delivered file of reviews, as delivered, and of a bad one what is wrong with it.",
        ("file_hash", "line"),
        ("file_hash",),
        columns("""
            review_id | VARCHAR | review, as its source numbers it; null without
            item_id | VARCHAR | item
            reviewed_at | TIMESTAMP | when it was written, UTC; null on a bad line
            rating | DOUBLE | rating from 1 (worst) to 5 (best), whatever the source's scale; null without
            text | VARCHAR | what was written, as delivered
            customer_key | VARCHAR | keyed hash of the customer id; the id itself never enters the lake
            available_at | TIMESTAMP | when Almanac could know it, UTC, if it is no edited review
            source | VARCHAR | name of the source's mapping
            file_hash | VARCHAR | delivery that brought it
            line | BIGINT | number of the line (record) in that file, the header being 1
            problem_column | VARCHAR | column at fault, as the file names it; null for a good line
            problem | VARCHAR | what is wrong, in words; null for a good line
            raw_text | VARCHAR | the line as delivered without its customer, kept for bad lines only
        """),
    ),
    Table(
        "quarantined_reviews",
        "cleaning",
        "lake",
        "Lines of files of reviews that do not count, each with its reason; nothing is lost.",
        ("file_hash", "line"),
        ("file_hash",),
        columns("""
            file_hash | VARCHAR | delivery that brought the line
            file_name | VARCHAR | its name in the drop folder
            source | VARCHAR | name of the source's mapping
            line | BIGINT | number of the line (record) in the file, the header being 1
            problem_column | VARCHAR | column at fault, as the file names it
            reason | VARCHAR | what is wrong with it, in words
            raw_text | VARCHAR | the line, as delivered, without its customer
        """),
    ),
    Table(
        "reviews",
        "cleaning",
        "lake",
        "The ledger of reviews. An edited review is a further row with a higher version, known from its delivery.",
        ("source", "review_id", "version"),
        ("known_on",),
        columns("""
            review_id | VARCHAR | review as its source numbers it; without that a hash of what it says
            version | INTEGER | 1 for a new review, higher for an edited re-delivery of it
            item_id | VARCHAR | item
            reviewed_at | TIMESTAMP | when it was written, UTC
            reviewed_on | DATE | local day on which it was written
            rating | DOUBLE | rating from 1 (worst) to 5 (best), whatever the source's scale; null without
            sentences | VARCHAR[] | its text in normalised pieces of at most 16 words or Chinese characters, the first 8; empty without
            customer_key | VARCHAR | keyed hash of the customer id
            source | VARCHAR | name of the source's mapping
            file_hash | VARCHAR | delivery that brought it
            known_on | DATE | local day on which it became known
        """),
    ),
    Table(
        "review_report",
        "cleaning",
        "lake",
        "What became of a delivery's reviews, counted; written last, it marks the delivery as taken over.",
        ("file_hash", "measure"),
        ("file_hash",),
        columns("""
            file_hash | VARCHAR | delivery
            measure | VARCHAR | lines, quarantined, kept, edited (kept, as a new version), repeated; or files
            value | BIGINT | count of lines; of files: how many the ledger got of the delivery
        """),
    ),
    Table(
        "review_versions",
        "cleaning",
        "state",
        "Reviews as known on the night, every version of them, with the day on which the next one became known.",
        ("source", "review_id", "version"),
        (),
        columns("""
            source | VARCHAR | name of the source's mapping
            review_id | VARCHAR | review
            version | INTEGER | 1 for a new review, higher for an edited one
            item_id | VARCHAR | item
            reviewed_on | DATE | local day on which it was written
            rating | DOUBLE | rating from 1 (worst) to 5 (best); null without
            sentences | VARCHAR[] | its text in normalised pieces
            known_on | DATE | local day on which the version became known
            replaced_on | DATE | local day on which the next version became known; null for the newest
        """),
    ),
    Table(
        "item_reviews",
        "enrichment",
        "state",
        "What reviews said of each item by the week in which they were written, as known on the night.",
        ("item_id", "week_start"),
        (),
        columns(
            """
            item_id | VARCHAR | item
            week_start | DATE | Monday of the week in which they were written
            reviews | BIGINT | reviews
            rated | BIGINT | of them with a rating
            mean_rating | DOUBLE | mean rating from 1 (worst) to 5 (best); null without
            sentiment | DOUBLE | mean sentiment from -1 to 1: that of the rating, else what the text says by the shop's rated reviews known before; null where nothing tells
            read | BIGINT | of them with a text whose topics could be told: the language model must know its language
            """
            + "\n".join(
                f"{topic}_share | DOUBLE | share of those that speak of {words}; null without"
                for topic, words in TOPICS.items()
            )
        ),
    ),
)
