-- What drift of data is told by: counts per bin and week, each week by its own days only, so that any weeks may be added up
-- and set against any others. Week 0 ends with the night.
-- grain: measure × week × bin; reads demand_daily, prices_daily, shop_days, items
-- parameters: as_of, trained (night of the training), weeks (how many)
WITH days AS (
    SELECT day, ($as_of::DATE - day) // 7 AS week, NOT is_closed AS is_open
    FROM shop_days
    WHERE day > $as_of::DATE - 7 * $weeks::INTEGER
),

sales AS (
    SELECT
        item_id || chr(31) || location AS series,
        item_id,
        location,
        days.week,
        demand.day,
        demand.units,
        demand.units_winsorised
    FROM demand_daily AS demand
    INNER JOIN days USING (day)
    WHERE demand.units > 0
),

-- what each series sold and cost in the last year that the training saw
trained AS (
    SELECT item_id, location, sum(units_winsorised) AS units
    FROM demand_daily
    WHERE units > 0 AND day <= $trained::DATE AND day > $trained::DATE - 364
    GROUP BY ALL
),

usual_price AS (
    SELECT item_id, location, median(unit_price) AS price
    FROM prices_daily
    WHERE day <= $trained::DATE AND day > $trained::DATE - 364
    GROUP BY ALL
),

-- the biggest categories; a shop without any is told apart by how much of the year's units its items made
categories AS (
    SELECT items.category, row_number() OVER (ORDER BY sum(trained.units) DESC, items.category) AS place
    FROM trained
    INNER JOIN items USING (item_id)
    GROUP BY items.category
),

ranked AS (
    SELECT
        item_id,
        location,
        sum(units) OVER (ORDER BY units DESC, item_id, location) / sum(units) OVER () AS share
    FROM trained
),

classes AS (
    SELECT
        ranked.item_id,
        ranked.location,
        CASE
            WHEN (SELECT count(*) FROM categories) > 1 THEN least(categories.place, 20)
            ELSE least(floor(5 * ranked.share), 4)
        END::INTEGER AS class
    FROM ranked
    LEFT JOIN items USING (item_id)
    LEFT JOIN categories USING (category)
)

-- units of an item-day, by powers of two
SELECT 'units' AS measure, week, (1 + floor(log2(units)))::INTEGER AS bin, count(*)::DOUBLE AS amount
FROM sales
GROUP BY ALL

UNION ALL
-- open days of the items that sold that week, on which they did not
SELECT 'units', week, 0, greatest(series * open_days - rows, 0)::DOUBLE
FROM (SELECT week, count(DISTINCT series) AS series, count(*) AS rows FROM sales GROUP BY week)
INNER JOIN (SELECT week, count(*) FILTER (is_open) AS open_days FROM days GROUP BY week) USING (week)

UNION ALL
-- price paid by what the item usually cost
SELECT
    'price',
    week,
    (
        sign(ln(unit_price / price))
        * len(list_filter([0.02, 0.05, 0.1, 0.2, 0.4], lambda edge: abs(ln(unit_price / price)) > edge))
    )::INTEGER AS bin,
    count(*)::DOUBLE
FROM sales
INNER JOIN prices_daily USING (item_id, location, day)
INNER JOIN usual_price USING (item_id, location)
WHERE price > 0
GROUP BY ALL

UNION ALL
-- units by class of item
SELECT 'assortment', week, class, sum(sales.units_winsorised)::DOUBLE
FROM sales
INNER JOIN classes USING (item_id, location)
GROUP BY ALL

UNION ALL
-- units of items that the training's last year has not seen (1), and of the others (0)
SELECT 'unseen', week, unnest([0, 1]) AS bin, unnest([total - unseen, unseen])::DOUBLE
FROM (
    SELECT
        week,
        sum(sales.units_winsorised) AS total,
        coalesce(sum(sales.units_winsorised) FILTER (trained.item_id IS NULL), 0) AS unseen
    FROM sales
    LEFT JOIN trained USING (item_id, location)
    GROUP BY week
)
ORDER BY ALL
