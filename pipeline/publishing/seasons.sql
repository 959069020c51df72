-- What each night said about a season, against what came.
-- Written in the SQL of DuckDB 1.4, which must be able to open the file.

-- grain: as_of. Days that a night forecast inside the window are covered; a night late in the year covers all of December,
-- one in December only the rest of it.
CREATE MACRO season_vintages(from_day, to_day) AS TABLE
WITH totals AS (
    SELECT forecast_totals.*
    FROM forecast_totals
    INNER JOIN vintages USING (as_of, model_version)
    WHERE vintages.is_current AND forecast_totals.level LIKE 'total-%'
),
-- from q10 to q90 a normal variable spans 2.5631 standard deviations
days AS (
    SELECT
        as_of, model_version, period_start AS day, mean, (q90 - q10) / 2.5631 AS spread,
        period_start BETWEEN from_day::DATE AND to_day::DATE AS is_inside
    FROM totals
    WHERE level = 'total-day'
),
nights AS (
    SELECT
        as_of, model_version,
        min(day) FILTER (is_inside) AS first_covered,
        max(day) FILTER (is_inside) AS last_covered,
        count(*) FILTER (is_inside) AS days_covered,
        sum(mean) FILTER (is_inside) AS expected,
        sum(spread ** 2) AS all_apart,
        sum(spread) ** 2 AS all_in_step,
        sum(spread ** 2) FILTER (is_inside) AS apart,
        sum(spread) FILTER (is_inside) ** 2 AS in_step
    FROM days
    GROUP BY ALL
),
-- how far the days of the shop move together is read off the whole horizon's own quantiles
horizons AS (
    SELECT as_of, model_version, ((q90 - q10) / 2.5631) ** 2 AS variance FROM totals WHERE level = 'total-season'
),
-- where a week, a month or the whole horizon is just what is covered, its quantiles are those of the sum itself
periods AS (
    SELECT
        totals.as_of, totals.model_version,
        any_value(totals.q10) AS q10, any_value(totals.q50) AS q50, any_value(totals.q90) AS q90
    FROM totals
    INNER JOIN nights
        ON
            nights.as_of = totals.as_of
            AND nights.model_version = totals.model_version
            AND nights.first_covered = totals.period_start
            AND nights.last_covered = totals.period_end
    GROUP BY ALL
),
spreads AS (
    SELECT
        *,
        coalesce(greatest(least((variance - all_apart) / nullif(all_in_step - all_apart, 0), 1), 0), 0) AS tie,
        sqrt(tie * in_step + (1 - tie) * apart) AS deviation
    FROM nights
    LEFT JOIN horizons USING (as_of, model_version)
    WHERE days_covered > 0
),
covered AS (
    SELECT
        as_of, model_version, first_covered, last_covered, days_covered, expected,
        coalesce(periods.q10, greatest(expected - 1.2816 * deviation, 0)) AS q10,
        coalesce(periods.q50, expected) AS q50,
        coalesce(periods.q90, expected + 1.2816 * deviation) AS q90,
        periods.q10 IS NOT NULL AS is_exact
    FROM spreads
    LEFT JOIN periods USING (as_of, model_version)
),
came AS (
    SELECT
        covered.as_of,
        sum(shop_days.units) AS units,
        sum(shop_days.units) FILTER (shop_days.day BETWEEN covered.first_covered AND covered.last_covered) AS units_covered,
        sum(shop_days.units) FILTER (shop_days.day <= covered.as_of) AS units_before
    FROM covered
    INNER JOIN shop_days ON shop_days.day BETWEEN from_day::DATE AND to_day::DATE
    GROUP BY ALL
),
joined AS (
    SELECT
        covered.*,
        to_day::DATE - from_day::DATE + 1 AS days_wanted,
        days_covered = days_wanted AS is_whole,
        came.units,
        came.units_covered,
        coalesce(came.units_before, 0)::DOUBLE AS sold_before,
        (SELECT max(day) FROM shop_days) AS last_day
    FROM covered
    LEFT JOIN came USING (as_of)
)
SELECT
    as_of, model_version, days_wanted AS days, days_covered,
    CASE WHEN is_whole THEN expected END AS expected,
    CASE WHEN is_whole THEN q10 END AS q10,
    CASE WHEN is_whole THEN q50 END AS q50,
    CASE WHEN is_whole THEN q90 END AS q90,
    CASE WHEN last_day >= to_day::DATE THEN coalesce(units, 0)::DOUBLE END AS actual,
    expected AS expected_covered,
    q10 AS q10_covered,
    q50 AS q50_covered,
    q90 AS q90_covered,
    CASE WHEN last_day >= last_covered THEN coalesce(units_covered, 0)::DOUBLE END AS actual_covered,
    sold_before,
    is_exact
FROM joined
ORDER BY as_of;
COMMENT ON MACRO TABLE season_vintages IS
'What each night said about a window of days, against what came: season_vintages(DATE ''2010-12-01'', DATE ''2010-12-24'').
One row per night that forecast any of its days, current vintages only. expected, q10, q50 and q90 (units of the whole shop)
are null unless the night''s horizon covers all days; …_covered are those of the days_covered, beside actual_covered.
actual is null until the last day has come; sold_before are the units of the window''s days up to the night. Means add up
exactly. Quantiles are those of the joint paths where the covered days are a week, a month or the horizon of its own
(is_exact), else a normal approximation: the spread of the days, moving together as those of the whole horizon do.';
