-- What this delivery changes about demand.
-- grain: item × location × demand day × reason × day on which it became known
-- Reads own_lines, line_versions, version_nights, netting_lines, matches; macro line_revenue.
WITH sales AS (
    SELECT item_id, location, demand_day, 'sale' AS reason, quantity, 1 AS lines, unit_price, currency, known_on
    FROM own_lines
    ANTI JOIN line_versions USING (source, order_id, item_id, line_no)
    WHERE kind = 'sale'
),

-- a version counts from the night that sees it first until the one that sees its correction
corrected AS (
    SELECT
        item_id, location, demand_day, CASE WHEN is_first THEN 'sale' ELSE 'correction' END AS reason, sign * quantity,
        sign, unit_price, currency, seen_from
    FROM version_nights
    WHERE kind = 'sale'
    UNION ALL
    SELECT
        item_id, location, demand_day, 'correction', -sign * quantity, -sign, unit_price, currency, seen_until
    FROM version_nights
    WHERE kind = 'sale' AND seen_until IS NOT NULL
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
