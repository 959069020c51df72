-- What cleaning did with a delivery, counted by reason.
-- grain: measure
-- Reads files_written, own_lines, overtaken_lines, stale_lines, corrections, netting_lines, matches; variables file_hash, source.
WITH netted AS (
    SELECT cancellation, sum(units)::BIGINT AS units FROM matches GROUP BY cancellation
),

cancelling AS (
    SELECT greatest(-own_lines.quantity, 0) AS units, coalesce(netted.units, 0) AS netted
    FROM own_lines
    ANTI JOIN overtaken_lines USING (file_hash, line)
    LEFT JOIN netting_lines AS lines
        ON
            own_lines.line = lines.line
            AND own_lines.file_hash = lines.file_hash
            AND lines.is_new
    LEFT JOIN netted ON lines.row_no = netted.cancellation
    WHERE own_lines.kind IN ('cancellation', 'return')
),

measures AS (
    SELECT 'lines:' || kind AS measure, count(*) AS value, sum(quantity) AS units FROM own_lines GROUP BY kind
    UNION ALL
    SELECT 'netted', count(*) FILTER (units > 0), sum(units) FROM netted
    UNION ALL
    SELECT 'unmatched_cancellations', count(*), sum(units - netted) FROM cancelling WHERE netted < units OR units = 0
    UNION ALL
    SELECT 'corrected', count(*), sum(quantity - old.quantity) FROM corrections
    UNION ALL
    SELECT 'stale', count(*), 0 FROM stale_lines
    UNION ALL
    SELECT 'items', count(DISTINCT item_id), 0 FROM raw_items WHERE file_hash = getvariable('file_hash')
    UNION ALL
    SELECT measure, value, 0 FROM files_written
)

SELECT getvariable('source') AS source, measure, value, coalesce(units, 0) AS units
FROM measures
ORDER BY measure
