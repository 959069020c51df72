-- Promotions of one delivered file. Without forecasts by location, lines of many locations become one with the share of
-- them: of all locations that the file names.
-- grain: item × location × kind × period
-- Reads the table promotions_read (promotion_texts.sql with its days parsed) and the table kinds; variables source, currency,
-- by_location, announced_days_before, locations.
SELECT
    item_id,
    at_location AS location,
    kinds.kind,
    starts_on,
    ends_on,
    -- a line that names no location reaches them all
    CASE
        WHEN getvariable('by_location') OR getvariable('locations') = 0 OR bool_or(everywhere) THEN 1.0
        ELSE bit_count(bit_or(reached)) / getvariable('locations')
    END::DOUBLE AS share,
    -- the mean of many locations
    coalesce(
        sum(planned_price * lines) FILTER (planned_price > 0 AND isfinite(planned_price))
        / sum(lines) FILTER (planned_price > 0 AND isfinite(planned_price)),
        CASE WHEN count(planned_price) > 0 THEN 'nan'::DOUBLE END
    ) AS unit_price,
    CASE WHEN count(planned_price) > 0 THEN getvariable('currency') END AS currency,
    starts_on - getvariable('announced_days_before')::INTEGER AS known_on,
    getvariable('source') AS source,
    CASE WHEN sum(lines) = 1 THEN min(first_line) ELSE 0 END AS line
FROM promotions_read
INNER JOIN kinds ON promotions_read.kinds & kinds.bit <> 0
WHERE item_id IS NOT NULL AND ends_on >= starts_on
GROUP BY item_id, at_location, kinds.kind, starts_on, ends_on
ORDER BY starts_on, item_id, at_location, kinds.kind
