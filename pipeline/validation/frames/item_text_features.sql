-- grain: language model
-- Lengths and texts of new vectors are set against those of all others of their model; only what is new is computed with.
SELECT
    model_id,
    count(*) AS texts,
    (SELECT count(DISTINCT len(o.vector)) FROM lake_item_text_features AS o WHERE o.model_id = f.model_id) AS dimensions,
    coalesce(max(abs(sqrt(list_dot_product(vector, vector)) - 1)), 0)::DOUBLE AS farthest_from_unit_length,
    (
        SELECT count(*) - count(DISTINCT o.text_hash) FROM lake_item_text_features AS o WHERE o.model_id = f.model_id
    ) AS repeated_texts
FROM item_text_features AS f
GROUP BY model_id
ORDER BY model_id
