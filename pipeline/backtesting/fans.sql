-- Forecasts of the best sellers at the newest origin of a night's backtest, beside what came.
-- grain: item × location × target_date; parameters: as_of, model, count; reads lake_backtest_forecasts
WITH newest AS (
    SELECT *
    FROM lake_backtest_forecasts
    WHERE as_of = $as_of::DATE AND model = $model
    QUALIFY origin = max(origin) OVER ()
),
best AS (
    SELECT item_id, location, sum(actual) AS came
    FROM newest
    GROUP BY ALL
    ORDER BY came DESC, item_id, location
    LIMIT $count
)
SELECT newest.* EXCLUDE (as_of, model)
FROM newest
INNER JOIN best USING (item_id, location)
ORDER BY best.came DESC, item_id, location, target_date
