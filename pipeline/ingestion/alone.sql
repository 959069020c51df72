-- A file that shares no order and item with an earlier one: its lines are compared as they are written.
-- grain: line whose order and item (`pair`) occur more than once in the file
CREATE OR REPLACE TEMP TABLE contested_lines AS
SELECT seq, pair, given_line_no, content
FROM first_reading
WHERE pair IN (SELECT pair FROM pairs);

CREATE OR REPLACE TEMP TABLE earlier_lines AS
SELECT NULL::UBIGINT AS pair, NULL::INTEGER AS line_no, NULL::INTEGER AS version, NULL::UBIGINT AS content
WHERE false;
