-- What this delivery netted, or took back from an earlier netting.
-- grain: order line × cancellation line × day on which it became known
-- Reads matches, netting_lines.
SELECT
    ordered.item_id,
    ordered.source AS order_source,
    ordered.order_id,
    ordered.line_no AS order_line_no,
    cancelling.source AS cancellation_source,
    cancelling.order_id AS cancellation_id,
    cancelling.line_no AS cancellation_line_no,
    -- of a cancellation whose kind was corrected, the newest says what it is
    max_by(cancelling.kind, cancelling.version) AS reason,
    sum(matches.units)::BIGINT AS units,
    matches.known_on
FROM matches
INNER JOIN netting_lines AS ordered ON matches.ordered = ordered.row_no
INNER JOIN netting_lines AS cancelling ON matches.cancellation = cancelling.row_no
GROUP BY ALL
HAVING sum(matches.units) <> 0
ORDER BY matches.known_on, item_id, order_id, order_line_no, cancellation_id, cancellation_line_no
