-- Lines whose order and item occur more than once, in this file or in an earlier one: exact repeats, further lines, and
-- corrections are told apart here. All other lines are the first and only one of their order and item.
-- Reads contested_lines (this file's) and earlier_lines (those delivered before, from files whose order times overlap);
-- `pair` is the hash of order and item, `content` that of the line.
-- grain: contested line (seq)
CREATE OR REPLACE TEMP TABLE contested AS
WITH

-- the newest version of each line delivered before
known AS (
    SELECT pair, line_no, version, content
    FROM earlier_lines
    QUALIFY row_number() OVER (PARTITION BY pair, line_no ORDER BY version DESC) = 1
),

known_contents AS (
    SELECT pair, content, min(line_no) AS known_line_no FROM known GROUP BY ALL
),

told AS (
    SELECT
        mine.*,
        row_number() OVER (PARTITION BY mine.pair, mine.content ORDER BY mine.seq) > 1 AS is_repeat_here,
        known_contents.known_line_no
    FROM contested_lines AS mine
    LEFT JOIN known_contents ON mine.pair = known_contents.pair AND mine.content = known_contents.content
),

-- lines that are not told from an earlier one take the numbers that are left, in the order of the file: a corrected line
-- takes the place of the line that is missing among the repeats
unplaced AS (
    SELECT *, row_number() OVER (PARTITION BY pair ORDER BY seq) AS place
    FROM told
    WHERE NOT is_repeat_here AND known_line_no IS NULL AND given_line_no IS NULL
),

taken AS (
    SELECT pair, list(DISTINCT known_line_no) AS numbers, count(DISTINCT known_line_no) AS many
    FROM told
    WHERE known_line_no IS NOT NULL
    GROUP BY ALL
),

free AS (
    SELECT
        unplaced.seq,
        CASE
            WHEN taken.numbers IS NULL THEN place
            ELSE
                list_filter(
                    range(1, place + many + 1), lambda number: NOT list_contains(taken.numbers, number::INTEGER)
                )[place]
        END::INTEGER AS line_no
    FROM unplaced
    LEFT JOIN taken USING (pair)
),

placed AS (
    SELECT
        told.seq,
        told.pair,
        told.is_repeat_here OR told.known_line_no IS NOT NULL AS is_repeat,
        coalesce(told.given_line_no, told.known_line_no, free.line_no, 1) AS line_no
    FROM told
    LEFT JOIN free USING (seq)
)

SELECT
    placed.seq,
    placed.line_no,
    placed.is_repeat,
    CASE
        WHEN placed.is_repeat THEN 1
        ELSE
            coalesce(known.version, 0)
            + row_number() OVER (
                PARTITION BY placed.pair, placed.line_no, placed.is_repeat ORDER BY placed.seq
            )
    END::INTEGER AS version
FROM placed
LEFT JOIN known ON placed.pair = known.pair AND placed.line_no = known.line_no;
