-- grain: source and kind of line
-- Keys are set against lake_order_lines: the ledger since the first day of what is new.
WITH twice AS (
    SELECT hash(source, order_id, item_id, line_no, version) AS key
    FROM lake_order_lines
    GROUP BY key
    HAVING count(*) > 1
)

SELECT
    source,
    kind,
    count(*) AS lines,
    count(*) FILTER (
        hash(source, order_id, item_id, line_no, version) IN (SELECT twice.key FROM twice)
    ) AS repeated_keys,
    count(*) FILTER (order_id IS NULL OR item_id IS NULL OR quantity IS NULL OR unit_price IS NULL) AS incomplete,
    count(*) FILTER (kind = 'sale' AND quantity <= 0) AS sales_of_nothing,
    count(*) FILTER (known_on < demand_day) AS known_before_it_happened
FROM order_lines
GROUP BY ALL
ORDER BY ALL
