-- grain: language model
SELECT
    model_id,
    count(*) AS texts,
    count(DISTINCT len(vector)) AS dimensions,
    coalesce(max(abs(sqrt(list_dot_product(vector, vector)) - 1)), 0)::DOUBLE AS farthest_from_unit_length,
    count(*) - count(DISTINCT text_hash) AS repeated_texts
FROM item_text_features
GROUP BY model_id
ORDER BY model_id
