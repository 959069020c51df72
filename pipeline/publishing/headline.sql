-- What a night ends with: the items with most units expected in the next four weeks.
-- grain: item × location; parameters: count
WITH soon AS (
    SELECT
        item_id,
        item_text,
        location,
        sum(mean) FILTER (horizon_days <= 7) AS next_7_days,
        sum(mean) FILTER (horizon_days <= 28) AS next_28_days
    FROM forecast_latest
    GROUP BY ALL
)
SELECT
    soon.item_id AS item,
    left(soon.item_text, 40) AS text,
    soon.location,
    round(soon.next_7_days, 1) AS next_7_days,
    round(soon.next_28_days, 1) AS next_28_days,
    round(season.mean, 1) AS season,
    season.q10::BIGINT AS season_q10,
    season.q90::BIGINT AS season_q90
FROM soon
INNER JOIN forecast_totals_latest AS season
    ON season.level = 'item-season' AND season.id = soon.item_id AND season.location = soon.location
ORDER BY soon.next_28_days DESC, item, soon.location
LIMIT $count;
