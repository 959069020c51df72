-- Demand of the series of a panel.
-- grain: series (number) × day with demand; reads _panel_series (number, item_id, location); parameter: first_day
SELECT
    s.number,
    (d.day - $first_day)::BIGINT AS day,
    d.units::FLOAT AS units,
    d.units_winsorised::FLOAT AS units_winsorised
FROM demand_daily AS d
INNER JOIN _panel_series AS s USING (item_id, location)
WHERE d.units > 0 AND d.day >= $first_day
