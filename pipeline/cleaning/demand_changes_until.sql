-- First day of the demand ledger up to the end of a quarter.
-- grain: one row; variables: known_until, summed_until (DATE; null without a summary before)
WITH known AS (
    SELECT first_day
    FROM demand_changes_until
    WHERE known_until = getvariable('summed_until')
    UNION ALL
    SELECT demand_day
    FROM demand_changes
    WHERE
        known_on > coalesce(getvariable('summed_until'), DATE '0001-01-01')
        AND known_on <= getvariable('known_until')
)

SELECT min(first_day) AS first_day
FROM known
