-- grain: country and event
SELECT
    country,
    event,
    count(*) AS occurrences,
    count(*) FILTER (ends_on < starts_on) AS ends_before_it_starts,
    count(*) - count(DISTINCT starts_on) AS repeated
FROM calendar_occurrences
GROUP BY ALL
ORDER BY ALL
