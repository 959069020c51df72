-- Seasons as the current vintage of their night says them.
-- rows: rows of item_seasons
SELECT seasons.*
FROM ({rows}) AS seasons
INNER JOIN published.vintages AS vintages
    ON
        vintages.as_of = seasons.as_of
        AND vintages.model_version = seasons.model_version
        AND vintages.is_current
        AND vintages.removed_on IS NULL
