-- The groups of lines (customer and item) in which this delivery changes what is netted, and how far back they reach.
-- Reads own_lines, state_lines, corrections, overtaken_lines; variables own_since, look_back_days. Makes the macros
-- netting_group and netting_units, the table touched, and the variable netting_since (DATE; null when nothing is touched).

-- grain: group of lines that may cancel each other. Without a customer only an order of the same item, place, price and
-- quantity can be meant.
CREATE TEMP MACRO netting_group(item_id, customer_key, location, currency, unit_price, quantity) AS
    CASE
        WHEN customer_key <> '' THEN hash(item_id, customer_key)
        ELSE hash(item_id, '', coalesce(location, ''), currency, unit_price, abs(quantity))
    END;

-- units that take part in netting: ordered (positive), cancelled (negative), or none
CREATE TEMP MACRO netting_units(kind, quantity) AS
    CASE
        WHEN kind = 'sale' AND quantity > 0 THEN quantity
        WHEN kind IN ('cancellation', 'return') AND quantity < 0 THEN quantity
        ELSE 0
    END;

-- grain: group × reason to look at it
CREATE TEMP TABLE touched AS
WITH own AS (
    SELECT * FROM own_lines ANTI JOIN overtaken_lines USING (file_hash, line)
),

-- cancellations known before this delivery that are younger than its oldest order: that order came late
waiting AS (
    SELECT netting_group(item_id, customer_key, location, currency, unit_price, quantity) AS group_key, ordered_at
    FROM state_lines
    WHERE
        known_on >= getvariable('own_since')
        AND netting_units(kind, quantity) < 0
        AND ordered_at >= (SELECT min(ordered_at) FROM own_lines)
)

SELECT netting_group(item_id, customer_key, location, currency, unit_price, quantity) AS group_key, demand_day
FROM own
WHERE netting_units(kind, quantity) < 0
UNION ALL
SELECT netting_group(item_id, customer_key, location, currency, unit_price, quantity), demand_day FROM corrections
UNION ALL
SELECT netting_group(item_id, old.customer_key, old.location, old.currency, old.unit_price, old.quantity), old.demand_day
FROM corrections
UNION ALL
SELECT waiting.group_key, own.demand_day
FROM own
INNER JOIN waiting
    ON
        netting_group(own.item_id, own.customer_key, own.location, own.currency, own.unit_price, own.quantity)
        = waiting.group_key
        AND own.ordered_at <= waiting.ordered_at
WHERE netting_units(own.kind, own.quantity) > 0;

SET VARIABLE netting_since = (SELECT min(demand_day) - getvariable('look_back_days') - 1 FROM touched);
