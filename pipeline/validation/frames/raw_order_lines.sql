-- grain: delivered order file
SELECT
    file_hash,
    any_value(source) AS source,
    count(*) AS lines,
    -- the header is line 1; numbers without gap or repeat
    max(line) - count(*) - 1 AS numbers_out_of_step,
    count(problem) / count(*) AS unreadable_share,
    count(*) FILTER (problem IS NULL AND item_text IS NULL) / count(*) AS share_without_text,
    count(*) FILTER (version < 1 OR line_no < 0) AS impossible_versions
FROM raw_order_lines
GROUP BY file_hash
ORDER BY file_hash
