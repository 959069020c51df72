-- Weekly forecasts of the newest night, whole weeks only; the whole shop under the item_id ''.
-- grain: item_id × location × week; parameters: items, locations (same length)
SELECT id AS item_id, location, period_start, mean, q05, q20, q80, q95
FROM forecast_totals_latest
WHERE
    period_end - period_start = 6
    AND (
        level = 'total-week'
        OR (
            level = 'item-week'
            AND (id, location) IN (SELECT (unnest($items::VARCHAR[]), unnest($locations::VARCHAR[])))
        )
    )
ORDER BY ALL;
