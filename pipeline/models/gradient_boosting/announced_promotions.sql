-- Announced promotions of windows: one row per window and kind that has any, in the order of both.
--
-- Mean over the window's days of the share of the shop that a promotion reaches. A promotion counts only when it was
-- announced by the window's night: lead is how many days before its day that was.
--
-- Tables: windows (window_id, series, night, first_day, last_day); promotions (series, day, kind, share, lead), days with
-- a promotion only.
WITH days AS (
    SELECT
        window_id,
        series,
        night,
        last_day - first_day + 1 AS length,
        unnest(range(first_day, last_day + 1)) AS day
    FROM windows
)

SELECT
    days.window_id,
    promotions.kind,
    sum(promotions.share ORDER BY days.day) / any_value(days.length) AS share
FROM days
JOIN promotions USING (series, day)
WHERE promotions.lead >= days.day - days.night
GROUP BY days.window_id, promotions.kind
ORDER BY days.window_id, promotions.kind
