-- The good lines of one delivery of reviews, set against what was delivered before.
-- grain: review (of a review that stands in the file more than once the last line)
-- Reads raw_reviews (of the delivery), cut_texts, ledger (reviews), earlier (file_hash of the deliveries before); variables
-- time_zone, delivered_at, file_hash.
WITH read AS (
    SELECT
        -- without an id, what it says tells a review; as many that say the same are as many reviews
        coalesce(
            raw_reviews.review_id,
            says || '-' || row_number() OVER (PARTITION BY raw_reviews.review_id, says ORDER BY line)
        ) AS review_id,
        raw_reviews.item_id,
        raw_reviews.reviewed_at,
        (raw_reviews.reviewed_at AT TIME ZONE 'UTC' AT TIME ZONE getvariable('time_zone'))::DATE AS reviewed_on,
        raw_reviews.rating,
        coalesce(cut_texts.sentences, []) AS sentences,
        raw_reviews.customer_key,
        raw_reviews.source,
        (raw_reviews.available_at AT TIME ZONE 'UTC' AT TIME ZONE getvariable('time_zone'))::DATE AS available_on,
        (getvariable('delivered_at') AT TIME ZONE 'UTC' AT TIME ZONE getvariable('time_zone'))::DATE AS delivered_on,
        raw_reviews.line
    FROM (
        SELECT
            *,
            left(
                sha256(to_json([item_id, customer_key, reviewed_at::VARCHAR, rating::VARCHAR, text])::VARCHAR), 32
            ) AS says
        FROM raw_reviews
        WHERE problem IS NULL
    ) AS raw_reviews
    LEFT JOIN cut_texts ON raw_reviews.text = cut_texts.delivered
),

new AS (
    SELECT *
    FROM read
    QUALIFY row_number() OVER (PARTITION BY review_id ORDER BY line DESC) = 1
),

-- the newest version of each that the deliveries before brought
known AS (
    SELECT ledger.*
    FROM ledger
    WHERE
        ledger.file_hash IN (SELECT earlier.file_hash FROM earlier)
        AND (ledger.source, ledger.review_id) IN (SELECT (new.source, new.review_id) FROM new)
    QUALIFY row_number() OVER (PARTITION BY ledger.source, ledger.review_id ORDER BY ledger.version DESC) = 1
)

SELECT
    new.*,
    coalesce(known.version, 0) + 1 AS version,
    known.version IS NULL
    OR (new.item_id, new.reviewed_at, new.rating, new.sentences)
    IS DISTINCT FROM (known.item_id, known.reviewed_at, known.rating, known.sentences) AS is_kept,
    -- never before it was written, and an edited one not before it was delivered
    CASE
        WHEN known.version IS NULL THEN greatest(new.available_on, new.reviewed_on)
        ELSE greatest(new.delivered_on, new.reviewed_on, known.known_on)
    END AS known_on
FROM new
LEFT JOIN known USING (source, review_id)
