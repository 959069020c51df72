-- What one delivery adds to the ledger of reviews.
-- grain: version of a review
-- Reads delivered_reviews; variable file_hash.
SELECT
    review_id,
    version,
    item_id,
    reviewed_at,
    reviewed_on,
    rating,
    sentences,
    customer_key,
    source,
    getvariable('file_hash') AS file_hash,
    known_on
FROM delivered_reviews
WHERE is_kept
ORDER BY known_on, source, review_id
