-- What reviews said of each item by the week in which they were written.
-- grain: item × week
-- Reads review_scores, _sentence_topics (text_hash, topics: a bit for each topic; sentences that could be read only).
-- {shares}: share of the reviews that speak of each topic.
WITH now AS (
    SELECT * FROM review_scores WHERE replaced_on IS NULL
),

spoken AS (
    SELECT source, review_id, bit_or(told.topics) AS topics
    FROM (SELECT source, review_id, unnest(sentences) AS sentence FROM now) AS sentences
    INNER JOIN _sentence_topics AS told ON left(sha256(sentences.sentence), 32) = told.text_hash
    GROUP BY source, review_id
)

SELECT
    now.item_id,
    date_trunc('week', now.reviewed_on)::DATE AS week_start,
    count(*) AS reviews,
    count(now.rating) AS rated,
    avg(now.rating ORDER BY source, review_id) AS mean_rating,
    (sum(now.sentiment) / 100 / count(now.sentiment))::DOUBLE AS sentiment,
    count(spoken.topics) AS read,
    {shares}
FROM now
LEFT JOIN spoken USING (source, review_id)
GROUP BY now.item_id, date_trunc('week', now.reviewed_on)
ORDER BY item_id, week_start
