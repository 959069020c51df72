-- Views and macros of the published file, each with its comments. Columns that a view takes over from a table keep the
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
        SELECT arg_max(model_version, made_at) FROM forecasts WHERE as_of = (SELECT max(as_of) FROM forecasts)
    );
COMMENT ON VIEW forecast_latest IS
'Daily forecasts of the newest night, by the version that forecast last on it. One row per item, location and day.';

-- grain: level × id × location × period_start
CREATE VIEW forecast_totals_latest AS
SELECT *
FROM forecast_totals
WHERE
    as_of = (SELECT max(as_of) FROM forecast_totals)
    AND model_version = (
        SELECT arg_max(model_version, made_at)
        FROM forecast_totals
        WHERE as_of = (SELECT max(as_of) FROM forecast_totals)
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

-- grain: item × location × target_date × as_of × model_version, days that have come
CREATE VIEW forecast_vs_actual AS
SELECT
    forecasts.* EXCLUDE (made_at, data_snapshot),
    coalesce(demand_daily.units, 0)::DOUBLE AS actual,
    forecasts.mean - coalesce(demand_daily.units, 0) AS error
FROM forecasts
LEFT JOIN demand_daily
    ON
        demand_daily.item_id = forecasts.item_id
        AND demand_daily.location = forecasts.location
        AND demand_daily.day = forecasts.target_date
WHERE forecasts.target_date <= (SELECT max(day) FROM shop_days);
COMMENT ON VIEW forecast_vs_actual IS
'Every published forecast of a day that has come, beside what came. One row per item, location, day, night and version.';
COMMENT ON COLUMN forecast_vs_actual.actual IS 'units that came, as known on the published night';
COMMENT ON COLUMN forecast_vs_actual.error IS 'expected units less actual units';

CREATE MACRO pinball_loss(quantile, level, actual) AS
greatest(level * (actual - quantile), (level - 1) * (actual - quantile));
COMMENT ON MACRO pinball_loss IS 'Pinball (quantile) loss of a quantile at a level between 0 and 1 against what came.';

-- grain: as_of × model_version × lead
CREATE VIEW forecast_accuracy AS
SELECT
    as_of,
    model_version,
    CASE
        WHEN horizon_days <= 7 THEN '001-007'
        WHEN horizon_days <= 28 THEN '008-028'
        WHEN horizon_days <= 56 THEN '029-056'
        ELSE '057-'
    END AS lead_days,
    count(*) AS forecasts,
    sum(actual) AS actual,
    sum(abs(error)) / nullif(sum(actual), 0) AS wape,
    sum(error) / nullif(sum(actual), 0) AS bias,
    2 / 9 * sum(
        pinball_loss(q10, 0.1, actual) + pinball_loss(q20, 0.2, actual) + pinball_loss(q30, 0.3, actual)
        + pinball_loss(q40, 0.4, actual) + pinball_loss(q50, 0.5, actual) + pinball_loss(q60, 0.6, actual)
        + pinball_loss(q70, 0.7, actual) + pinball_loss(q80, 0.8, actual) + pinball_loss(q90, 0.9, actual)
    ) / nullif(sum(actual), 0) AS wql,
    avg((actual BETWEEN q05 AND q95)::INTEGER) AS coverage_90
FROM forecast_vs_actual
GROUP BY ALL;
COMMENT ON VIEW forecast_accuracy IS
'Accuracy of published nights by days ahead, of the days that have come. One row per night, version and lead.';
COMMENT ON COLUMN forecast_accuracy.lead_days IS 'days after the night, first to last';
COMMENT ON COLUMN forecast_accuracy.forecasts IS 'item-days that have come';
COMMENT ON COLUMN forecast_accuracy.actual IS 'units that came';
COMMENT ON COLUMN forecast_accuracy.wape IS 'sum of absolute errors of the mean by units that came';
COMMENT ON COLUMN forecast_accuracy.bias IS 'sum of signed errors of the mean by units that came; above 0: too much forecast';
COMMENT ON COLUMN forecast_accuracy.wql IS 'weighted quantile loss: twice the pinball loss of q10 to q90, averaged, by units';
COMMENT ON COLUMN forecast_accuracy.coverage_90 IS 'share of item-days between q05 and q95; above 0.9 where most are zero';

-- grain: as_of
CREATE VIEW forecast_stability AS
WITH nights AS (
    SELECT item_id, location, target_date, as_of, arg_max(mean, made_at) AS mean
    FROM forecasts
    GROUP BY ALL
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
WITH vintage AS (
    SELECT as_of, arg_max(model_version, made_at) AS model_version
    FROM forecasts
    WHERE as_of = (SELECT max(as_of) FROM forecasts WHERE as_of <= night::DATE)
    GROUP BY as_of
)
SELECT forecasts.* FROM forecasts INNER JOIN vintage USING (as_of, model_version);
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
