-- grain: model of one night's backtest
SELECT
    as_of::VARCHAR AS as_of,
    model,
    count(*) AS scores,
    count(*) FILTER (metric = 'wql' AND slice = 'all' AND (score IS NULL OR NOT isfinite(score) OR score < 0)) AS impossible_wql,
    max(score) FILTER (metric = 'wql' AND slice = 'all' AND origin = 'all') AS wql
FROM backtest_scores
WHERE getvariable('as_of') IS NULL OR as_of = getvariable('as_of')
GROUP BY ALL
ORDER BY ALL
