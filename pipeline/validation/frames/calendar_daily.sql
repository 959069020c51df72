-- grain: country
SELECT
    country,
    count(*) AS days,
    (max(day) - min(day) + 1) - count(*) AS days_missing_or_twice,
    count(*) FILTER (weekday <> isodow(day)) AS wrong_weekdays,
    count(*) FILTER (is_holiday) * 365.25 / count(*) AS holidays_a_year
FROM calendar_daily
GROUP BY country
ORDER BY country
