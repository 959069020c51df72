-- A file whose records all fit into its columns: nothing rejected, and the line of a record is its place after the header.
-- grain: rejected record (line)
CREATE OR REPLACE TEMP TABLE rejected AS
SELECT NULL::BIGINT AS line, NULL::VARCHAR AS problem, NULL::VARCHAR AS raw_text
WHERE false;

CREATE OR REPLACE TEMP VIEW numbered AS
SELECT seq + 1 AS line, * FROM delivered;
