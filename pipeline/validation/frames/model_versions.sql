-- grain: model version
SELECT model_version, as_of::VARCHAR AS as_of, trained_seconds, data_snapshot
FROM model_versions
WHERE getvariable('as_of') IS NULL OR as_of = getvariable('as_of')
ORDER BY model_version
