-- grain: validated order file
SELECT
    quality.file_hash,
    quality.file_name,
    quality.source,
    quality.quarantined,
    quality.quarantined / greatest(quality.lines, 1) AS share,
    -- a file that cleaning has taken in was let through on an earlier night, and must not stop all nights after it;
    -- one bad line in ten says nothing about a file
    CASE WHEN cleaned.file_hash IS NULL AND quality.lines >= 100 THEN share ELSE 0 END AS share_waiting,
    coalesce(stored.lines, 0) AS stored,
    coalesce(stored.without_reason, 0) AS without_reason
FROM (
    SELECT
        file_hash, file_name, source,
        coalesce(max(value) FILTER (measure = 'lines'), 0) AS lines,
        coalesce(max(value) FILTER (measure = 'quarantined'), 0) AS quarantined
    FROM data_quality
    GROUP BY ALL
) AS quality
LEFT JOIN (
    SELECT file_hash, count(*) AS lines, count(*) FILTER (coalesce(reason, '') = '') AS without_reason
    FROM quarantined_order_lines
    GROUP BY file_hash
) AS stored USING (file_hash)
LEFT JOIN (SELECT DISTINCT file_hash FROM cleaning_report) AS cleaned USING (file_hash)
ORDER BY quality.source, quality.file_name
