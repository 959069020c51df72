-- What became of the delivered lines, all files together.
-- grain: measure
SELECT measure, sum(value)::BIGINT AS lines, count(DISTINCT file_hash) FILTER (value > 0) AS files
FROM data_quality
GROUP BY measure
ORDER BY lines DESC, measure;
