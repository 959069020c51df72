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
CREATE MACRO rising_items(from_day, to_day) AS TABLE
WITH horizon AS (
    SELECT min(target_date) AS starts_on, max(target_date) AS ends_on, max(as_of) AS night FROM forecast_latest
),
window_of AS (
    SELECT greatest(from_day::DATE, starts_on) AS first_day, least(to_day::DATE, ends_on) AS last_day, night FROM horizon
),
expected AS (
    SELECT item_id, item_text, category, location, sum(mean) AS units_expected, count(*) AS number_of_days
    FROM forecast_latest, window_of
    WHERE target_date BETWEEN first_day AND last_day
    GROUP BY ALL
),
-- from q10 to q90 a normal variable spans 2.5631 standard deviations
weeks AS (
    SELECT item_id, location, (q90 - q10) / 2.5631 AS spread,
        greatest(least(week_end, last_day) - greatest(week_start, first_day) + 1, 0) / (week_end - week_start + 1) AS inside
    FROM forecast_weekly, window_of
),
spreads AS (
    SELECT item_id, location, sum(spread ** 2) AS all_apart, sum(spread) ** 2 AS all_in_step,
        sum((spread * inside) ** 2) AS apart, sum(spread * inside) ** 2 AS in_step
    FROM weeks
    GROUP BY ALL
),
seasons AS (
    SELECT id AS item_id, location, ((q90 - q10) / 2.5631) ** 2 AS variance
    FROM forecast_totals_latest
    WHERE level = 'item-season'
),
-- how far the weeks of an item move together is read off its season's own quantiles
deviations AS (
    SELECT item_id, location,
        coalesce(greatest(least((variance - all_apart) / nullif(all_in_step - all_apart, 0), 1), 0), 0) AS tie,
        sqrt(tie * in_step + (1 - tie) * apart) AS deviation
    FROM spreads INNER JOIN seasons USING (item_id, location)
),
sold AS (
    SELECT item_id, location,
        sum(units) FILTER (day > night - 56) / 56 AS units_a_day,
        sum(units) FILTER (day BETWEEN first_day - 364 AND last_day - 364) AS units_last_year
    FROM demand_daily, window_of
    WHERE day <= night
    GROUP BY ALL
),
joined AS (
    SELECT item_id, item_text, category, location,
        coalesce(units_a_day, 0) * number_of_days AS units_before,
        units_expected,
        -- no forecast is surer than a Poisson count of its own mean
        greatest(coalesce(deviation, 0), sqrt(units_expected), 1e-9) AS spread,
        CASE WHEN first_day - 364 >= (SELECT min(day) FROM shop_days) THEN coalesce(units_last_year, 0) END
            AS units_last_year
    FROM expected
    CROSS JOIN window_of
    LEFT JOIN deviations USING (item_id, location)
    LEFT JOIN sold USING (item_id, location)
)
SELECT item_id, item_text, category, location, units_before, units_expected,
    greatest(units_expected - 1.2816 * spread, 0) AS units_low,
    units_expected + 1.2816 * spread AS units_high,
    units_last_year,
    units_expected - units_before AS rise,
    units_expected / nullif(units_before, 0) AS ratio,
    1 / (1 + exp(-1.702 * (units_expected - units_before) / spread)) AS probability_of_rise
FROM joined
ORDER BY rise DESC, item_id, location;
COMMENT ON MACRO TABLE rising_items IS
'Which items will rise in a season: rising_items(DATE ''2017-12-01'', DATE ''2017-12-24''), cut to the horizon. Units
expected in the window beside the pace of the 56 days up to the newest night over as many days (units_before), with
an 80 % interval (units_low to units_high) and the probability of a rise, both by a normal approximation of the joint
paths'' spread; units_last_year is the same window 364 days before, null where the shop has no orders so far back.';
