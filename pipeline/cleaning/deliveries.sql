-- The deliveries that cleaning reads, in the order in which new ones are cleaned, and what is known of their cleaning.
-- grain: delivery
-- Reads raw_files, cleaning_report, and validated: the deliveries of orders that validation let through.
SELECT
    files.file_hash,
    files.file_name,
    files.source,
    files.content,
    files.lines,
    files.delivered_at,
    files.first_known_on,
    reports.file_hash IS NOT NULL AS reported,
    reports.files
FROM raw_files AS files
LEFT JOIN (
    SELECT
        file_hash,
        map(
            list(measure[7:] ORDER BY measure) FILTER (starts_with(measure, 'files:')),
            list(value ORDER BY measure) FILTER (starts_with(measure, 'files:'))
        ) AS files
    FROM cleaning_report
    GROUP BY file_hash
) AS reports ON files.file_hash = reports.file_hash
WHERE files.content = 'items' OR (files.content = 'orders' AND files.file_hash IN (SELECT v.file_hash FROM validated AS v))
ORDER BY files.first_known_on NULLS FIRST, files.file_name, files.file_hash
