-- The bad lines of one delivery of reviews.
-- grain: line of the file
-- Reads raw_reviews (of the delivery); variable file_name.
SELECT getvariable('file_name') AS file_name, source, line, problem_column, problem AS reason, raw_text
FROM raw_reviews
WHERE problem IS NOT NULL
ORDER BY line
