-- grain: delivered file
SELECT
    files.file_hash,
    files.file_name,
    files.source,
    files.content,
    files.lines,
    files.lines - CASE files.content WHEN 'orders' THEN coalesce(stored.lines, 0) ELSE files.lines END AS lines_lost
FROM raw_files AS files
LEFT JOIN (SELECT file_hash, count(*) AS lines FROM raw_order_lines GROUP BY file_hash) AS stored USING (file_hash)
ORDER BY files.source, files.file_name
