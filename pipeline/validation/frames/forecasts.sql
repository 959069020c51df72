-- grain: night and model version
SELECT
    as_of::VARCHAR AS as_of,
    model_version,
    count(DISTINCT (item_id, location)) AS series,
    max(horizon_days) AS horizon_days,
    count(DISTINCT (item_id, location)) * max(horizon_days) - count(*) AS rows_missing_or_twice,
    count(*) FILTER (target_date <> as_of + horizon_days) AS wrong_days,
    count(*) FILTER (mean IS NULL OR q05 IS NULL OR q50 IS NULL OR q95 IS NULL) AS incomplete,
    count(*) FILTER (NOT isfinite(mean) OR NOT isfinite(q95)) AS not_finite,
    count(*) FILTER (mean < 0 OR q05 < 0) AS below_zero,
    count(*) FILTER (
        q05 > q10 OR q10 > q20 OR q20 > q30 OR q30 > q40 OR q40 > q50
        OR q50 > q60 OR q60 > q70 OR q70 > q80 OR q80 > q90 OR q90 > q95
    ) AS crossing,
    count(*) FILTER (q05 <> round(q05) OR q50 <> round(q50) OR q95 <> round(q95)) AS fractions_of_units
FROM forecasts
WHERE getvariable('as_of') IS NULL OR as_of = getvariable('as_of')
GROUP BY ALL
ORDER BY ALL
