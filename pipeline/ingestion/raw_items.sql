-- Item master data of one delivered file; an item that stands there twice counts as it stands last.
-- grain: item
-- Reads the view item_cells; variables source, currency, known_on.
SELECT
    item_id,
    arg_max(item_text, line) FILTER (item_text IS NOT NULL) AS item_text,
    arg_max(category, line) FILTER (category IS NOT NULL) AS category,
    arg_max(unit_price, line) FILTER (unit_price IS NOT NULL) AS unit_price,
    getvariable('currency') AS currency,
    arg_max(on_sale_from, line) FILTER (on_sale_from IS NOT NULL) AS on_sale_from,
    getvariable('known_on') AS known_on,
    getvariable('source') AS source,
    max(line) AS line
FROM item_cells
WHERE item_id IS NOT NULL
GROUP BY item_id
ORDER BY item_id
