-- Sums of the item ledger up to the end of a quarter. Sums of zero stay: later days add to them.
-- grain: item × text × category × origin; variables: known_until, summed_until (DATE; null without a summary before)
WITH known AS (
    SELECT item_id, item_text, category, origin, lines, first_known, last_known
    FROM item_sightings_until
    WHERE known_until = getvariable('summed_until')
    UNION ALL
    SELECT item_id, item_text, category, origin, lines, known_on, known_on
    FROM item_sightings
    WHERE
        known_on > coalesce(getvariable('summed_until'), DATE '0001-01-01')
        AND known_on <= getvariable('known_until')
)

SELECT
    item_id,
    item_text,
    category,
    origin,
    sum(lines)::BIGINT AS lines,
    min(first_known) AS first_known,
    max(last_known) AS last_known
FROM known
GROUP BY ALL
ORDER BY ALL
