-- Tables of the published file, as known on the night. Runs on the connection of an as-of view, with the new file
-- attached as `published` and the lake's other tables as views lake_<table>.
-- Variables: as_of (DATE), forecasts_from and totals_from (DATE): oldest vintages that are published,
-- horizon_days (INTEGER). Keys, columns and meanings: pipeline/tables.

CREATE TABLE published.items AS FROM items ORDER BY item_id;

-- this table and the forecasts are large and stored in the order of their keys; a sort would spill to disk
CREATE TABLE published.demand_daily AS FROM demand_daily;

CREATE TABLE published.prices_daily AS FROM prices_daily;

CREATE TABLE published.shop_days AS FROM shop_days ORDER BY day;

CREATE TABLE published.calendar_daily AS
FROM calendar_daily
WHERE day BETWEEN (SELECT min(day) FROM shop_days) AND getvariable('as_of') + getvariable('horizon_days')
ORDER BY country, day;

CREATE TABLE published.calendar_events AS
SELECT * REPLACE (days_to::INTEGER AS days_to, days_since::INTEGER AS days_since)
FROM calendar_events
WHERE day BETWEEN (SELECT min(day) FROM shop_days) AND getvariable('as_of') + getvariable('horizon_days')
ORDER BY country, event, day;

CREATE TABLE published.forecasts AS
FROM lake_forecasts
WHERE as_of BETWEEN getvariable('forecasts_from') AND getvariable('as_of');

CREATE TABLE published.forecast_totals AS
FROM lake_forecast_totals
WHERE as_of BETWEEN getvariable('totals_from') AND getvariable('as_of');

CREATE TABLE published.backtest_scores AS
FROM lake_backtest_scores
WHERE as_of <= getvariable('as_of')
ORDER BY as_of, model, origin, slice, value_of_slice, metric;

-- the newest backtest only: its rows are many and its scores are kept above
CREATE TABLE published.backtest_forecasts AS
FROM lake_backtest_forecasts
WHERE as_of = (SELECT max(as_of) FROM lake_backtest_forecasts WHERE as_of <= getvariable('as_of'))
ORDER BY model, origin, item_id, location, target_date;

CREATE TABLE published.model_versions AS
FROM lake_model_versions
WHERE as_of <= getvariable('as_of')
ORDER BY as_of, model_version;

-- deliveries of which the night knew nothing yet stay out, also of the counts below
CREATE TABLE published.raw_files AS
FROM lake_raw_files
WHERE first_known_on IS NULL OR first_known_on <= getvariable('as_of')
ORDER BY file_hash;

CREATE TABLE published.quarantined_order_lines AS
FROM lake_quarantined_order_lines
WHERE file_hash NOT IN (SELECT file_hash FROM lake_raw_files WHERE first_known_on > getvariable('as_of'))
ORDER BY file_hash, line;

CREATE TABLE published.data_quality AS
FROM lake_data_quality
WHERE file_hash NOT IN (SELECT file_hash FROM lake_raw_files WHERE first_known_on > getvariable('as_of'))
ORDER BY file_hash, measure;

CREATE TABLE published.cleaning_report AS
FROM lake_cleaning_report
WHERE file_hash NOT IN (SELECT file_hash FROM lake_raw_files WHERE first_known_on > getvariable('as_of'))
ORDER BY file_hash, measure;
