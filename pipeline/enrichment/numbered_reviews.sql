-- Every version of a review that the night knows, with the quarter in which it became known.
-- grain: version of a review; reads review_versions
CREATE OR REPLACE TEMP TABLE numbered_reviews AS
SELECT
    row_number() OVER (ORDER BY known_on, source, review_id, version) - 1 AS number,
    *,
    date_trunc('quarter', known_on)::DATE AS quarter
FROM review_versions;
