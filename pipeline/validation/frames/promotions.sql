-- grain: kind of promotion
SELECT
    kind,
    count(*) AS promotions,
    count(*) FILTER (ends_on < starts_on) AS ends_before_it_starts,
    count(*) FILTER (share IS NULL OR NOT share BETWEEN 0 AND 1) AS impossible_shares,
    count(*) FILTER (known_on > ends_on) / count(*) AS share_announced_too_late
FROM promotions
GROUP BY kind
ORDER BY kind
