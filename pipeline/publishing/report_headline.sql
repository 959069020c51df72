-- Headline numbers of the season ahead.
-- grain: one row
WITH season AS (
    SELECT period_start, period_end, mean, q10, q90, as_of, model_version
    FROM forecast_totals_latest
    WHERE level = 'total-season'
),
sold AS (
    SELECT sum(units) / 56 AS units_a_day
    FROM shop_days
    WHERE day > (SELECT max(day) FROM shop_days) - 56
)
SELECT
    season.*,
    (SELECT count(DISTINCT (item_id, location)) FROM forecast_latest) AS series,
    season.mean / nullif(units_a_day * (period_end - period_start + 1), 0) - 1 AS change
FROM season CROSS JOIN sold;
