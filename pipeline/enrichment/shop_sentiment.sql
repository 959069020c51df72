-- By how much the sum of all sentiments that the shop knows, and their number, change on a day; see review_changes.sql.
-- grain: day, from 0; reads review_scores; parameters: first_day, days
SELECT day::BIGINT AS day, sum(told)::BIGINT AS told, sum(sentiment)::BIGINT AS sentiment
FROM (
    SELECT greatest(known_on - $first_day::DATE, 0) AS day, 1 AS told, sentiment FROM review_scores
    WHERE sentiment IS NOT NULL AND known_on IS DISTINCT FROM replaced_on
    UNION ALL
    SELECT greatest(replaced_on - $first_day::DATE, 0), -1, -sentiment FROM review_scores
    WHERE sentiment IS NOT NULL AND known_on < replaced_on
)
WHERE day < $days
GROUP BY day
ORDER BY day
