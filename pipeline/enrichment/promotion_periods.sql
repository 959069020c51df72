-- Promotions of the asked series that reach into the asked days; columns of days count from first_day.
-- grain: series × kind × period
-- Reads _asked_series (number, item_id, location); parameters kinds (VARCHAR[]), first_day (DATE), days (INTEGER).
SELECT
    asked.number,
    list_position($kinds, promotions.kind)::BIGINT - 1 AS kind,
    greatest(promotions.starts_on - $first_day::DATE, 0)::BIGINT AS first,
    least(promotions.ends_on - $first_day::DATE, $days::BIGINT - 1)::BIGINT AS last,
    promotions.share::FLOAT AS value,
    ($first_day::DATE - promotions.known_on)::BIGINT AS known
FROM promotions
INNER JOIN _asked_series AS asked
    ON promotions.item_id = asked.item_id AND promotions.location IN ('', asked.location)
WHERE
    list_contains($kinds, promotions.kind)
    AND promotions.ends_on >= $first_day::DATE
    AND promotions.starts_on < $first_day::DATE + $days::INTEGER
