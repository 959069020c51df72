-- Rows of the demand ledger that became known after their day.
-- grain: item × location × day × reason × known_on; ledger: the ledger's rows; variable: by_location
SELECT
    item_id,
    CASE WHEN getvariable('by_location') THEN location ELSE '' END AS location,
    demand_day AS day,
    known_on,
    reason,
    sum(units)::BIGINT AS units,
    sum(lines)::BIGINT AS lines
FROM ({ledger})
WHERE known_on > demand_day
GROUP BY ALL
HAVING sum(units) <> 0 OR sum(lines) <> 0
