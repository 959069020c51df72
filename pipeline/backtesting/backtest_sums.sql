-- Sums of weeks and of the whole stretch at all origins beside what came, as the night knows it.
-- grain: model × origin × item × location × period; a stretch of one week is that week, and stands there once
-- Variables: files (VARCHAR[]), Parquet files of pipeline/backtesting/store.py. Reads demand_daily of as_of.sql.
WITH made AS (
    SELECT DISTINCT *
    FROM read_parquet(getvariable('files'))
    WHERE first_lead < horizon_days
)

SELECT
    made.model,
    made.origin,
    made.item_id,
    made.location,
    made.origin + made.first_lead AS period_start,
    made.origin + made.horizon_days AS period_end,
    coalesce(sum(came.units), 0) AS actual,
    made.* EXCLUDE (model, origin, item_id, location, first_lead, horizon_days)
FROM made
LEFT JOIN demand_daily AS came
    ON made.item_id = came.item_id
    AND made.location = came.location
    AND came.day BETWEEN made.origin + made.first_lead AND made.origin + made.horizon_days
GROUP BY ALL
ORDER BY made.model, made.origin, made.item_id, made.location, period_start, period_end
