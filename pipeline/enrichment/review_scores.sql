-- Every version of a review that the night knows, with its sentiment in hundredths: of its rating, else of its words.
-- grain: version of a review; reads numbered_reviews, _told (number, sentiment)
CREATE OR REPLACE TEMP TABLE review_scores AS
SELECT
    reviews.source,
    reviews.review_id,
    reviews.version,
    reviews.item_id,
    reviews.reviewed_on,
    reviews.known_on,
    reviews.replaced_on,
    reviews.rating,
    reviews.sentences,
    coalesce(round((reviews.rating - 3) * 50)::BIGINT, told.sentiment) AS sentiment
FROM numbered_reviews AS reviews
LEFT JOIN _told AS told USING (number);

DROP TABLE numbered_reviews;
