-- The lines of one delivered file of reviews, as they enter the lake: typed, customers hidden, bad ones with what is wrong.
-- grain: line of the file
-- Reads review_cells, rejected; variables source, delivered_at, worst, best, scale_in_words, by_delivery, time_formats, labels
-- (how the file names each column).
WITH judged AS (
    SELECT
        *,
        CASE
            WHEN item_id IS NULL THEN ['item_id', 'nothing there']
            WHEN time_text IS NULL THEN ['reviewed_at', 'nothing there']
            WHEN reviewed_at IS NULL
                THEN ['reviewed_at', '"' || left(time_text, 60) || '" is not a time (' || getvariable('time_formats') || ')']
            WHEN reviewed_at < TIMESTAMP '1990-01-01' THEN ['reviewed_at', 'at ' || reviewed_at || ' UTC: before 1990']
            -- an hour for clocks that disagree, as for orders
            WHEN reviewed_at > getvariable('delivered_at') + INTERVAL 1 HOUR
                THEN [
                    'reviewed_at',
                    'at ' || reviewed_at || ' UTC: after its delivery at ' || getvariable('delivered_at') || ' UTC'
                ]
            WHEN is_no_rating THEN ['rating', '"' || left(rating_text, 60) || '" is not a number']
            WHEN given_rating NOT BETWEEN least(getvariable('worst'), getvariable('best'))
            AND greatest(getvariable('worst'), getvariable('best'))
                THEN [
                    'rating',
                    'rating ' || rating_text || ' is not on the scale of ' || getvariable('scale_in_words')
                ]
            WHEN given_rating IS NULL AND text IS NULL
                THEN [CASE WHEN map_contains(getvariable('labels'), 'text') THEN 'text' ELSE 'rating' END, 'nothing there']
        END AS fault
    FROM review_cells
)

SELECT
    review_id,
    item_id,
    CASE WHEN fault IS NULL THEN reviewed_at END AS reviewed_at,
    CASE
        WHEN fault IS NULL
            THEN 1 + 4 * (given_rating - getvariable('worst')) / (getvariable('best') - getvariable('worst'))
    END AS rating,
    text,
    CASE WHEN customer IS NOT NULL THEN customer_hash(customer) END AS customer_key,
    CASE
        WHEN fault IS NOT NULL THEN NULL
        WHEN getvariable('by_delivery') THEN getvariable('delivered_at')
        ELSE reviewed_at
    END AS available_at,
    getvariable('source') AS source,
    line,
    getvariable('labels')[fault[1]] AS problem_column,
    fault[2] AS problem,
    CASE WHEN fault IS NOT NULL THEN raw_text END AS raw_text
FROM judged

UNION ALL

SELECT
    NULL AS review_id, NULL AS item_id, NULL AS reviewed_at, NULL AS rating, NULL AS text, NULL AS customer_key,
    NULL AS available_at, getvariable('source') AS source, line, '(whole line)' AS problem_column, problem, raw_text
FROM rejected
ORDER BY line
