-- What a night ends with: the items with most units expected in the next four weeks, by the version that was named, else by
-- the night's own.
-- grain: item × location; parameters: count, as_of, model_version (null: the night's own)
WITH vintage AS (
    SELECT as_of, model_version
    FROM vintages
    WHERE as_of = $as_of::DATE AND coalesce(model_version = $model_version::VARCHAR, is_current)
),
soon AS (
    SELECT
        item_id,
        location,
        model_version,
        sum(mean) FILTER (horizon_days <= 7) AS next_7_days,
        sum(mean) FILTER (horizon_days <= 28) AS next_28_days
    FROM forecasts
    SEMI JOIN vintage USING (as_of, model_version)
    GROUP BY ALL
)
SELECT
    soon.item_id AS item,
    left(items.item_text, 40) AS text,
    soon.location,
    round(soon.next_7_days, 1) AS next_7_days,
    round(soon.next_28_days, 1) AS next_28_days,
    round(season.mean, 1) AS season,
    season.q10::BIGINT AS season_q10,
    season.q90::BIGINT AS season_q90
FROM soon
LEFT JOIN forecast_totals AS season
    ON
        season.level = 'item-season'
        AND season.id = soon.item_id
        AND season.location = soon.location
        AND season.as_of = $as_of::DATE
        AND season.model_version = soon.model_version
LEFT JOIN items ON items.item_id = soon.item_id
ORDER BY soon.next_28_days DESC, item, soon.location
LIMIT $count;
