-- Items, with their first and last sale from the published demand: a view that begins with some day cannot know them.
-- grain: item
WITH sold AS (
    SELECT item_id, min(day) AS first_sold, max(day) AS last_sold
    FROM published.demand_daily
    WHERE units > 0
    GROUP BY item_id
)
SELECT
    coalesce(items.item_id, sold.item_id) AS item_id,
    coalesce(items.item_text, '') AS item_text,
    coalesce(items.category, '') AS category,
    coalesce(items.text_hash, left(sha256(''), 32)) AS text_hash,
    sold.first_sold,
    sold.last_sold
FROM items
FULL JOIN sold ON sold.item_id = items.item_id
