-- Series that a night forecasts: those with a sale within the active days up to it.
-- grain: item × location; parameters: as_of, active_days
SELECT item_id, location
FROM demand_daily
WHERE units > 0 AND day > $as_of::DATE - $active_days::INTEGER
GROUP BY item_id, location
ORDER BY item_id, location
