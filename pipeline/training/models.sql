-- grain: model version, oldest first: its training, and what the gate said of it (roll-backs to it are decisions of their own)
SELECT
    v.model_version,
    v.as_of,
    v.kind,
    v.parent,
    d.promoted,
    d.rule,
    d.reason,
    d.challenger_wql AS compared_wql,
    v.trained_seconds,
    v.device,
    v.run_id,
    v.reason AS trained_because,
    v.settings_hash,
    v.data_snapshot,
    v.made_at
FROM model_versions AS v
LEFT JOIN champion_decisions AS d
    ON v.model_version = d.challenger AND v.as_of = d.as_of AND d.rule <> 'rollback'
ORDER BY v.as_of, v.made_at, v.model_version
