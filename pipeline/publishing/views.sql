-- Views and macros of what is forecast, each with its comments; `as_known.sql` and `seasons.sql` have those of what came. Columns that a view takes over from a table keep the
-- table's meaning (see comments.py); what is new in a view is explained here.
-- Written in the SQL of DuckDB 1.4, which must be able to open the file.

-- grain: item × location × target_date
CREATE VIEW forecast_latest AS
SELECT
    forecasts.item_id,
    items.item_text,
    items.category,
    forecasts.* EXCLUDE (item_id)
FROM forecasts
LEFT JOIN items ON items.item_id = forecasts.item_id
WHERE
    forecasts.as_of = (SELECT max(as_of) FROM forecasts)
    AND forecasts.model_version = (
        SELECT model_version FROM vintages WHERE is_current AND as_of = (SELECT max(as_of) FROM forecasts)
    );
COMMENT ON VIEW forecast_latest IS
'Daily forecasts of the newest night, its current vintage. One row per item, location and day.';

-- grain: level × id × location × period_start
CREATE VIEW forecast_totals_latest AS
SELECT *
FROM forecast_totals
WHERE
    as_of = (SELECT max(as_of) FROM forecast_totals)
    AND model_version = (
        SELECT model_version FROM vintages WHERE is_current AND as_of = (SELECT max(as_of) FROM forecast_totals)
    );
COMMENT ON VIEW forecast_totals_latest IS
'Forecasts of sums of the newest night: items by week, month and season ahead; categories, locations and the whole shop
by day too. Quantiles are those of the sum.';

-- grain: item × location × week
CREATE VIEW forecast_weekly AS
SELECT
    forecast_totals_latest.id AS item_id,
    items.item_text,
    items.category,
    forecast_totals_latest.location,
    forecast_totals_latest.period_start AS week_start,
    forecast_totals_latest.period_end AS week_end,
    forecast_totals_latest.* EXCLUDE (level, id, location, period_start, period_end)
FROM forecast_totals_latest
LEFT JOIN items ON items.item_id = forecast_totals_latest.id
WHERE forecast_totals_latest.level = 'item-week';
COMMENT ON VIEW forecast_weekly IS
'Weekly forecasts of the newest night, weeks from Monday and cut to the horizon. One row per item, location and week.';
COMMENT ON COLUMN forecast_weekly.week_start IS 'first day of the week within the horizon (Monday, but for the first)';
COMMENT ON COLUMN forecast_weekly.week_end IS 'last day of the week within the horizon, included';

-- grain: as_of
CREATE VIEW forecast_stability AS
WITH nights AS (
    SELECT forecasts.item_id, forecasts.location, forecasts.target_date, forecasts.as_of, forecasts.mean
    FROM forecasts
    INNER JOIN vintages USING (as_of, model_version)
    WHERE vintages.is_current
),
changes AS (
    SELECT
        as_of,
        mean,
        lag(mean) OVER (PARTITION BY item_id, location, target_date ORDER BY as_of) AS mean_before,
        lag(as_of) OVER (PARTITION BY item_id, location, target_date ORDER BY as_of) AS as_of_before
    FROM nights
)
SELECT
    as_of,
    max(as_of_before) AS as_of_before,
    count(*) AS forecasts,
    sum(abs(mean - mean_before)) / nullif(sum(mean_before), 0) AS change
FROM changes
WHERE mean_before IS NOT NULL
GROUP BY as_of;
COMMENT ON VIEW forecast_stability IS
'How much each published night changed its mind against the night published before it. One row per night.';
COMMENT ON COLUMN forecast_stability.as_of_before IS 'the night that it is compared with';
COMMENT ON COLUMN forecast_stability.forecasts IS 'item-days that both nights forecast';
COMMENT ON COLUMN forecast_stability.change IS 'sum of absolute changes of the mean by the sum of the means before';

CREATE MACRO forecast_as_of(night) AS TABLE
SELECT forecasts.*
FROM forecasts
INNER JOIN vintages USING (as_of, model_version)
WHERE vintages.is_current AND forecasts.as_of = (SELECT max(as_of) FROM forecasts WHERE as_of <= night::DATE);
COMMENT ON MACRO TABLE forecast_as_of IS
'What was forecast on a night: forecast_as_of(DATE ''2017-11-26''). Takes the newest published night up to that day.';

-- grain: item × location
CREATE VIEW new_items AS
WITH likes AS (
    SELECT
        similar_items.item_id,
        similar_items.location,
        similar_items.as_of,
        similar_items.model_version,
        any_value(similar_items.on_sale_from) AS on_sale_from,
        any_value(similar_items.days_on_sale) AS days_on_sale,
        any_value(similar_items.launch_share) AS launch_share,
        list(coalesce(nullif(items.item_text, ''), similar_items.similar_item_id) ORDER BY similar_items.rank) AS sells_like
    FROM similar_items
    LEFT JOIN items ON items.item_id = similar_items.similar_item_id
    GROUP BY ALL
)
SELECT
    likes.item_id,
    items.item_text,
    items.category,
    likes.location,
    likes.on_sale_from,
    likes.days_on_sale,
    likes.launch_share,
    likes.sells_like,
    totals.period_start,
    totals.period_end,
    totals.mean,
    totals.q10,
    totals.q50,
    totals.q90
FROM likes
INNER JOIN forecast_totals_latest AS totals
    ON
        totals.id = likes.item_id
        AND totals.location = likes.location
        AND totals.as_of = likes.as_of
        AND totals.model_version = likes.model_version
        AND totals.level = 'item-season'
LEFT JOIN items ON items.item_id = likes.item_id;
COMMENT ON VIEW new_items IS
'Items that are announced or were first sold lately: what they sell like, and what is expected of them over the whole
horizon of the newest night. One row per item and location.';
COMMENT ON COLUMN new_items.sells_like IS 'texts of the items that its own text is nearest to, the nearest first';
