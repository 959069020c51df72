-- Lines of one delivery that break a rule and are no repeats: file, line, column and reason.
-- grain: line of the file
-- Reads the view judged (raw_order_lines of the delivery with the place of the first broken rule) and the table rules;
-- variables file_name, source.
SELECT
    getvariable('file_name') AS file_name,
    getvariable('source') AS source,
    judged.line,
    coalesce(nullif(rules.column_in_file, ''), judged.problem_column) AS problem_column,
    judged.reason,
    coalesce(
        judged.raw_text,
        CAST(
            to_json({
                'order_id': judged.order_id,
                'item_id': judged.item_id,
                'item_text': judged.item_text,
                'quantity': judged.quantity,
                'unit_price': judged.unit_price,
                'currency': judged.currency,
                'ordered_at': judged.ordered_at
            }) AS VARCHAR
        )
    ) AS raw_text
FROM judged
INNER JOIN rules ON judged.broken_rule = rules.place
WHERE NOT judged.is_repeat
ORDER BY judged.line
