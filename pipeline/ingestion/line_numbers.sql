-- The line of each readable record: its place among the readable ones, the header, and the rejects before it.
-- The rejects are looked up by blocks of 64 records: an ASOF join sorts ten million lines, and a running sum needs one thread.
-- grain: block of 64 readable records that has rejects in it
CREATE OR REPLACE TEMP TABLE reject_blocks AS
SELECT before_seq >> 6 AS block, list(before_seq ORDER BY before_seq) AS inside
FROM rejected
GROUP BY ALL;

-- grain: block of 64 readable records, up to the last reject
CREATE OR REPLACE TEMP TABLE reject_counts AS
SELECT block, coalesce(inside, []) AS inside, (sum(coalesce(len(inside), 0)) OVER (ORDER BY block) - coalesce(len(inside), 0))::BIGINT AS before
FROM (SELECT unnest(range(coalesce((SELECT max(block) + 1 FROM reject_blocks), 0))) AS block)
LEFT JOIN reject_blocks USING (block);

CREATE OR REPLACE TEMP VIEW numbered AS
SELECT
    seq + 1 + CASE
        WHEN reject_counts.block IS NULL THEN (SELECT count(*) FROM rejected)
        WHEN len(inside) = 0 THEN before
        ELSE before + len(list_filter(inside, lambda place: place <= seq))
    END AS line,
    delivered.*
FROM delivered
LEFT JOIN reject_counts ON delivered.seq >> 6 = reject_counts.block;
