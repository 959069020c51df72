-- Sentences of reviews, and the examples of topics, that a language model has not read yet.
-- grain: text; reads reviews, examples (sentence), item_text_features; parameter: model_id
WITH sentences AS (
    SELECT unnest(sentences) AS sentence FROM reviews
    UNION
    SELECT sentence FROM examples
)

SELECT
    sentences.sentence,
    left(sha256(sentences.sentence), 32) AS text_hash,
    sentences.sentence IN (SELECT examples.sentence FROM examples) AS is_example
FROM sentences
WHERE
    left(sha256(sentences.sentence), 32)
    NOT IN (SELECT f.text_hash FROM item_text_features AS f WHERE f.model_id = $model_id)
ORDER BY text_hash
