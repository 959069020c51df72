-- What item master data says of launches.
-- grain: item × day on which it became known
-- Reads raw_items; macro line_revenue; variables file_hash, currencies.
WITH said AS (
    SELECT
        item_id,
        on_sale_from,
        CASE
            WHEN unit_price > 0 AND isfinite(unit_price) AND list_contains(getvariable('currencies'), currency)
                THEN CAST(line_revenue(1, CAST(unit_price AS DECIMAL(18, 4)), currency) AS DOUBLE)
        END AS unit_price,
        known_on
    FROM raw_items
    WHERE file_hash = getvariable('file_hash')
)

SELECT item_id, on_sale_from, unit_price, known_on
FROM said
WHERE on_sale_from IS NOT NULL OR unit_price IS NOT NULL
ORDER BY known_on, item_id
