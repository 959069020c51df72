-- Views and macros of the published file that set forecasts beside what came, by the truth of any night: late orders,
-- cancellations and corrected deliveries change what came from the night on which they became known, and no night before.
-- Written in the SQL of DuckDB 1.4, which must be able to open the file.

-- grain: item × location × day with demand. What cleaning nets is at most what was ordered, so that no sum is below 0 for
-- longer than a delivery; where one is, it counts as 0 here and in demand_daily.
CREATE MACRO demand_as_known(night) AS TABLE
WITH later AS (
    SELECT item_id, location, day, sum(units) AS units, sum(lines) AS lines
    FROM demand_revisions
    WHERE known_on > night::DATE AND day <= night::DATE
    GROUP BY ALL
),
known AS (
    SELECT
        item_id,
        location,
        day,
        greatest(coalesce(demand_daily.units, 0) - coalesce(later.units, 0), 0)::BIGINT AS units,
        greatest(coalesce(demand_daily.lines, 0) - coalesce(later.lines, 0), 0)::BIGINT AS lines
    FROM demand_daily
    FULL JOIN later USING (item_id, location, day)
    WHERE day <= night::DATE
)
SELECT * FROM known WHERE units > 0;
COMMENT ON MACRO TABLE demand_as_known IS
'Demand as a night knew it: demand_as_known(DATE ''2017-11-26''), the published demand less what became known later. One
row per item, location and day with demand: units and order lines. Columns of price, revenue and outliers are those of the
published night only, in demand_daily.';

-- grain: item × location × target_date × as_of × model_version, days that have come
CREATE MACRO forecast_vs_known(night) AS TABLE
SELECT
    forecasts.* EXCLUDE (made_at, data_snapshot),
    vintages.is_current,
    coalesce(known.units, 0)::DOUBLE AS actual,
    forecasts.mean - coalesce(known.units, 0) AS error
FROM forecasts
INNER JOIN vintages ON vintages.as_of = forecasts.as_of AND vintages.model_version = forecasts.model_version
LEFT JOIN demand_as_known(night) AS known
    ON
        known.item_id = forecasts.item_id
        AND known.location = forecasts.location
        AND known.day = forecasts.target_date
WHERE forecasts.target_date <= least(night::DATE, (SELECT max(day) FROM shop_days));
COMMENT ON MACRO TABLE forecast_vs_known IS
'Every published forecast of a day that had come by a night, beside what came as that night knew it: actual (units), and
error (expected units less those). One row per item, location, day, night of the forecast and version.';

CREATE VIEW forecast_vs_actual AS
SELECT * FROM forecast_vs_known((SELECT max(day) FROM shop_days));
COMMENT ON VIEW forecast_vs_actual IS
'Every published forecast of a day that has come, beside what came. One row per item, location, day, night and version.';
COMMENT ON COLUMN forecast_vs_actual.actual IS 'units that came, as known on the published night';
COMMENT ON COLUMN forecast_vs_actual.error IS 'expected units less actual units';

CREATE MACRO pinball_loss(quantile, level, actual) AS
greatest(level * (actual - quantile), (level - 1) * (actual - quantile));
COMMENT ON MACRO pinball_loss IS 'Pinball (quantile) loss of a quantile at a level between 0 and 1 against what came.';

CREATE MACRO quantile_loss(q10, q20, q30, q40, q50, q60, q70, q80, q90, actual) AS
2 / 9 * (
    pinball_loss(q10, 0.1, actual) + pinball_loss(q20, 0.2, actual) + pinball_loss(q30, 0.3, actual)
    + pinball_loss(q40, 0.4, actual) + pinball_loss(q50, 0.5, actual) + pinball_loss(q60, 0.6, actual)
    + pinball_loss(q70, 0.7, actual) + pinball_loss(q80, 0.8, actual) + pinball_loss(q90, 0.9, actual)
);
COMMENT ON MACRO quantile_loss IS
'Twice the pinball loss of q10 to q90, averaged; its sum by the units that came is the WQL.';

-- grain: as_of × model_version × lead
CREATE MACRO accuracy_as_known(night) AS TABLE
SELECT
    as_of,
    model_version,
    is_current,
    CASE
        WHEN horizon_days <= 7 THEN '001-007'
        WHEN horizon_days <= 28 THEN '008-028'
        WHEN horizon_days <= 56 THEN '029-056'
        ELSE '057-'
    END AS lead_days,
    count(*) AS forecasts,
    sum(actual) AS actual,
    sum(abs(error)) / nullif(sum(actual), 0) AS wape,
    sum(error) / nullif(sum(actual), 0) AS bias,
    sum(quantile_loss(q10, q20, q30, q40, q50, q60, q70, q80, q90, actual)) / nullif(sum(actual), 0) AS wql,
    avg((actual BETWEEN q05 AND q95)::INTEGER) AS coverage_90
FROM forecast_vs_known(night)
GROUP BY ALL;
COMMENT ON MACRO TABLE accuracy_as_known IS
'Accuracy of every vintage by days ahead, against what came as a night knew it: accuracy_as_known(DATE ''2017-11-26'').
Columns as in forecast_accuracy; what a corrected delivery changed is the difference of two nights.';

CREATE VIEW forecast_accuracy AS
SELECT * FROM accuracy_as_known((SELECT max(day) FROM shop_days));
COMMENT ON VIEW forecast_accuracy IS
'Accuracy of published nights by days ahead, of the days that have come. One row per night, version and lead.';
COMMENT ON COLUMN forecast_accuracy.lead_days IS 'days after the night, first to last';
COMMENT ON COLUMN forecast_accuracy.forecasts IS 'item-days that have come';
COMMENT ON COLUMN forecast_accuracy.actual IS 'units that came';
COMMENT ON COLUMN forecast_accuracy.wape IS 'sum of absolute errors of the mean by units that came';
COMMENT ON COLUMN forecast_accuracy.bias IS 'sum of signed errors of the mean by units that came; above 0: too much forecast';
COMMENT ON COLUMN forecast_accuracy.wql IS 'weighted quantile loss: twice the pinball loss of q10 to q90, averaged, by units';
COMMENT ON COLUMN forecast_accuracy.coverage_90 IS 'share of item-days between q05 and q95; above 0.9 where most are zero';

-- grain: lead
CREATE VIEW accuracy_by_lead AS
SELECT
    horizon_days AS lead_days,
    count(DISTINCT as_of) AS nights,
    count(*) AS forecasts,
    sum(actual) AS actual,
    sum(abs(error)) / nullif(sum(actual), 0) AS wape,
    sum(error) / nullif(sum(actual), 0) AS bias,
    sum(quantile_loss(q10, q20, q30, q40, q50, q60, q70, q80, q90, actual)) / nullif(sum(actual), 0) AS wql,
    avg((actual BETWEEN q10 AND q90)::INTEGER) AS coverage_80
FROM forecast_vs_actual
WHERE is_current
GROUP BY ALL
ORDER BY lead_days;
COMMENT ON VIEW accuracy_by_lead IS
'Accuracy by exact days ahead, over the current vintages of all published nights. One row per lead.';
COMMENT ON COLUMN accuracy_by_lead.lead_days IS 'days after the night, from 1';
COMMENT ON COLUMN accuracy_by_lead.nights IS 'nights of which the day has come';
COMMENT ON COLUMN accuracy_by_lead.forecasts IS 'item-days that have come';
COMMENT ON COLUMN accuracy_by_lead.actual IS 'units that came';
COMMENT ON COLUMN accuracy_by_lead.wape IS 'sum of absolute errors of the mean by units that came';
COMMENT ON COLUMN accuracy_by_lead.bias IS 'sum of signed errors of the mean by units that came; above 0: too much forecast';
COMMENT ON COLUMN accuracy_by_lead.wql IS 'weighted quantile loss: twice the pinball loss of q10 to q90, averaged, by units';
COMMENT ON COLUMN accuracy_by_lead.coverage_80 IS 'share of item-days between q10 and q90; above 0.8 where most are zero';

-- grain: one row
CREATE MACRO known_then(night) AS TABLE
WITH demand AS (
    SELECT max(day) AS last_order_day, count(DISTINCT day) AS order_days, sum(lines)::BIGINT AS lines, sum(units)::BIGINT AS units
    FROM demand_as_known(night)
),
deliveries AS (
    SELECT count(*) AS files FROM raw_files WHERE first_known_on <= night::DATE
),
champions AS (
    SELECT max_by(challenger, (as_of, coalesce(made_at, as_of::TIMESTAMP))) AS champion
    FROM champion_decisions WHERE promoted AND as_of <= night::DATE
),
said AS (
    SELECT model_version, data_snapshot, made_at FROM vintages WHERE is_current AND as_of = night::DATE
)
SELECT
    night::DATE AS as_of, demand.*, deliveries.files, champions.champion, said.model_version, said.data_snapshot, said.made_at
FROM demand CROSS JOIN deliveries CROSS JOIN champions LEFT JOIN said ON true;
COMMENT ON MACRO TABLE known_then IS
'What was known on a night, in one row: known_then(DATE ''2017-11-26''). Last day with orders, days, order lines and units of
demand (less what was cancelled by then), deliveries, the champion by the decisions up to then, and the night''s own vintage
with the hash of the facts behind it; null where the night was not forecast.';
