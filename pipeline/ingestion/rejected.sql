-- The records that the CSV reader could not cut into columns, from its table of rejects.
-- grain: rejected record (line); before_seq is the first readable record after it
-- Parameters: mark, hide, reason_<letter> (see mending.py)
CREATE OR REPLACE TEMP TABLE rejected AS
WITH one_per_record AS (
    SELECT
        line::BIGINT AS line,
        arg_min(error_type::VARCHAR, byte_position) AS error_type,
        arg_min(error_message, byte_position) AS error_message,
        any_value(rtrim(csv_line, E'\r\n')) AS csv_line
    FROM rejects_first
    GROUP BY line_byte_position, line
),

-- readable records before it: its own number less the header, itself and the rejects before it. Cumulated, so that
-- numbers stay unique whatever the reader counted.
placed AS (
    SELECT
        *,
        greatest(0, max(line - 1 - place) OVER (ORDER BY place)) AS readable_before
    FROM (SELECT *, row_number() OVER (ORDER BY line) AS place FROM one_per_record)
),

told AS (
    SELECT
        *,
        starts_with(csv_line, $mark) AS is_marked,
        CASE WHEN starts_with(csv_line, $mark) THEN csv_line[2] END AS reason
    FROM placed
)

SELECT
    place + readable_before + 1 AS line,
    readable_before + 1 AS before_seq,
    CASE
        WHEN reason = 'q' THEN $reason_q
        WHEN reason = 'u' THEN $reason_u
        WHEN error_type = 'UNQUOTED VALUE' THEN $reason_q
        WHEN error_type IN ('MISSING COLUMNS', 'TOO MANY COLUMNS')
            THEN
                regexp_extract(error_message, 'Found: ([0-9]+)', 1) || ' columns instead of '
                || regexp_extract(error_message, 'Columns: ([0-9]+)', 1)
        ELSE lower(error_type)
    END AS problem,
    CASE
        WHEN $hide
            THEN regexp_replace(regexp_replace(text, '[0-9]', '9', 'g'), '[\pL]', 'x', 'g')
        ELSE text
    END AS raw_text
FROM (SELECT *, CASE WHEN is_marked THEN split_part(substr(csv_line, 3), $mark, 1) ELSE csv_line END AS text FROM told);
