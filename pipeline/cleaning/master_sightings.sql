-- Texts and categories of item master data.
-- grain: item × text × category × day on which it became known
-- Reads raw_items, item_texts; variable file_hash.
SELECT DISTINCT
    item_id,
    coalesce(item_texts.item_text, '') AS item_text,
    coalesce(raw_items.category, '') AS category,
    'master' AS origin,
    0 AS lines,
    known_on
FROM raw_items
LEFT JOIN item_texts ON raw_items.item_text = item_texts.delivered
WHERE file_hash = getvariable('file_hash')
ORDER BY known_on, item_id, item_text, category
