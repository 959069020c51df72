-- Oldest vintage to publish: the newest night always, older ones while their rows fit.
-- grain: one row; parameters: as_of, max_rows; {table} is lake_forecasts or lake_forecast_totals
WITH nights AS (
    SELECT as_of, count(*) AS rows FROM {table} WHERE as_of <= $as_of::DATE GROUP BY as_of
),
counted AS (
    SELECT as_of, sum(rows) OVER (ORDER BY as_of DESC) AS rows_so_far, row_number() OVER (ORDER BY as_of DESC) AS place
    FROM nights
)
SELECT min(as_of) FILTER (place = 1 OR rows_so_far <= $max_rows), count(*), count(*) FILTER (place = 1 OR rows_so_far <= $max_rows)
FROM counted;
