-- Features of windows: one row per window, in the order of window_id.
--
-- A window is (series, night, first_day .. last_day): what will the series sell on those days, asked on that night. Its
-- features read demand up to the night, and of later days only what is known ahead (calendar, closed days).
--
-- Tables, all of days counted from the panel's first:
--   daily    series, day, units, log_price (NULL before the first sale); every day of history from some day on
--   shop     day, closed, weekday, calendar columns; history and days ahead
--   items    series, first_sold, category (NULL: unknown)
--   windows  window_id, series, night, first_day, last_day
-- Parameter: $year_ago, whether training could learn what the year-ago windows mean.
--
-- Units are counted in thousandths, as whole numbers: their sums are exact in any order, so any slice of the series gives
-- the same bytes.
WITH counted AS (
    SELECT
        series,
        day,
        log_price,
        CAST(round(units * 1000) AS BIGINT) AS units,
        CAST(round(units * units) AS BIGINT) AS squares,
        CAST(units > 0 AS BIGINT) AS sold,
        CAST(day >= first_sold AND NOT closed AS BIGINT) AS open
    FROM daily
    JOIN items USING (series)
    JOIN shop USING (day)
),

running AS MATERIALIZED (
    SELECT
        series,
        day,
        log_price,
        CAST(sum(units) OVER past AS BIGINT) AS units,
        CAST(sum(squares) OVER past AS DOUBLE) AS squares,
        CAST(sum(sold) OVER past AS BIGINT) AS sold,
        CAST(sum(open) OVER past AS BIGINT) AS open,
        max(day) FILTER (WHERE sold > 0) OVER past AS last_sale,
        CAST(sum(units) OVER same_weekday AS BIGINT) AS weekday_units,
        CAST(sum(sold) OVER same_weekday AS BIGINT) AS weekday_sold,
        CAST(sum(open) OVER same_weekday AS BIGINT) AS weekday_open
    FROM counted
    WINDOW
        past AS (PARTITION BY series ORDER BY day),
        same_weekday AS (PARTITION BY series, day % 7 ORDER BY day)
),

-- the days that a window asks about: its night, and the last same weekday up to the night; of windows of one day only
asked AS (
    SELECT series, night AS day FROM windows
    UNION
    SELECT series, first_day - 7 * ((first_day - night + 6) // 7) FROM windows WHERE first_day = last_day
),

-- what was summed up to those days and up to some days before them: one join, where windows over all days took half the time
before AS (
    SELECT asked.series, asked.day, ago, running.* EXCLUDE (series, day)
    FROM asked
    CROSS JOIN (SELECT unnest([0, 7, 14, 28, 56, 91, 182, 308, 364, 400, 420]) AS ago)
    JOIN running ON asked.series = running.series AND asked.day - ago = running.day
),

-- sums over the days up to each day; nothing was sold before the first sale, and no day before it counts as open
sums AS (
    SELECT
        series,
        day,
        max(log_price) FILTER (WHERE ago = 0) AS log_price,
        day - max(last_sale) FILTER (WHERE ago = 0) AS since_sale,
        max(units) FILTER (WHERE ago = 0) - coalesce(max(units) FILTER (WHERE ago = 7), 0) AS units_7,
        max(units) FILTER (WHERE ago = 0) - coalesce(max(units) FILTER (WHERE ago = 14), 0) AS units_14,
        max(units) FILTER (WHERE ago = 0) - coalesce(max(units) FILTER (WHERE ago = 28), 0) AS units_28,
        max(units) FILTER (WHERE ago = 0) - coalesce(max(units) FILTER (WHERE ago = 56), 0) AS units_56,
        max(units) FILTER (WHERE ago = 0) - coalesce(max(units) FILTER (WHERE ago = 91), 0) AS units_91,
        max(units) FILTER (WHERE ago = 0) - coalesce(max(units) FILTER (WHERE ago = 182), 0) AS units_182,
        max(units) FILTER (WHERE ago = 0) - coalesce(max(units) FILTER (WHERE ago = 400), 0) AS units_400,
        max(open) FILTER (WHERE ago = 0) - coalesce(max(open) FILTER (WHERE ago = 7), 0) AS open_7,
        max(open) FILTER (WHERE ago = 0) - coalesce(max(open) FILTER (WHERE ago = 14), 0) AS open_14,
        max(open) FILTER (WHERE ago = 0) - coalesce(max(open) FILTER (WHERE ago = 28), 0) AS open_28,
        max(open) FILTER (WHERE ago = 0) - coalesce(max(open) FILTER (WHERE ago = 56), 0) AS open_56,
        max(open) FILTER (WHERE ago = 0) - coalesce(max(open) FILTER (WHERE ago = 91), 0) AS open_91,
        max(open) FILTER (WHERE ago = 0) - coalesce(max(open) FILTER (WHERE ago = 182), 0) AS open_182,
        max(open) FILTER (WHERE ago = 0) - coalesce(max(open) FILTER (WHERE ago = 400), 0) AS open_400,
        max(sold) FILTER (WHERE ago = 0) - coalesce(max(sold) FILTER (WHERE ago = 7), 0) AS sold_7,
        max(sold) FILTER (WHERE ago = 0) - coalesce(max(sold) FILTER (WHERE ago = 28), 0) AS sold_28,
        max(sold) FILTER (WHERE ago = 0) - coalesce(max(sold) FILTER (WHERE ago = 56), 0) AS sold_56,
        max(sold) FILTER (WHERE ago = 0) - coalesce(max(sold) FILTER (WHERE ago = 182), 0) AS sold_182,
        max(squares) FILTER (WHERE ago = 0) - coalesce(max(squares) FILTER (WHERE ago = 182), 0) AS squares_182,
        max(log_price) FILTER (WHERE ago = 0) - max(log_price) FILTER (WHERE ago = 28) AS price_change_28,
        max(log_price) FILTER (WHERE ago = 0) - max(log_price) FILTER (WHERE ago = 91) AS price_change_91,
        coalesce(max(units) FILTER (WHERE ago = 364), 0) - coalesce(max(units) FILTER (WHERE ago = 420), 0) AS units_before,
        coalesce(max(units) FILTER (WHERE ago = 308), 0) - coalesce(max(units) FILTER (WHERE ago = 364), 0) AS units_coming,
        coalesce(max(open) FILTER (WHERE ago = 364), 0) - coalesce(max(open) FILTER (WHERE ago = 420), 0) AS open_before,
        coalesce(max(open) FILTER (WHERE ago = 308), 0) - coalesce(max(open) FILTER (WHERE ago = 364), 0) AS open_coming,
        max(weekday_units) FILTER (WHERE ago = 0) - coalesce(max(weekday_units) FILTER (WHERE ago = 56), 0) AS weekday_units_8,
        max(weekday_units) FILTER (WHERE ago = 0) - coalesce(max(weekday_units) FILTER (WHERE ago = 182), 0) AS weekday_units_26,
        max(weekday_sold) FILTER (WHERE ago = 0) - coalesce(max(weekday_sold) FILTER (WHERE ago = 56), 0) AS weekday_sold_8,
        max(weekday_sold) FILTER (WHERE ago = 0) - coalesce(max(weekday_sold) FILTER (WHERE ago = 182), 0) AS weekday_sold_26,
        max(weekday_open) FILTER (WHERE ago = 0) - coalesce(max(weekday_open) FILTER (WHERE ago = 56), 0) AS weekday_open_8,
        max(weekday_open) FILTER (WHERE ago = 0) - coalesce(max(weekday_open) FILTER (WHERE ago = 182), 0) AS weekday_open_26
    FROM before
    GROUP BY series, day
),

-- a young item's few days are spread over a week at least; a week has five days where the shop rests
nights AS (
    SELECT
        series,
        day AS night,
        units_56 / 1000 / greatest(open_56, 7) + 0.1 AS level,
        units_7 / 1000 / greatest(open_7, 5) AS mean_7,
        units_14 / 1000 / greatest(open_14, 7) AS mean_14,
        units_28 / 1000 / greatest(open_28, 7) AS mean_28,
        units_56 / 1000 / greatest(open_56, 7) AS mean_56,
        units_91 / 1000 / greatest(open_91, 7) AS mean_91,
        units_182 / 1000 / greatest(open_182, 7) AS mean_182,
        units_400 / 1000 / greatest(open_400, 7) AS mean_400,
        sold_7 / greatest(open_7, 5) AS rate_7,
        sold_28 / greatest(open_28, 7) AS rate_28,
        sold_56 / greatest(open_56, 7) AS rate_56,
        sold_182 / greatest(open_182, 7) AS rate_182,
        (units_182 / 1000 + 1) / (sold_182 + 1) AS order_size,
        sqrt((squares_182 + 1) / (sold_182 + 1)) / ((units_182 / 1000 + 1) / (sold_182 + 1)) AS order_variation,
        -- a sale longer ago than the table reaches is as old as it could be
        least(coalesce(since_sale, 400), 400) AS since_sale,
        log_price,
        least(greatest(coalesce(price_change_28, 0), -1.5), 1.5) AS price_change_28,
        least(greatest(coalesce(price_change_91, 0), -1.5), 1.5) AS price_change_91,
        CASE WHEN open_before >= 14 AND $year_ago THEN units_before / 1000 / open_before END AS year_before,
        CASE WHEN open_coming >= 14 AND $year_ago THEN units_coming / 1000 / open_coming END AS year_coming
    FROM sums
    WHERE (series, day) IN (SELECT (series, night) FROM windows)
),

-- the days of a window, as the shop's calendar knows them
days AS (
    SELECT
        asked.first_day,
        asked.last_day,
        count(*) FILTER (WHERE NOT shop.closed) AS open_days,
        avg(COLUMNS(shop.* EXCLUDE (day, closed)) ORDER BY shop.day)
    FROM (SELECT DISTINCT first_day, last_day FROM windows) AS asked
    JOIN shop ON shop.day BETWEEN asked.first_day AND asked.last_day
    GROUP BY asked.first_day, asked.last_day
),

-- the same days 52 weeks before, with 3 and with 14 days on either side: known when the item was on sale for half of them
year_ago AS (
    SELECT
        windows.window_id,
        CASE
            WHEN near_to.day - greatest(windows.first_day - 368, items.first_sold - 1)
            >= (windows.last_day - windows.first_day + 7) // 2
                THEN (near_to.units - coalesce(near_from.units, 0)) / 1000
                / greatest(near_to.open - coalesce(near_from.open, 0), 1)
        END AS near,
        CASE
            WHEN wide_to.day - greatest(windows.first_day - 379, items.first_sold - 1)
            >= (windows.last_day - windows.first_day + 29) // 2
                THEN (wide_to.units - coalesce(wide_from.units, 0)) / 1000
                / greatest(wide_to.open - coalesce(wide_from.open, 0), 1)
        END AS wide
    FROM windows
    JOIN items USING (series)
    LEFT JOIN running AS near_to
        ON windows.series = near_to.series AND windows.last_day - 361 = near_to.day AND near_to.day <= windows.night
    LEFT JOIN running AS near_from
        ON windows.series = near_from.series AND windows.first_day - 368 = near_from.day
    LEFT JOIN running AS wide_to
        ON windows.series = wide_to.series AND windows.last_day - 350 = wide_to.day AND wide_to.day <= windows.night
    LEFT JOIN running AS wide_from
        ON windows.series = wide_from.series AND windows.first_day - 379 = wide_from.day
    WHERE $year_ago
)

SELECT
    nights.level,
    days.open_days,
    windows.first_day - windows.night AS first_lead,
    windows.last_day - windows.first_day + 1 AS length,
    items.category,
    nights.mean_7 / nights.level AS mean_7,
    nights.mean_14 / nights.level AS mean_14,
    nights.mean_28 / nights.level AS mean_28,
    nights.mean_91 / nights.level AS mean_91,
    nights.mean_182 / nights.level AS mean_182,
    nights.mean_400 / nights.level AS mean_400,
    nights.rate_7,
    nights.rate_28,
    nights.rate_56,
    nights.rate_182,
    nights.order_size,
    nights.order_size / nights.level AS order_size_of_level,
    nights.order_variation,
    nights.since_sale,
    -- beyond half a year the age of most items is the date itself, which would be learned by heart
    least(windows.night - items.first_sold, 182) AS age,
    nights.log_price,
    nights.price_change_28,
    nights.price_change_91,
    weekday.weekday_units_8 / 1000 / greatest(weekday.weekday_open_8, 1) / nights.level AS weekday_mean_8,
    weekday.weekday_units_26 / 1000 / greatest(weekday.weekday_open_26, 1) / nights.level AS weekday_mean_26,
    weekday.weekday_sold_8 / greatest(weekday.weekday_open_8, 1) AS weekday_rate_8,
    weekday.weekday_sold_26 / greatest(weekday.weekday_open_26, 1) AS weekday_rate_26,
    year_ago.near / nights.level AS year_ago_near,
    year_ago.wide / nights.level AS year_ago_wide,
    CAST(year_ago.near IS NOT NULL AS INTEGER) AS year_ago_near_known,
    CAST(year_ago.wide IS NOT NULL AS INTEGER) AS year_ago_wide_known,
    ln((year_ago.wide + 0.1) / (nights.year_before + 0.1)) AS year_ago_lift,
    nights.year_before / nights.level AS year_before,
    ln((nights.year_coming + 0.1) / (nights.year_before + 0.1)) AS year_coming_lift,
    days.* EXCLUDE (first_day, last_day, open_days)
FROM windows
JOIN items USING (series)
JOIN nights USING (series, night)
JOIN days USING (first_day, last_day)
LEFT JOIN year_ago USING (window_id)
LEFT JOIN sums AS weekday
    ON
        windows.first_day = windows.last_day
        AND windows.series = weekday.series
        AND windows.first_day - 7 * ((windows.first_day - windows.night + 6) // 7) = weekday.day
ORDER BY windows.window_id
