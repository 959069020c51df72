-- grain: night, model version and level
SELECT
    as_of::VARCHAR AS as_of,
    model_version,
    level,
    count(*) AS totals,
    count(*) - count(DISTINCT (id, location, period_start)) AS repeated_keys,
    count(*) FILTER (mean IS NULL OR NOT isfinite(mean) OR mean < 0 OR q05 < 0) AS impossible,
    count(*) FILTER (
        q05 > q10 OR q10 > q20 OR q20 > q30 OR q30 > q40 OR q40 > q50
        OR q50 > q60 OR q60 > q70 OR q70 > q80 OR q80 > q90 OR q90 > q95
    ) AS crossing
FROM forecast_totals
WHERE getvariable('as_of') IS NULL OR as_of = getvariable('as_of')
GROUP BY ALL
ORDER BY ALL
