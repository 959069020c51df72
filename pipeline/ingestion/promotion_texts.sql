-- Promotion lines summed as text, before anything is parsed: 21 million product × store × week lines of Complete Journey
-- become 1.2 million, with the set of locations as a bit string each.
-- grain: item × period × kinds (× location where locations are kept apart)
-- Reads the view promotion_cells and the table locations; variable by_location.
SELECT
    item_id,
    CASE WHEN getvariable('by_location') THEN coalesce(cells.location, '') ELSE '' END AS at_location,
    period_start,
    period_end,
    kinds,
    planned_price,
    count(*) AS lines,
    min(line) AS first_line,
    bool_or(cells.location IS NULL) AS everywhere,
    location_set(locations.place) AS reached
FROM promotion_cells AS cells
LEFT JOIN locations ON cells.location = locations.location
GROUP BY ALL
