-- grain: source and kind of line
SELECT
    source,
    kind,
    count(*) AS lines,
    count(*) - count(DISTINCT hash(order_id, item_id, line_no, version)) AS repeated_keys,
    count(*) FILTER (order_id IS NULL OR item_id IS NULL OR quantity IS NULL OR unit_price IS NULL) AS incomplete,
    count(*) FILTER (kind = 'sale' AND quantity <= 0) AS sales_of_nothing,
    count(*) FILTER (known_on < demand_day) AS known_before_it_happened
FROM order_lines
GROUP BY ALL
ORDER BY ALL
