-- What was known at the end of one night: the only way by which training, backtests and forecasts read facts.
-- Variables: as_of (DATE), by_location (BOOLEAN), announced_days (INTEGER); first_day (DATE): see first_day.sql; since
-- (DATE): demand_daily, shop_days and prices_daily begin there, with the rows that they have without it; reads_from (DATE):
-- no row of those days depends on demand before it. Reads the lake's ledgers, attached under lake_<table>. A fact is never known before the day it is
-- about, so a filter on known_on, by which the ledgers are partitioned, leaves out whole files.
-- Every view below is declared in pipeline/tables (layer "state") or is a lake table cut to the night.

-- grain: one version of one order line; the newest known. Corrected lines are few, so they are set against all lines
-- rather than all lines sorted by version.
CREATE VIEW order_lines AS
SELECT lines.*
FROM lake_order_lines AS lines
ANTI JOIN (
    SELECT older.source, older.order_id, older.item_id, older.line_no, older.version
    FROM lake_order_lines AS older
    INNER JOIN lake_order_lines AS newer USING (source, order_id, item_id, line_no)
    WHERE
        newer.version > 1
        AND newer.version > older.version
        AND newer.known_on <= getvariable('as_of')
        AND older.known_on <= getvariable('as_of')
) USING (source, order_id, item_id, line_no, version)
WHERE known_on <= getvariable('as_of');

-- grain: item × location × day, from reads_from on
CREATE TEMP TABLE known_demand AS
SELECT
    item_id,
    CASE WHEN getvariable('by_location') THEN location ELSE '' END AS location,
    demand_day AS day,
    greatest(sum(units), 0)::BIGINT AS units,
    greatest(sum(units) FILTER (reason IN ('sale', 'correction')), 0)::BIGINT AS units_gross,
    greatest(sum(lines), 0)::BIGINT AS lines,
    greatest(sum(revenue), 0)::DECIMAL(38, 4) AS revenue,
    greatest(sum(revenue) FILTER (reason IN ('sale', 'correction')), 0)::DECIMAL(38, 4) AS revenue_gross
FROM lake_demand_changes
WHERE
    known_on >= getvariable('reads_from')
    AND known_on <= getvariable('as_of')
    AND demand_day >= getvariable('reads_from')
    AND demand_day <= getvariable('as_of')
GROUP BY ALL
HAVING sum(units) FILTER (reason IN ('sale', 'correction')) > 0;

-- grain: item × location × day
CREATE TABLE demand_daily AS
WITH sale_days AS (
    SELECT item_id || chr(31) || location AS series, (day - DATE '1970-01-01')::INTEGER AS day, units
    FROM known_demand
    WHERE units > 0
)

SELECT
    known.*,
    coalesce(known.units > caps.cap, false) AS is_outlier,
    coalesce(least(known.units, caps.cap), known.units)::BIGINT AS units_winsorised
FROM known_demand AS known
LEFT JOIN outlier_caps('sale_days') AS caps
    ON
        known.item_id || chr(31) || known.location = caps.series
        AND known.day - DATE '1970-01-01' = caps.day
WHERE known.day >= getvariable('since')
ORDER BY item_id, location, day;

-- grain: day, from the first order to the night
CREATE TABLE shop_days AS
WITH days AS (
    SELECT
        unnest(
            generate_series(
                greatest(getvariable('first_day'), getvariable('reads_from'))::TIMESTAMP,
                getvariable('as_of')::TIMESTAMP,
                INTERVAL 1 DAY
            )
        )::DATE AS day
),

sold AS (
    SELECT day, sum(units)::BIGINT AS units, sum(lines)::BIGINT AS lines FROM known_demand GROUP BY day
),

filled AS (
    SELECT day, coalesce(units, 0) AS units, coalesce(lines, 0) AS lines FROM days LEFT JOIN sold USING (day)
),

-- what a day on which the shop sells looks like, over the half year before: longer than any closure
compared AS (
    SELECT
        *,
        coalesce(median(nullif(lines, 0)) OVER half_year, 0) AS usual_lines,
        median(nullif(lines, 0)) OVER same_weekday AS weekday_lines,
        max(lines) OVER same_weekday AS weekday_most,
        count(*) OVER same_weekday AS weekdays
    FROM filled
    WINDOW
        half_year AS (ORDER BY day RANGE BETWEEN INTERVAL 182 DAY PRECEDING AND CURRENT ROW),
        same_weekday AS (
            PARTITION BY isodow(day) ORDER BY day RANGE BETWEEN INTERVAL 55 DAY PRECEDING AND CURRENT ROW
        )
)

SELECT
    day,
    units,
    lines,
    lines = 0
    AND (
        -- a shop that sells at least 20 order lines on a usual day has no day without one by chance, unless this
        -- weekday is one on which it hardly sells
        (usual_lines >= 20 AND coalesce(weekday_lines, usual_lines) >= 5)
        -- nor does a smaller one have the same weekday empty for weeks
        OR (weekday_most = 0 AND weekdays >= 4 AND usual_lines * weekdays >= 20)
    ) AS is_closed
FROM compared
WHERE day >= getvariable('since')
ORDER BY day;

DROP TABLE known_demand;

-- the newest sums of the item ledger that the night may know; days since then are read from the ledger itself
SET VARIABLE sightings_until = (
    SELECT max(known_until) FROM lake_item_sightings_until WHERE known_until <= getvariable('as_of')
);

-- grain: item × text × category × origin
CREATE TEMP TABLE seen_items AS
WITH known AS (
    SELECT item_id, item_text, category, origin, lines, first_known, last_known
    FROM lake_item_sightings_until
    WHERE known_until = getvariable('sightings_until')
    UNION ALL
    SELECT item_id, item_text, category, origin, lines, known_on, known_on
    FROM lake_item_sightings
    WHERE
        known_on > coalesce(getvariable('sightings_until'), DATE '0001-01-01')
        AND known_on <= getvariable('as_of')
)

SELECT
    item_id,
    item_text,
    category,
    origin,
    sum(lines) AS lines,
    min(first_known) AS first_known,
    max(last_known) AS last_known
FROM known
GROUP BY ALL
-- a correction takes a sighting back
HAVING origin = 'master' OR sum(lines) > 0;

-- grain: item; first and last sale are null where the view does not begin with the first day of the shop
CREATE TABLE items AS
WITH texts AS (
    SELECT item_id, item_text
    FROM seen_items
    WHERE item_text <> ''
    -- the newest master text wins; else the text on most order lines, the earlier one on a tie
    QUALIFY row_number() OVER (
        PARTITION BY item_id
        ORDER BY
            origin = 'master' DESC,
            CASE WHEN origin = 'master' THEN last_known END DESC,
            lines DESC, first_known, item_text
    ) = 1
),
categories AS (
    SELECT item_id, category
    FROM seen_items
    WHERE category <> ''
    QUALIFY row_number() OVER (
        PARTITION BY item_id ORDER BY origin = 'master' DESC, last_known DESC, lines DESC, category
    ) = 1
),
sold AS (
    SELECT item_id, min(day) AS first_sold, max(day) AS last_sold FROM demand_daily WHERE units > 0 GROUP BY item_id
)
SELECT
    ids.item_id,
    coalesce(texts.item_text, '') AS item_text,
    coalesce(categories.category, '') AS category,
    left(sha256(coalesce(texts.item_text, '')), 32) AS text_hash,
    CASE WHEN getvariable('since') <= getvariable('first_day') THEN sold.first_sold END AS first_sold,
    CASE WHEN getvariable('since') <= getvariable('first_day') THEN sold.last_sold END AS last_sold
FROM (SELECT DISTINCT item_id FROM seen_items UNION SELECT item_id FROM sold) AS ids
LEFT JOIN texts USING (item_id)
LEFT JOIN categories USING (item_id)
LEFT JOIN sold USING (item_id)
ORDER BY ids.item_id;

-- grain: item that master data named and that never sold, on sale for less than announced_days or not yet
CREATE TABLE announced_items AS
WITH named AS (
    SELECT item_id, min(first_known) AS first_named
    FROM seen_items
    GROUP BY item_id
    HAVING bool_and(origin = 'master')
),
said AS (
    SELECT
        item_id,
        -- what was said last; of two deliveries on one day the larger value, so that their order does not matter
        last(on_sale_from ORDER BY known_on, on_sale_from) FILTER (on_sale_from IS NOT NULL) AS on_sale_from,
        last(unit_price ORDER BY known_on, unit_price) FILTER (unit_price IS NOT NULL) AS unit_price
    FROM lake_announced_items
    WHERE known_on <= getvariable('as_of')
    GROUP BY item_id
)
SELECT item_id, coalesce(said.on_sale_from, named.first_named) AS on_sale_from, said.unit_price
FROM named
LEFT JOIN said USING (item_id)
ANTI JOIN (SELECT DISTINCT item_id FROM demand_daily WHERE units > 0) AS sold USING (item_id)
WHERE coalesce(said.on_sale_from, named.first_named) > getvariable('as_of') - getvariable('announced_days')
ORDER BY item_id;

DROP TABLE seen_items;

-- grain: item × location × day with sales; netted cancellations do not change what was paid
CREATE VIEW prices_daily AS
SELECT item_id, location, day, (revenue_gross / units_gross)::DOUBLE AS unit_price
FROM demand_daily
WHERE units_gross > 0 AND revenue_gross > 0;

-- grain: item × location × kind × period; of several announcements the largest share and the earliest day
CREATE TABLE promotions AS
SELECT
    item_id,
    CASE WHEN getvariable('by_location') THEN location ELSE '' END AS location,
    kind,
    starts_on,
    ends_on,
    max(share) AS share,
    min(known_on) AS known_on
FROM lake_promotions
WHERE known_on <= getvariable('as_of')
GROUP BY ALL;

-- grain: item × location × period × price × announcement; apart from promotions, so that a shop that plans no prices has
-- the snapshots it had
CREATE TABLE planned_prices AS
SELECT DISTINCT
    item_id,
    CASE WHEN getvariable('by_location') THEN location ELSE '' END AS location,
    starts_on,
    ends_on,
    unit_price,
    known_on
FROM lake_promotions
WHERE known_on <= getvariable('as_of') AND unit_price IS NOT NULL;

-- grain: item × location × kind × day, past and announced
CREATE VIEW promotions_daily AS
SELECT item_id, location, day::DATE AS day, kind, max(share) AS share
FROM promotions, unnest(generate_series(starts_on::TIMESTAMP, ends_on::TIMESTAMP, INTERVAL 1 DAY)) AS days (day)
GROUP BY ALL;

-- grain: country × event × occurrence; the calendar is known for ever, the rest from its announcement. Cut to whole
-- years around the night, so that a lake whose calendar grew later gives this night the same bytes.
CREATE VIEW calendar_occurrences AS
SELECT country, event, name, kind, starts_on, ends_on, announced_on
FROM lake_calendar_occurrences
WHERE
    (announced_on IS NULL OR announced_on <= getvariable('as_of'))
    -- 400 days beyond the days of calendar_daily: what days_to and days_since look at
    AND starts_on >= make_date(year(getvariable('first_day')) - 1, 1, 1) - 400
    AND starts_on <= make_date(year(getvariable('as_of')) + 2, 12, 31) + 400;

-- grain: country × day
CREATE VIEW calendar_daily AS
WITH announced AS (
    SELECT
        country,
        day::DATE AS day,
        string_agg(DISTINCT name, '; ' ORDER BY name) FILTER (kind = 'holiday') AS holiday,
        list(DISTINCT event) AS events
    FROM
        calendar_occurrences,
        unnest(generate_series(starts_on::TIMESTAMP, ends_on::TIMESTAMP, INTERVAL 1 DAY)) AS days (day)
    WHERE announced_on IS NOT NULL
    GROUP BY ALL
)
SELECT
    daily.* REPLACE (
        daily.is_holiday OR announced.holiday IS NOT NULL AS is_holiday,
        concat_ws('; ', nullif(daily.holiday, ''), announced.holiday) AS holiday,
        list_sort(list_concat(daily.events, announced.events)) AS events
    )
FROM lake_calendar_daily AS daily
LEFT JOIN announced USING (country, day)
WHERE
    daily.day >= make_date(year(getvariable('first_day')) - 1, 1, 1)
    AND daily.day <= make_date(year(getvariable('as_of')) + 2, 12, 31);

-- grain: country × event × day
CREATE VIEW calendar_events AS
SELECT
    country,
    event,
    min(kind) AS kind,
    day,
    min(starts_on - day) FILTER (starts_on >= day) AS days_to,
    min(day - starts_on) FILTER (starts_on <= day) AS days_since,
    bool_or(day BETWEEN starts_on AND ends_on) AS is_on
FROM calendar_daily
INNER JOIN calendar_occurrences USING (country)
WHERE starts_on BETWEEN day - 400 AND day + 400
GROUP BY ALL
ORDER BY ALL;

-- grain: text × model; of texts that were known: a text that came later must not even tell that there are vectors
CREATE VIEW item_text_features AS
SELECT *
FROM lake_item_text_features
WHERE text_hash IN (SELECT text_hash FROM items);

-- grain: version of a review; of a review that is edited only what the night knows
CREATE VIEW review_versions AS
SELECT
    source,
    review_id,
    version,
    item_id,
    reviewed_on,
    rating,
    sentences,
    known_on,
    lead(known_on) OVER (PARTITION BY source, review_id ORDER BY version) AS replaced_on
FROM lake_reviews
WHERE known_on <= getvariable('as_of');
