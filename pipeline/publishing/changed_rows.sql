-- Bring a table of the published file up to date: rows that are no longer so go, rows that are new come, and the others,
-- nearly all, are not touched: what is deleted leaves a hole in the file, and what is inserted is written.
-- table: the table; rows: its rows as they should be; open: which of its rows may differ, in terms of the table;
-- same: one row is the other; order: in which order rows are stored.
DELETE FROM published.{table}
WHERE {open} AND rowid IN (
    SELECT before.rowid
    FROM (SELECT rowid, * FROM published.{table} WHERE {open}) AS before
    ANTI JOIN ({rows}) AS after ON {same}
);

INSERT INTO published.{table} BY NAME
SELECT after.*
FROM ({rows}) AS after
ANTI JOIN (FROM published.{table} WHERE {open}) AS before ON {same}
ORDER BY {order};
