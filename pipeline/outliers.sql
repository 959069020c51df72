-- Which sale days of a series are outliers: the one rule, for the flag that analysts see and for training.
--
-- outlier_caps('t'): t has (series, day INTEGER, units), one row per series and day with units > 0; gives each row its cap.
-- grain: series × day. A day above its cap is an outlier; pulled in, it is the cap. A cap is
--   the largest of
--   - the series' own bound: exp(median + 4 robust deviations) of its units on sale days, on the log scale. The
--     deviation is at least that of a count of this size (1/sqrt), so that an item selling ones may sell dozens;
--   - twice the second-best other day within two weeks: a season or a promotion lifts several days;
--   times how much busier than usual the whole shop was that day (one-day festivals such as Double 11).
-- Conservative on purpose: what is left is one day standing alone, most often a single bulk order. A series with fewer
-- than 8 sale days has no outliers: nothing tells yet what is usual for it.
CREATE OR REPLACE TEMP MACRO outlier_caps(sale_days) AS TABLE
WITH own AS (
    SELECT
        series,
        median(ln(units)) AS level,
        greatest(1.4826 * mad(ln(units)), exp(-median(ln(units)) / 2), 0.35) AS deviation
    FROM query_table(sale_days)
    GROUP BY series
    HAVING count(*) >= 8
),

bounded AS (
    SELECT
        series,
        day,
        units,
        level,
        exp(level + 4 * deviation) AS own_bound,
        max(units, 2) OVER (
            PARTITION BY series ORDER BY day RANGE BETWEEN 14 PRECEDING AND 14 FOLLOWING EXCLUDE CURRENT ROW
        ) AS best_nearby
    FROM query_table(sale_days)
    LEFT JOIN own USING (series)
),

-- how busy the shop was: each item by its own measure and clipped, so that one bulk order makes no busy day
shop AS (
    SELECT day, sum(coalesce(least(units / exp(level), 10), 1)) AS business FROM bounded GROUP BY day
),

busy AS (
    SELECT
        day,
        greatest(
            -- 20 items' worth on both sides: in a small shop a few items are no sign of a festival
            (business + 20) / (median(business) OVER (ORDER BY day RANGE BETWEEN 28 PRECEDING AND 28 FOLLOWING) + 20), 1
        ) AS factor
    FROM shop
)

SELECT
    series,
    day,
    CASE
        WHEN own_bound IS NULL THEN units
        ELSE floor(greatest(own_bound, 2 * coalesce(best_nearby[2], 0)) * factor)
    END::DOUBLE AS cap
FROM bounded
INNER JOIN busy USING (day);
