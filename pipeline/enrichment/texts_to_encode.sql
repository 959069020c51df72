-- Item texts that some night, past or present, reads, and that this model has not encoded: every master text, and each
-- order text that was at some time the one on most lines of its item; of items ever sold.
-- What became known up to `summed_until` is read from its sums (item_sightings_until), the rest from the ledgers, cut to
-- the days after it: nights up to then were seen to before, and the sums are what the first night after them saw.
-- grain: text; variables: model_id (VARCHAR), summed_until (DATE; null: the ledgers are whole, no sums are read)
WITH summed AS (
    SELECT item_id, item_text, category, origin, lines
    FROM item_sightings_until
    WHERE known_until = getvariable('summed_until')
),

sold AS (
    SELECT item_id FROM demand_changes WHERE reason IN ('sale', 'correction')
    UNION
    -- only lines that were sold are sightings of orders
    SELECT item_id FROM summed WHERE origin = 'orders'
),

seen AS (
    SELECT item_id, item_text, category, origin, known_on, sum(lines) AS lines
    FROM (
        SELECT item_id, item_text, category, origin, getvariable('summed_until') AS known_on, lines FROM summed
        UNION ALL
        SELECT item_id, item_text, category, origin, known_on, lines FROM item_sightings
    )
    WHERE item_text <> '' AND item_id IN (SELECT sold.item_id FROM sold)
    GROUP BY ALL
),

counted AS (
    SELECT
        item_id,
        item_text,
        origin,
        known_on,
        sum(lines) OVER (PARTITION BY item_id, origin, item_text, category ORDER BY known_on) AS lines_by_then
    FROM seen
),

ranked AS (
    SELECT
        item_id,
        item_text,
        origin,
        lines_by_then,
        max(lines_by_then) OVER (PARTITION BY item_id, origin ORDER BY known_on) AS most_by_then
    FROM counted
),

needed AS (
    SELECT DISTINCT item_text, left(sha256(item_text), 32) AS text_hash
    FROM ranked
    WHERE
        origin = 'master'
        OR lines_by_then >= most_by_then
        -- corrections took lines back: another text may have come first then
        OR item_id IN (SELECT seen.item_id FROM seen WHERE seen.lines < 0)
)

SELECT
    item_text,
    text_hash,
    text_hash IN (
        SELECT f.text_hash FROM item_text_features AS f WHERE f.model_id = getvariable('model_id')
    ) AS is_encoded
FROM needed
ORDER BY text_hash
