-- Corrected lines: which earlier version each one replaces, and which lines come too late to count.
-- Reads own_lines (this delivery, in order_lines) and state_lines (all cleaned before); variable own_since (DATE).

-- grain: order line of which a corrected version is already known. Corrections are rare and their version column has
-- statistics in every file, so this reads little.
CREATE TEMP TABLE later_versions AS
SELECT source, order_id, item_id, line_no, max(version) AS version
FROM state_lines
WHERE version > 1 AND known_on >= getvariable('own_since') - 400
GROUP BY ALL;

-- grain: line of this delivery that an earlier delivery has already corrected: deliveries are cleaned in the order of
-- what they make known, which need not be the order in which they came
CREATE TEMP TABLE stale_lines AS
SELECT own.file_hash, own.line
FROM own_lines AS own
INNER JOIN later_versions USING (source, order_id, item_id, line_no)
WHERE own.version < later_versions.version;

-- grain: corrected line of this delivery, beside the version it replaces
CREATE TEMP TABLE corrections AS
WITH corrected AS (
    SELECT source, order_id, item_id, line_no, min(demand_day) AS demand_day
    FROM own_lines
    WHERE version > 1
    GROUP BY ALL
),

versions AS (
    SELECT own.* FROM own_lines AS own
    SEMI JOIN corrected USING (source, order_id, item_id, line_no)
    ANTI JOIN stale_lines USING (file_hash, line)
    UNION ALL
    SELECT state.* FROM state_lines AS state
    SEMI JOIN corrected USING (source, order_id, item_id, line_no)
    WHERE known_on >= (SELECT min(demand_day) FROM corrected) - 400
)

SELECT *
FROM (
    SELECT
        *,
        lag(struct_pack(
            kind, quantity, unit_price, currency, location, customer_key, item_text, category, demand_day, ordered_at,
            known_on
        )) OVER (PARTITION BY source, order_id, item_id, line_no ORDER BY version) AS old
    FROM versions
)
WHERE old IS NOT NULL AND file_hash = getvariable('file_hash');
