-- Which sale days of a series are outliers: the one rule, for the flag that analysts see and for training.
--
-- outlier_caps('t'): t has (series, day INTEGER, units), one row per series and day (since 1970-01-01) with units > 0;
-- gives each row its cap.
-- grain: series × day. A day above its cap is an outlier; pulled in, it is the cap. A cap is
--   the largest of
--   - the series' own bound: exp(median + 4 robust deviations) of its units on the sale days of the day's calendar quarter
--     and of the three quarters before it, on the log scale. The deviation is at least that of a count of this size
--     (1/sqrt), so that an item selling ones may sell dozens;
--   - twice the second-best other day within two weeks: a season or a promotion lifts several days;
--   times how much busier than usual the whole shop was that day (one-day festivals such as Double 11).
-- Conservative on purpose: what is left is one day standing alone, most often a single bulk order. A day whose four
-- quarters have fewer than 8 sale days of the series is no outlier: nothing tells yet what is usual for it.
--
-- The rule is local, so that a night need not read all history (`reads_from` and `changes_from` of pipeline/as_of.py say
-- the same to Python; tests hold them together):
-- - the cap of day d reads the quarters (the level and the deviation) of d − 28 … d + 28: the sale days from three quarters
--   before the quarter of d − 28 on, and up to the end of the quarter of d + 28;
-- - a new fact about day d moves the levels of its quarter and of the three after it, and how busy the shop was on their
--   days: no cap before 28 days before the first day of its quarter. The two weeks around d lie within.
-- All sums are of whole numbers, so that the order of rows, files and threads moves no bit.
CREATE OR REPLACE TEMP MACRO outlier_caps(sale_days) AS TABLE
WITH sold AS (
    SELECT
        series,
        day,
        units,
        ln(units) AS size,
        4 * year(DATE '1970-01-01' + day) + quarter(DATE '1970-01-01' + day) AS in_quarter
    FROM query_table(sale_days)
),

-- grain: series × quarter for which at least one quarter of it and the three before speaks
own AS (
    SELECT
        series,
        in_quarter + ahead AS in_quarter,
        median(size) AS level,
        greatest(1.4826 * mad(size), exp(-median(size) / 2), 0.35) AS deviation
    FROM sold, range(4) AS quarters (ahead)
    GROUP BY ALL
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
    FROM sold
    LEFT JOIN own USING (series, in_quarter)
),

-- how busy the shop was: each item by its own measure and clipped, so that one bulk order makes no busy day; in thousandths
shop AS (
    SELECT day, sum(coalesce(round(1000 * least(units / exp(level), 10)), 1000)::BIGINT) AS business
    FROM bounded
    GROUP BY day
),

busy AS (
    SELECT
        day,
        greatest(
            -- 20 items' worth on both sides: in a small shop a few items are no sign of a festival
            (business + 20_000)
            / (median(business) OVER (ORDER BY day RANGE BETWEEN 28 PRECEDING AND 28 FOLLOWING) + 20_000),
            1
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
