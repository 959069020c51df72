-- Whole weeks of a season as its nights expected them, and as they came. "Whole": seven days of the horizon.
-- grain: night (null: what came) × week; parameters: first, last (nights of the season)
SELECT totals.as_of, totals.period_start AS week_start, totals.mean, totals.q10, totals.q90
FROM forecast_totals AS totals
INNER JOIN vintages USING (as_of, model_version)
WHERE
    vintages.is_current
    AND totals.level = 'total-week'
    AND totals.period_end - totals.period_start = 6
    AND totals.as_of BETWEEN $first::DATE AND $last::DATE
    AND totals.period_end <= $last::DATE + 14
UNION ALL
SELECT NULL, date_trunc('week', day)::DATE, sum(units)::DOUBLE, NULL, NULL
FROM shop_days
WHERE day BETWEEN $first::DATE - 56 AND $last::DATE + 14
GROUP BY ALL
HAVING count(*) = 7
ORDER BY ALL
