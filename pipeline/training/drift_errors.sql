-- How far stored forecasts of a few nights were off, 1 to 7 days ahead.
-- grain: one row; reads drift_forecasts (rows of `forecasts`), drift_nights (as_of, model_version), demand_daily
-- spread is how far the days of each series lay from their own mean: what makes days hard to forecast, whoever does it
WITH scored AS (
    SELECT
        forecast.item_id,
        forecast.location,
        forecast.target_date,
        coalesce(demand.units, 0)::DOUBLE AS units,
        forecast.mean,
        [forecast.q10, forecast.q20, forecast.q30, forecast.q40, forecast.q50, forecast.q60, forecast.q70, forecast.q80,
         forecast.q90] AS quantiles
    FROM drift_forecasts AS forecast
    INNER JOIN drift_nights USING (as_of, model_version)
    LEFT JOIN demand_daily AS demand
        ON
            forecast.item_id = demand.item_id
            AND forecast.location = demand.location
            AND forecast.target_date = demand.day
    WHERE forecast.horizon_days <= 7
),

lost AS (
    SELECT
        *,
        list_sum(
            list_transform(
                quantiles,
                lambda quantile, place:
                    greatest(place / 10 * (units - quantile), (place / 10 - 1) * (units - quantile))
            )
        ) * 2 / 9 AS loss,
        abs(units - avg(units) OVER (PARTITION BY item_id, location)) AS distance
    FROM scored
)

SELECT
    count(DISTINCT target_date) AS days,
    coalesce(sum(units), 0)::DOUBLE AS units,
    coalesce(sum(mean), 0)::DOUBLE AS expected,
    coalesce(sum(loss), 0)::DOUBLE AS loss,
    coalesce(sum(distance), 0)::DOUBLE AS spread
FROM lost
