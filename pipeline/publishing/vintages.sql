-- Oldest night to publish: the newest always, older ones while their rows fit.
-- grain: one row; parameter: max_rows; rows is forecast_rows or total_rows
WITH nights AS (
    SELECT as_of, sum({rows}) AS rows FROM published.vintages WHERE removed_on IS NULL GROUP BY as_of
),
counted AS (
    SELECT as_of, sum(rows) OVER (ORDER BY as_of DESC) AS rows_so_far, row_number() OVER (ORDER BY as_of DESC) AS place
    FROM nights
)
SELECT min(as_of) FILTER (place = 1 OR rows_so_far <= $max_rows), count(*), count(*) FILTER (place = 1 OR rows_so_far <= $max_rows)
FROM counted;
