-- Which items will rise, and how sure that is.
-- Written in the SQL of DuckDB 1.4, which must be able to open the file.

-- The share of a distribution at or below x, straight between its quantiles (q05, q10 to q90, q95) and normal beyond them.
CREATE MACRO share_at_most(x, quantiles, mean, spread) AS
CASE len(list_filter(quantiles, lambda one: one <= x))
    WHEN 0 THEN least(0.05, 1 / (1 + exp(-1.702 * (x - mean) / spread)))
    WHEN 11 THEN greatest(0.95, 1 / (1 + exp(-1.702 * (x - mean) / spread)))
    ELSE
        list_extract(
            [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95], len(list_filter(quantiles, lambda one: one <= x))
        )
        + (x - list_extract(quantiles, len(list_filter(quantiles, lambda one: one <= x))))
        * list_extract(
            [0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.05], len(list_filter(quantiles, lambda one: one <= x))
        )
        / (
            list_extract(quantiles, len(list_filter(quantiles, lambda one: one <= x)) + 1)
            - list_extract(quantiles, len(list_filter(quantiles, lambda one: one <= x)))
        )
END;
COMMENT ON MACRO share_at_most IS
'The share of a distribution at or below x, from its 11 quantiles (q05, q10 to q90, q95), its mean and its spread.';

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
    SELECT id AS item_id, location, mean AS season_mean, (q90 - q10) / 2.5631 AS season_spread,
        [q05, q10, q20, q30, q40, q50, q60, q70, q80, q90, q95] AS season_quantiles
    FROM forecast_totals_latest
    WHERE level = 'item-season'
),
-- how far the weeks of an item move together is read off its season's own quantiles
deviations AS (
    SELECT item_id, location, season_mean, season_spread, season_quantiles,
        coalesce(greatest(least((season_spread ** 2 - all_apart) / nullif(all_in_step - all_apart, 0), 1), 0), 0) AS tie,
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
    SELECT item_id, item_text, category, location, season_mean, season_spread, season_quantiles,
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
),
-- a window is spread in the shape of its item's season; one too rare to show a shape, as a normal variable
shaped AS (
    SELECT *,
        CASE
            WHEN season_spread > 0
                THEN list_transform(
                    season_quantiles, lambda q: greatest(units_expected + (q - season_mean) * spread / season_spread, 0)
                )
            ELSE list_transform(
                [-1.6449, -1.2816, -0.8416, -0.5244, -0.2533, 0, 0.2533, 0.5244, 0.8416, 1.2816, 1.6449],
                lambda z: greatest(units_expected + z * spread, 0)
            )
        END AS quantiles
    FROM joined
)
SELECT item_id, item_text, category, location, units_before, units_expected,
    quantiles[2] AS units_low,
    quantiles[10] AS units_high,
    units_last_year,
    units_expected - units_before AS rise,
    units_expected / nullif(units_before, 0) AS ratio,
    -- units are whole: more than the pace of before is at least the next whole number, and at least one
    least(
        1 - share_at_most(floor(units_before) + 0.5, quantiles, units_expected, spread), 1 - exp(-units_expected)
    ) AS probability_of_rise
FROM shaped
ORDER BY rise DESC, item_id, location;
COMMENT ON MACRO TABLE rising_items IS
'Which items will rise in a season: rising_items(DATE ''2017-12-01'', DATE ''2017-12-24''), cut to the horizon. Units
expected in the window beside the pace of the 56 days up to the newest night over as many days (units_before), with
an 80 % interval (units_low to units_high) and the probability of a rise, both from the joint paths of the item''s whole
season, scaled to the window; units_last_year is the same window 364 days before, null where the shop has no orders so
far back.';
