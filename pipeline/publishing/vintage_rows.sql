-- Vintages, and which of them is what its night said: a version that a person named later never is, unless no other made one.
-- rows: rows of vintages, whole nights
SELECT
    *,
    row_number() OVER (PARTITION BY as_of ORDER BY is_named, made_at DESC, model_version DESC) = 1 AS is_current
FROM ({rows})
