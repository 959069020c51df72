-- grain: reason of the change
-- Item-days that something new is said of are summed over lake_demand_changes: the ledger since the first of these days.
SELECT
    reason,
    count(*) AS changes,
    count(*) FILTER (item_id IS NULL OR demand_day IS NULL OR units IS NULL) AS incomplete,
    count(*) FILTER (known_on < demand_day) AS known_before_it_happened,
    (
        SELECT count(*)
        FROM (
            SELECT sum(units) AS units
            FROM lake_demand_changes
            SEMI JOIN (SELECT DISTINCT item_id, location, demand_day FROM demand_changes)
            USING (item_id, location, demand_day)
            GROUP BY item_id, location, demand_day
        )
        WHERE units < 0
    ) AS item_days_below_zero
FROM demand_changes
GROUP BY reason
ORDER BY reason
