-- Which text and category each item was sold with.
-- grain: item × text × category × day on which it became known
-- Reads own_lines, line_versions, version_nights, item_texts. Only sales count: the texts of write-offs and free lines
-- are remarks ("?", "damages", "check", "sold as set on dotcom"), not descriptions.
WITH seen AS (
    SELECT item_id, item_text, category, 1 AS lines, known_on
    FROM own_lines
    ANTI JOIN line_versions USING (source, order_id, item_id, line_no)
    WHERE kind = 'sale'
    UNION ALL
    SELECT item_id, item_text, category, sign, seen_from
    FROM version_nights
    WHERE kind = 'sale'
    UNION ALL
    SELECT item_id, item_text, category, -sign, seen_until
    FROM version_nights
    WHERE kind = 'sale' AND seen_until IS NOT NULL
)

SELECT
    seen.item_id,
    coalesce(item_texts.item_text, '') AS item_text,
    coalesce(seen.category, '') AS category,
    'orders' AS origin,
    sum(seen.lines)::BIGINT AS lines,
    seen.known_on
FROM seen
LEFT JOIN item_texts ON seen.item_text = item_texts.delivered
GROUP BY ALL
HAVING sum(seen.lines) <> 0
ORDER BY seen.known_on, seen.item_id, item_text, category
