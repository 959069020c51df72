-- New items of the newest night, those of which most is expected first.
-- grain: item × location
SELECT
    item_id,
    location,
    item_text,
    on_sale_from,
    days_on_sale IS NOT NULL AS is_sold,
    mean,
    q10,
    q90,
    sells_like[:$likes] AS sells_like
FROM new_items
ORDER BY mean DESC, item_id, location
LIMIT $rows
