-- Order lines of any number for benchmarks, as the text of CSV records; see load.py.
-- grain: one record; key: i. Order is by i, and everything is drawn by hash, so the same variables give the same bytes.
-- Variables: lines, bad_share, days, first_day, seed. Reads load_items (idx, code, title, category, price; items of them).
CREATE OR REPLACE TEMP VIEW load_records AS
WITH positions AS (
    SELECT
        range AS i,
        floor((range + 1) * getvariable('bad_share')) > floor(range * getvariable('bad_share')) AS is_bad,
        range % 1000 = 550 AS is_repeat,
        -- the record that this one says: its own, or the one before for an exact repeat
        range - (range % 1000 = 550)::BIGINT AS said
    FROM range(getvariable('lines'))
),
orders AS (
    SELECT
        *,
        said // 3 AS order_number,
        -- every 50th order of three lines is the cancellation of the one before
        (said // 3) % 50 = 49 AS cancels,
        said - CASE WHEN (said // 3) % 50 = 49 THEN 3 ELSE 0 END AS sold
    FROM positions
),
drawn AS (
    SELECT
        *,
        sold // 3 AS sold_order,
        (sold // 3 * 3) * getvariable('days')::DOUBLE / getvariable('lines') AS moment,
        (hash(sold, getvariable('seed')) >> 1)::BIGINT AS h,
        (hash(sold // 3, getvariable('seed') + 1) >> 1)::BIGINT AS order_h
    FROM orders
),
placed AS (
    SELECT
        *,
        floor(moment)::INTEGER AS day,
        28800 + floor((moment - floor(moment)) * 50400)::INTEGER + CASE WHEN cancels THEN 600 ELSE 0 END AS second,
        -- a few items sell most
        floor(getvariable('items') * pow((h & 1048575) / 1048576.0, 2.2))::INTEGER AS idx,
        CASE
            WHEN (h >> 20) % 10 < 6 THEN 1
            WHEN (h >> 20) % 10 < 9 THEN 1 + (h >> 24) % 6
            ELSE 6 + (h >> 24) % 24
        END AS units
    FROM drawn
),
fields AS (
    SELECT
        p.*,
        CASE WHEN p.is_bad THEN 'BX' || p.i WHEN p.cancels THEN 'CX' || (10000000 + p.sold_order)
            ELSE 'SO' || (10000000 + p.sold_order) END AS order_no,
        (p.said % 3 + 1)::VARCHAR AS line_no,
        t.code,
        t.title,
        t.category,
        (CASE WHEN p.cancels THEN -p.units ELSE p.units END)::VARCHAR AS qty,
        (t.price * (1 + 0.03 * (p.day // 90 % 4)))::DECIMAL(18, 2)::VARCHAR AS unit_price,
        'CNY' AS currency,
        CASE
            WHEN p.sold_order % 50 = 48 THEN 'U' || p.sold_order
            WHEN p.order_h % 10 = 0 THEN ''
            ELSE 'B' || (p.order_h >> 8) % (getvariable('lines') // 12 + 50)
        END AS buyer,
        ['SH', 'GZ', 'CD'][1 + (p.order_h >> 4) % 3] AS warehouse,
        ['app', 'web', 'mini-program'][1 + (p.order_h >> 6) % 3] AS channel,
        strftime(getvariable('first_day') + to_days(p.day) + to_seconds(p.second), '%Y-%m-%d %H:%M:%S') AS ordered_at,
        strftime(getvariable('first_day') + to_days(p.day), '%Y-%m-%d 23:30:00') AS recorded_at,
        CASE WHEN p.is_bad THEN (hash(p.i, getvariable('seed') + 2) % 8)::INTEGER ELSE 8 END AS fault
    FROM placed AS p
    JOIN load_items AS t USING (idx)
)
SELECT
    i,
    is_bad,
    is_repeat,
    cancels,
    fault,
    concat_ws(
        ',',
        CASE WHEN fault = 0 THEN '' ELSE order_no END,
        line_no,
        CASE WHEN fault = 1 THEN '' ELSE code END,
        title,
        category,
        CASE WHEN fault = 2 THEN 'three' ELSE qty END,
        CASE WHEN fault = 3 THEN 'n/a' ELSE unit_price END,
        CASE WHEN fault = 4 THEN 'XAU' ELSE currency END,
        CASE WHEN fault = 0 THEN order_no ELSE buyer END,
        CASE WHEN fault = 5 THEN 'torn,' || warehouse ELSE warehouse END,
        'CN',
        channel,
        CASE WHEN fault = 6 THEN 'yesterday' ELSE ordered_at END,
        -- a NULL leaves the field out, comma and all: too few columns
        CASE WHEN fault = 7 THEN NULL ELSE recorded_at END
    ) AS record
FROM fields
