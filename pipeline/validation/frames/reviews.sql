-- grain: source
SELECT
    source,
    count(*) AS reviews,
    count(*) FILTER (NOT rating BETWEEN 1 AND 5) AS impossible_ratings,
    count(*) FILTER (known_on < reviewed_on) AS known_too_early
FROM reviews
GROUP BY source
ORDER BY source
