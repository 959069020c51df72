-- By how much what counts of the reviews of a series changes on a day. A version of a review counts from the day on which it
-- became known until the next one does, and until it is 28 or 91 days old.
-- grain: series (number) × day, from 0; what began to count before the first day does so on it
-- Reads review_scores, _asked_series (number, item_id); parameters: first_day, days
WITH versions AS (
    SELECT
        asked.number,
        greatest(reviews.known_on - $first_day::DATE, 0) AS first,
        least(coalesce(reviews.replaced_on - $first_day::DATE, $days), reviews.reviewed_on + 28 - $first_day::DATE) AS end_28,
        least(coalesce(reviews.replaced_on - $first_day::DATE, $days), reviews.reviewed_on + 91 - $first_day::DATE) AS end_91,
        reviews.sentiment
    FROM review_scores AS reviews
    INNER JOIN _asked_series AS asked USING (item_id)
),

changes AS (
    SELECT number, first AS day, 1 AS reviews_28, 0 AS reviews_91, 0 AS told_91, 0 AS sentiment_91 FROM versions WHERE first < end_28
    UNION ALL
    SELECT number, end_28, -1, 0, 0, 0 FROM versions WHERE first < end_28
    UNION ALL
    SELECT number, first, 0, 1, (sentiment IS NOT NULL)::INTEGER, coalesce(sentiment, 0) FROM versions WHERE first < end_91
    UNION ALL
    SELECT number, end_91, 0, -1, -(sentiment IS NOT NULL)::INTEGER, -coalesce(sentiment, 0) FROM versions WHERE first < end_91
)

SELECT
    number::BIGINT AS number,
    day::BIGINT AS day,
    sum(reviews_28)::INTEGER AS reviews_28,
    sum(reviews_91)::INTEGER AS reviews_91,
    sum(told_91)::INTEGER AS told_91,
    sum(sentiment_91)::INTEGER AS sentiment_91
FROM changes
WHERE day < $days
GROUP BY number, day
ORDER BY number, day
