-- Forecasts of all origins beside what came, as the night knows it.
-- grain: model × origin × item × location × target_date
-- Variables: files (VARCHAR[]), Parquet files of pipeline/backtesting/store.py. Reads demand_daily of as_of.sql.
SELECT
    made.model,
    made.origin,
    made.item_id,
    made.location,
    made.origin + made.horizon_days AS target_date,
    made.horizon_days,
    coalesce(came.units, 0) AS actual,
    made.* EXCLUDE (model, origin, item_id, location, first_lead, horizon_days)
FROM read_parquet(getvariable('files')) AS made
LEFT JOIN demand_daily AS came
    ON made.item_id = came.item_id
    AND made.location = came.location
    AND made.origin + made.horizon_days = came.day
WHERE made.first_lead = made.horizon_days
ORDER BY made.model, made.origin, made.item_id, made.location, target_date
