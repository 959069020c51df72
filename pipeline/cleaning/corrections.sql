-- Corrected lines: all versions of the lines that this delivery brings another version of.
-- Reads own_lines (this delivery, in order_lines) and state_lines (all cleaned before); variables file_hash and
-- own_since (DATE). Corrections are rare, and `version` has statistics in every file: this reads little.

-- grain: line of this delivery of which a higher version was cleaned before: deliveries are cleaned in the order of what
-- they make known, which need not be the order in which they came
CREATE TEMP TABLE overtaken_lines AS
SELECT own.file_hash, own.line, min(later.known_on) AS overtaken_on
FROM own_lines AS own
INNER JOIN (
    SELECT source, order_id, item_id, line_no, version, known_on
    FROM state_lines
    WHERE version > 1 AND known_on >= getvariable('own_since') - 400
) AS later USING (source, order_id, item_id, line_no)
WHERE own.version < later.version
GROUP BY ALL;

-- grain: line of this delivery that no night can ever see: its correction was known first
CREATE TEMP TABLE stale_lines AS
SELECT own.file_hash, own.line
FROM own_lines AS own
INNER JOIN overtaken_lines AS overtaken USING (file_hash, line)
WHERE overtaken.overtaken_on <= own.known_on;

-- grain: version of a line that has several
CREATE TEMP TABLE line_versions AS
WITH several AS (
    SELECT source, order_id, item_id, line_no, min(demand_day) AS demand_day
    FROM own_lines
    LEFT JOIN overtaken_lines AS overtaken USING (file_hash, line)
    WHERE own_lines.version > 1 OR overtaken.line IS NOT NULL
    GROUP BY ALL
)

SELECT own.*, true AS is_own
FROM own_lines AS own
SEMI JOIN several USING (source, order_id, item_id, line_no)
ANTI JOIN stale_lines USING (file_hash, line)
UNION ALL
SELECT state.*, false
FROM state_lines AS state
SEMI JOIN several USING (source, order_id, item_id, line_no)
WHERE state.known_on >= (SELECT min(demand_day) FROM several) - 400;

-- grain: version of a line × chain: the nights that see this version, with this delivery (sign 1) and as booked before
-- it (sign −1). Their difference is what this delivery changes.
CREATE TEMP TABLE version_nights AS
WITH chains AS (
    SELECT 1 AS sign, * FROM line_versions
    UNION ALL
    SELECT -1 AS sign, * FROM line_versions WHERE NOT is_own
),

begun AS (
    SELECT
        *,
        row_number() OVER versions = 1 AS is_first,
        max(known_on) OVER versions AS seen_from
    FROM chains
    WINDOW versions AS (PARTITION BY sign, source, order_id, item_id, line_no ORDER BY version)
)

SELECT
    *,
    lead(seen_from) OVER (PARTITION BY sign, source, order_id, item_id, line_no ORDER BY version) AS seen_until
FROM begun;

-- grain: corrected line of this delivery, beside the version it replaces
CREATE TEMP TABLE corrections AS
SELECT *
FROM (
    SELECT
        *,
        lag(struct_pack(
            kind, quantity, unit_price, currency, location, customer_key, demand_day
        )) OVER (PARTITION BY source, order_id, item_id, line_no ORDER BY version) AS old
    FROM line_versions
)
ANTI JOIN overtaken_lines USING (file_hash, line)
WHERE old IS NOT NULL AND is_own;
