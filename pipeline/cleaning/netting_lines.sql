-- The lines among which cancellations and returns look for the order they cancel: only groups (customer and item) in
-- which this delivery changes something, and only as far back as netting looks.
-- Reads own_lines, state_lines (since netting_since), overtaken_lines, netted_lines, touched; macros netting_group and
-- netting_units; variable netting_since.

-- grain: order or cancellation line in a touched group, numbered by group and by when it became known
CREATE TEMP TABLE netting_lines AS
WITH candidates AS (
    SELECT *, false AS is_new
    FROM state_lines
    ANTI JOIN (
        -- of a line's versions only the newest takes part
        SELECT old.source, old.order_id, old.item_id, old.line_no, old.version
        FROM state_lines AS old
        INNER JOIN state_lines AS later USING (source, order_id, item_id, line_no)
        WHERE
            old.known_on >= getvariable('netting_since')
            AND later.known_on >= getvariable('netting_since')
            AND later.version > 1
            AND old.version < later.version
    ) USING (source, order_id, item_id, line_no, version)
    WHERE
        known_on >= getvariable('netting_since')
        AND demand_day >= getvariable('netting_since')
        AND netting_units(kind, quantity) <> 0
    UNION ALL
    SELECT *, true AS is_new
    FROM own_lines
    ANTI JOIN overtaken_lines USING (file_hash, line)
    WHERE netting_units(kind, quantity) <> 0 OR version > 1
),

grouped AS (
    SELECT
        *,
        netting_group(item_id, customer_key, location, currency, unit_price, quantity) AS group_key,
        netting_units(kind, quantity) AS units
    FROM candidates
    WHERE group_key IN (SELECT group_key FROM touched)
),

ordered AS (
    SELECT
        *,
        -- a version is never known before the one it replaces
        max(available_at) OVER versions AS known_at,
        max(ordered_at) OVER versions AS happened_at
    FROM grouped
    WINDOW versions AS (PARTITION BY source, order_id, item_id, line_no ORDER BY version)
),

numbered AS (
    SELECT
        *,
        -- the hash sorts fast, the columns behind it make a collision harmless
        dense_rank() OVER (
            ORDER BY
                group_key,
                item_id,
                coalesce(customer_key, ''),
                CASE WHEN customer_key <> '' THEN NULL ELSE unit_price END,
                CASE WHEN customer_key <> '' THEN NULL ELSE abs(quantity) END
        ) AS group_no,
        row_number() OVER (
            ORDER BY is_new, known_at, happened_at, units < 0, source, order_id, item_id, line_no, version
        ) - 1 AS row_no
    FROM ordered
)

SELECT
    *,
    lag(row_no) OVER (PARTITION BY source, order_id, item_id, line_no ORDER BY version) AS replaces
FROM numbered;

-- grain: cancellation row × order row netted by earlier deliveries; the order's row is null beyond the look-back
CREATE TEMP TABLE netted_before AS
SELECT
    cancelling.row_no AS cancellation,
    ordering.row_no AS ordered,
    sum(netted.units)::BIGINT AS units,
    max(netted.known_on) AS known_on
FROM netted_lines AS netted
INNER JOIN netting_lines AS cancelling
    ON
        NOT cancelling.is_new
        AND cancelling.item_id = netted.item_id
        AND cancelling.source = netted.cancellation_source
        AND cancelling.order_id = netted.cancellation_id
        AND cancelling.line_no = netted.cancellation_line_no
LEFT JOIN netting_lines AS ordering
    ON
        NOT ordering.is_new
        AND ordering.item_id = netted.item_id
        AND ordering.source = netted.order_source
        AND ordering.order_id = netted.order_id
        AND ordering.line_no = netted.order_line_no
WHERE netted.known_on >= getvariable('netting_since')
GROUP BY ALL
HAVING sum(netted.units) > 0;
