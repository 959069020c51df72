-- What this delivery changes about demand.
-- grain: item × location × demand day × reason × day on which it became known
-- Reads own_lines, stale_lines, corrections, netting_lines, matches; macro line_revenue.
WITH sales AS (
    SELECT item_id, location, demand_day, 'sale' AS reason, quantity, 1 AS lines, unit_price, currency, known_on
    FROM own_lines
    ANTI JOIN stale_lines USING (file_hash, line)
    ANTI JOIN corrections USING (file_hash, line)
    WHERE kind = 'sale'
),

taken_back AS (
    SELECT
        item_id, old.location, old.demand_day, 'correction', -old.quantity, -1, old.unit_price, old.currency,
        greatest(known_on, old.known_on)
    FROM corrections
    WHERE old.kind = 'sale'
),

corrected AS (
    SELECT
        item_id, location, demand_day, 'correction', quantity, 1, unit_price, currency, greatest(known_on, old.known_on)
    FROM corrections
    WHERE kind = 'sale'
),

-- a cancellation takes back units of the order's day, at the order's price
netted AS (
    SELECT
        ordered.item_id, ordered.location, ordered.demand_day, cancelling.kind, -matches.units, matches.lines,
        ordered.unit_price, ordered.currency, matches.known_on
    FROM matches
    INNER JOIN netting_lines AS ordered ON matches.ordered = ordered.row_no
    INNER JOIN netting_lines AS cancelling ON matches.cancellation = cancelling.row_no
),

changes AS (
    SELECT * FROM sales
    UNION ALL
    SELECT * FROM taken_back
    UNION ALL
    SELECT * FROM corrected
    UNION ALL
    SELECT * FROM netted
)

SELECT
    item_id,
    coalesce(location, '') AS location,
    demand_day,
    reason,
    sum(quantity)::BIGINT AS units,
    sum(lines)::BIGINT AS lines,
    coalesce(sum(line_revenue(quantity, unit_price, currency)), 0) AS revenue,
    known_on
FROM changes
GROUP BY ALL
HAVING sum(quantity) <> 0 OR sum(lines) <> 0 OR sum(line_revenue(quantity, unit_price, currency)) <> 0
ORDER BY known_on, item_id, location, demand_day, reason
