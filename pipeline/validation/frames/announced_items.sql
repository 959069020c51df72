-- grain: whether the day of the launch was said
SELECT
    on_sale_from IS NOT NULL AS has_day,
    count(*) AS announcements,
    count(*) FILTER (unit_price IS NOT NULL AND NOT (isfinite(unit_price) AND unit_price > 0)) AS impossible_prices,
    count(*) FILTER (on_sale_from IS NULL AND unit_price IS NULL) AS of_nothing,
    count(*) FILTER (
        on_sale_from NOT BETWEEN known_on - INTERVAL 20 YEAR AND known_on + INTERVAL 2 YEAR
    ) AS days_far_away
FROM announced_items
GROUP BY has_day
ORDER BY has_day
