-- Days that make their week a holiday week: public holidays, shopping festivals and the shop's own events.
-- grain: day. Parameter: countries. Reads calendar_daily and calendar_occurrences of as_of.sql.
SELECT day FROM calendar_daily WHERE is_holiday AND list_contains($countries, country)
UNION
SELECT day::DATE AS day
FROM
    calendar_occurrences,
    unnest(generate_series(starts_on::TIMESTAMP, ends_on::TIMESTAMP, INTERVAL 1 DAY)) AS days (day)
WHERE kind IN ('festival', 'own')
ORDER BY day
