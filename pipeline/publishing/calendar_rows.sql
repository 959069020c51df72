-- Days of a calendar view that are published: from the first order to the last day forecast.
-- table: calendar_daily or calendar_events; variables: as_of, horizon_days, calendar_from: days before it stand
SELECT *
FROM {table}
WHERE day BETWEEN
    greatest(getvariable('calendar_from'), (SELECT min(day) FROM published.shop_days))
    AND getvariable('as_of') + getvariable('horizon_days')
