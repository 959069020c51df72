-- Vectors of the sentences of a quarter's reviews: of those with a rating at most so many, drawn by their ids, and of those
-- without all. Vectors say nothing but what the sentences say, so the lake's are read; the sentences are those that the night knows.
-- grain: sentence of a version of a review; reads numbered_reviews, lake_item_text_features; parameters: model_id, quarter, rated, most
WITH asked AS (
    SELECT number, (rating - 3) / 2 AS sentiment, sentences
    FROM numbered_reviews
    WHERE quarter = $quarter AND (rating IS NOT NULL) = $rated AND len(sentences) > 0
    QUALIFY
        NOT $rated
        OR row_number() OVER (ORDER BY md5(concat_ws('|', source, review_id, version)), source, review_id, version) <= $most
),

sentences AS (
    SELECT number, sentiment, unnest(sentences) AS sentence FROM asked
)

SELECT sentences.number, coalesce(sentences.sentiment, 0)::DOUBLE AS sentiment, f.vector
FROM sentences
INNER JOIN lake_item_text_features AS f ON left(sha256(sentences.sentence), 32) = f.text_hash
WHERE f.model_id = $model_id
ORDER BY sentences.number, f.text_hash
