-- grain: origin of the sighting
SELECT
    origin,
    count(DISTINCT item_id) AS items,
    count(*) FILTER (coalesce(item_id, '') = '') AS without_item,
    count(DISTINCT item_id) FILTER (item_text <> '') / greatest(count(DISTINCT item_id), 1) AS share_with_text
FROM item_sightings
GROUP BY origin
ORDER BY origin
