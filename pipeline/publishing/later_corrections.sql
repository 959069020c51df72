-- Deliveries whose corrected lines a night does not know: a correction is known from its delivery on.
-- grain: delivery; parameters: as_of, time_zone; reads raw_files, data_quality
SELECT
    quality.value AS lines,
    files.file_name,
    (files.delivered_at AT TIME ZONE 'UTC' AT TIME ZONE $time_zone)::DATE AS known_on
FROM data_quality AS quality
INNER JOIN raw_files AS files ON files.file_hash = quality.file_hash
WHERE quality.measure = 'corrected' AND quality.value > 0 AND known_on > $as_of::DATE
ORDER BY known_on, files.file_name;
