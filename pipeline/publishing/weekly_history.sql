-- Units per whole week up to the night, zero where nothing was sold; the whole shop under the item_id ''.
-- grain: item_id × location × week; parameters: as_of, items, locations (same length), weeks
WITH weeks AS (
    SELECT DISTINCT date_trunc('week', day)::DATE AS week_start
    FROM shop_days
    WHERE
        date_trunc('week', day)::DATE + 6 <= $as_of::DATE
        AND day > $as_of::DATE - 7 * $weeks::INTEGER
        -- a shop whose first order came on a Saturday did not sell next to nothing that week
        AND date_trunc('week', day) >= (SELECT min(day) FROM shop_days)
),
wanted AS (
    SELECT unnest($items::VARCHAR[]) AS item_id, unnest($locations::VARCHAR[]) AS location
),
sold AS (
    SELECT item_id, location, date_trunc('week', day)::DATE AS week_start, sum(units) AS units
    FROM demand_daily INNER JOIN wanted USING (item_id, location)
    GROUP BY ALL
    UNION ALL
    SELECT '', '', date_trunc('week', day)::DATE, sum(units) FROM shop_days GROUP BY ALL
)
SELECT keys.item_id, keys.location, weeks.week_start, coalesce(sold.units, 0)::DOUBLE AS units
FROM (FROM wanted UNION SELECT '', '') AS keys
CROSS JOIN weeks
LEFT JOIN sold
    ON sold.item_id = keys.item_id AND sold.location = keys.location AND sold.week_start = weeks.week_start
ORDER BY ALL;
