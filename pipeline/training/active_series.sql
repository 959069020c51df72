-- Active series: sold within the active days up to the night; at most so many (null: all), those that sold most.
-- grain: item × location, in their order; parameters: as_of, active_days, most
WITH active AS (
    SELECT item_id, location, sum(units_winsorised) AS units
    FROM demand_daily
    WHERE units > 0 AND day > $as_of::DATE - $active_days::INTEGER
    GROUP BY item_id, location
    ORDER BY units DESC, item_id, location
    LIMIT $most
)

SELECT item_id, location
FROM active
ORDER BY item_id, location
