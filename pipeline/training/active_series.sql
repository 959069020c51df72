-- Active series: sold within the active days up to the night; at most so many (null: all): half of them those that sold
-- most, half drawn from all others by a hash of their names. Best sellers alone teach a network nothing of the long tail:
-- of a grocer's 52,573 items with fewer than 20 sale days it expected three times what they sold.
-- grain: item × location, in their order; parameters: as_of, active_days, most
WITH active AS (
    SELECT item_id, location, sum(units_winsorised) AS units
    FROM demand_daily
    WHERE units > 0 AND day > $as_of::DATE - $active_days::INTEGER
    GROUP BY item_id, location
),
ranked AS (
    SELECT item_id, location, row_number() OVER (ORDER BY units DESC, item_id, location) AS place
    FROM active
)

SELECT item_id, location
FROM ranked
QUALIFY
    $most::INTEGER IS NULL
    OR place <= ($most::INTEGER + 1) // 2
    OR row_number() OVER (
        ORDER BY place <= ($most::INTEGER + 1) // 2, md5(concat_ws('|', item_id, location)), item_id, location
    ) <= $most::INTEGER // 2
ORDER BY item_id, location
