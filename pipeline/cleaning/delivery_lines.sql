-- The accepted lines of one delivery, with what kind of line each is and the local days it belongs to.
-- grain: accepted order line (file_hash, line)
-- Reads raw_order_lines, quarantined_order_lines, raw_items; variables file_hash, time_zone; macro line_kind.

-- grain: item × period for which a category was the newest master category known
CREATE TEMP TABLE master_categories AS
SELECT
    item_id,
    category,
    known_on AS known_from,
    coalesce(lead(known_on) OVER (PARTITION BY item_id ORDER BY known_on), DATE '9999-12-31') AS known_until
FROM (
    SELECT item_id, known_on, max_by(category, (file_hash, line)) AS category
    FROM raw_items
    WHERE category <> ''
    GROUP BY ALL
);

CREATE TEMP VIEW delivery_lines AS
WITH accepted AS (
    SELECT *
    FROM raw_order_lines
    WHERE
        file_hash = getvariable('file_hash')
        AND NOT is_repeat
        AND problem IS NULL
        AND line NOT IN (SELECT q.line FROM quarantined_order_lines AS q WHERE q.file_hash = getvariable('file_hash'))
),

dated AS (
    SELECT
        *,
        (ordered_at AT TIME ZONE 'UTC' AT TIME ZONE getvariable('time_zone'))::DATE AS demand_day,
        -- nothing is known before it happens, whatever a mapping says
        greatest(
            (available_at AT TIME ZONE 'UTC' AT TIME ZONE getvariable('time_zone'))::DATE, demand_day
        ) AS known_on
    FROM accepted
),

-- the category as delivered stays on the line; the master's only helps to tell what kind of line it is
told AS (
    SELECT
        dated.*,
        line_kind(
            order_id, dated.item_id, item_text, coalesce(nullif(dated.category, ''), master.category), location, country,
            channel, currency, quantity, unit_price
        ) AS told_kind
    FROM dated
    LEFT JOIN master_categories AS master
        ON
            dated.item_id = master.item_id
            AND dated.known_on >= master.known_from
            AND dated.known_on < master.known_until
)

SELECT
    * EXCLUDE (told_kind),
    -- money without goods: no shop sells at a price below zero
    CASE WHEN told_kind IN ('sale', 'return') AND unit_price < 0 THEN 'adjustment' ELSE told_kind END AS kind
FROM told;
