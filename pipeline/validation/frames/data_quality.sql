-- grain: validated order file
SELECT
    file_hash,
    file_name,
    source,
    sum(value) FILTER (measure = 'lines')::BIGINT AS lines,
    sum(value) FILTER (measure IN ('accepted', 'quarantined', 'exact_repeats'))::BIGINT AS accounted_for,
    sum(value) FILTER (measure = 'accepted')::BIGINT AS accepted
FROM data_quality
GROUP BY ALL
ORDER BY source, file_name
