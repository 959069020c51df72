-- The promotions of one delivery, overlapping and adjoining periods merged.
-- grain: item × location × kind × share × planned price × announcement × period
-- Reads raw_promotions and rates (currency, rate into the shop's); variable file_hash (VARCHAR).
WITH delivered AS (
    SELECT
        item_id,
        coalesce(location, '') AS location,
        kind,
        starts_on,
        ends_on,
        coalesce(share, 1.0) AS share,
        CASE WHEN isfinite(unit_price) AND unit_price > 0 THEN unit_price * rates.rate END AS unit_price,
        known_on
    FROM raw_promotions
    LEFT JOIN rates USING (currency)
    WHERE
        file_hash = getvariable('file_hash')
        AND item_id <> ''
        AND kind <> ''
        AND starts_on <= ends_on
        AND known_on IS NOT NULL
        AND coalesce(share, 1.0) BETWEEN 0 AND 1
),

reaching AS (
    SELECT
        *,
        max(ends_on) OVER (
            PARTITION BY item_id, location, kind, share, unit_price, known_on
            ORDER BY starts_on, ends_on
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reached
    FROM delivered
),

numbered AS (
    SELECT
        *,
        count(*) FILTER (reached IS NULL OR starts_on > reached + 1) OVER (
            PARTITION BY item_id, location, kind, share, unit_price, known_on
            ORDER BY starts_on, ends_on
            ROWS UNBOUNDED PRECEDING
        ) AS period
    FROM reaching
)

SELECT item_id, location, kind, min(starts_on) AS starts_on, max(ends_on) AS ends_on, share, unit_price, known_on
FROM numbered
GROUP BY item_id, location, kind, share, unit_price, known_on, period
ORDER BY known_on, item_id, location, kind, starts_on
