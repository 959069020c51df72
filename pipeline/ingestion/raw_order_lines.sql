-- The lines of one delivered order file, as they enter the lake: typed, numbered, customers hidden, repeats marked.
-- grain: line of the file
-- Reads order_cells, contested, customer_keys, rejected; variables source, delivered_at.
SELECT
    cells.order_id,
    coalesce(contested.line_no, cells.given_line_no, 1) AS line_no,
    cells.item_id,
    cells.item_text,
    cells.category,
    cells.quantity,
    cells.unit_price,
    cells.currency,
    customer_keys.customer_key,
    coalesce(cells.location, '') AS location,
    cells.country,
    cells.channel,
    cells.ordered_at,
    CASE WHEN contested.version > 1 THEN getvariable('delivered_at') ELSE cells.available_at END AS available_at,
    getvariable('source') AS source,
    cells.line,
    coalesce(contested.version, 1) AS version,
    coalesce(contested.is_repeat, false) AS is_repeat,
    cells.problem_column,
    cells.problem,
    cells.raw_text
FROM order_cells AS cells
LEFT JOIN customer_keys ON cells.customer = customer_keys.customer
LEFT JOIN contested ON cells.seq = contested.seq

UNION ALL

SELECT
    NULL AS order_id, NULL AS line_no, NULL AS item_id, NULL AS item_text, NULL AS category, NULL AS quantity,
    NULL AS unit_price, NULL AS currency, NULL AS customer_key, '' AS location, NULL AS country, NULL AS channel,
    NULL AS ordered_at, NULL AS available_at, getvariable('source') AS source, line, 1 AS version, false AS is_repeat,
    '(whole line)' AS problem_column, problem, raw_text
FROM rejected
