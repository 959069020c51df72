-- Sentences of the reviews as they are now, with their vectors.
-- grain: sentence; reads review_scores, lake_item_text_features; parameter: model_id
SELECT f.text_hash, f.item_text, f.vector
FROM lake_item_text_features AS f
WHERE
    f.model_id = $model_id
    AND f.text_hash IN (
        SELECT left(sha256(unnest(sentences)), 32) FROM review_scores WHERE replaced_on IS NULL
    )
ORDER BY f.text_hash
