-- Variable first_day (DATE): first day that the demand ledger speaks of, known by the night; null without one. From the newest
-- summary that the night may know (pipeline/cleaning/checkpoints.py), and the ledger since.
-- Variable as_of (DATE). Reads lake_demand_changes and lake_demand_changes_until.
SET VARIABLE demand_until = (
    SELECT max(known_until) FROM lake_demand_changes_until WHERE known_until <= getvariable('as_of')
);
SET VARIABLE first_day = (
    SELECT min(first_day)
    FROM (
        SELECT first_day FROM lake_demand_changes_until WHERE known_until = getvariable('demand_until')
        UNION ALL
        SELECT min(demand_day)
        FROM lake_demand_changes
        WHERE
            known_on > coalesce(getvariable('demand_until'), DATE '0001-01-01')
            AND known_on <= getvariable('as_of')
    )
);
