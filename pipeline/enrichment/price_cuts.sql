-- Planned prices of the asked series that reach into the asked days, as cuts of the usual price: the median paid in the 91
-- days up to the announcement, or the last one paid before them. No cut where nothing was paid yet.
-- grain: series × period × announcement, in the order of the announcements; of one day the lowest price comes last
-- Reads _asked_series (number, item_id, location); parameters kind (place of the cut), first_day (DATE), days (INTEGER).
WITH planned AS (
    SELECT asked.number, asked.item_id, asked.location, plan.starts_on, plan.ends_on, plan.unit_price, plan.known_on
    FROM planned_prices AS plan
    INNER JOIN _asked_series AS asked ON plan.item_id = asked.item_id AND plan.location IN ('', asked.location)
    WHERE plan.ends_on >= $first_day::DATE AND plan.starts_on < $first_day::DATE + $days::INTEGER
),

announcements AS (
    SELECT DISTINCT number, item_id, location, known_on
    FROM planned
),

usual AS (
    SELECT
        announcements.number,
        announcements.known_on,
        coalesce(
            median(paid.unit_price) FILTER (paid.day > announcements.known_on - 91), arg_max(paid.unit_price, paid.day)
        ) AS unit_price
    FROM announcements
    INNER JOIN prices_daily AS paid USING (item_id, location)
    WHERE paid.day <= announcements.known_on
    GROUP BY announcements.number, announcements.known_on
)

SELECT
    planned.number,
    $kind::BIGINT AS kind,
    greatest(planned.starts_on - $first_day::DATE, 0)::BIGINT AS first,
    least(planned.ends_on - $first_day::DATE, $days::BIGINT - 1)::BIGINT AS last,
    greatest(-1, 1 - planned.unit_price / usual.unit_price)::FLOAT AS value,
    ($first_day::DATE - planned.known_on)::BIGINT AS known
FROM planned
INNER JOIN usual USING (number, known_on)
ORDER BY planned.known_on, planned.number, planned.starts_on, planned.ends_on, planned.unit_price DESC
