-- Units that came in the days after an origin, as the night knows them; days without a row had none.
-- grain: item × location × day. Parameters: origin, horizon. Reads demand_daily of as_of.sql.
SELECT item_id, location, (day - $origin)::INTEGER AS horizon_days, units
FROM demand_daily
WHERE day > $origin AND day <= $origin + $horizon::INTEGER
