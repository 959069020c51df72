-- Forecasts of the vintages that stand: those whose row was written, and not removed since.
-- rows: rows of forecasts or forecast_totals
SELECT forecasts.*, vintages.made_at
FROM ({rows}) AS forecasts
INNER JOIN published.vintages AS vintages
    ON
        vintages.as_of = forecasts.as_of
        AND vintages.model_version = forecasts.model_version
        AND vintages.removed_on IS NULL
