-- Pooled scores of the backtest of a night, the best first.
-- grain: model; parameters: as_of; reads backtest_scores
SELECT
    -- an ensemble that lacked members at some origin is not the one that forecasts
    CASE WHEN max(score) FILTER (metric = 'degraded_origins') > 0 THEN model || ' (degraded)' ELSE model END AS model,
    max(score) FILTER (metric = 'wql') AS wql,
    max(score) FILTER (metric = 'wql_low') AS wql_low,
    max(score) FILTER (metric = 'wql_high') AS wql_high,
    max(score) FILTER (metric = 'wape') AS wape,
    max(score) FILTER (metric = 'bias') AS bias,
    max(score) FILTER (metric = 'rmsse') AS rmsse,
    max(score) FILTER (metric = 'mase') AS mase,
    max(score) FILTER (metric = 'coverage_50') AS coverage_50,
    max(score) FILTER (metric = 'coverage_90') AS coverage_90,
    max(forecasts) AS forecasts
FROM backtest_scores
WHERE
    origin = 'all'
    AND slice = 'all'
    AND as_of = $as_of::DATE
GROUP BY backtest_scores.model
ORDER BY wql NULLS LAST, model;
