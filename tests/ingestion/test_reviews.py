"""Files of reviews: what is read of them, and what of a bad line is said."""

import shutil
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from pipeline.errors import DeliveryError
from pipeline.ingestion.mapping import SourceMapping

REVIEWS = {
    "files": "reviews*",
    "item_id": "item",
    "reviewed_at": "time",
    "rating": "stars",
    "text": "text",
    "review_id": "id",
    "customer": "customer",
}
HEADER = "id,item,time,stars,text,customer"
DELIVERED = datetime(2011, 6, 1, tzinfo=UTC)


@pytest.fixture
def reviewed(home):
    home.mapping = {**home.mapping, "orders": None, "reviews": dict(REVIEWS)}
    return home


def drop(home, name, *lines, encoding="utf-8"):
    return home.drop(name, ("\n".join((HEADER, *lines)) + "\n").encode(encoding))


def test_reviews_are_read_with_times_in_utc_and_ratings_from_1_to_5(reviewed):
    reviewed.mapping["reviews"]["scale"] = [6, 1]  # marks: the lowest is the best
    drop(reviewed, "reviews.csv", "1,A,2011-05-01 12:00,1,Lovely!,K17", "2,B,2011-05-02,6,,", "3,B,2011-05-02,,ok,")
    report = reviewed.ingest(DELIVERED)
    assert (report.files[0].content, report.files[0].lines, report.rows["raw_reviews"]) == ("reviews", 3, 3)
    assert reviewed.read(
        "SELECT review_id, item_id, reviewed_at, rating, text, problem FROM raw_reviews ORDER BY line"
    ) == [
        ("1", "A", datetime(2011, 5, 1, 11), 5.0, "Lovely!", None),
        ("2", "B", datetime(2011, 5, 1, 23), 1.0, None, None),
        ("3", "B", datetime(2011, 5, 1, 23), None, "ok", None),
    ]


def test_no_customer_id_enters_the_lake_not_even_with_a_bad_line(reviewed):
    drop(
        reviewed,
        "reviews.csv",
        "1,A,2011-05-01,5,fine,Agatha",
        "2,A,never,5,fine,Agatha",
        '3,A,2011-05-01,"5" x,Agatha',
    )
    reviewed.ingest(DELIVERED)
    keys = reviewed.read("SELECT customer_key FROM raw_reviews WHERE line = 2")
    assert len(keys[0][0]) == 32
    assert (reviewed.path / "customer.key").exists()
    told = reviewed.read("SELECT * FROM raw_reviews")
    assert not any("Agatha" in str(row) for row in told)


@pytest.mark.parametrize(
    ("line", "column", "reason"),
    [
        ("1,,2011-05-01,5,fine,", "item", "nothing there"),
        ("1,A,,5,fine,", "time", "nothing there"),
        ("1,A,soon,5,fine,", "time", '"soon" is not a time (iso)'),
        ("1,A,1970-01-01,5,fine,", "time", "before 1990"),
        ("1,A,2011-06-01 03:00,5,fine,", "time", "after its delivery at 2011-06-01 00:00:00 UTC"),
        ("1,A,2011-05-01,good,fine,", "stars", '"good" is not a number'),
        ("1,A,2011-05-01,6,fine,", "stars", "rating 6 is not on the scale of 1 (worst) to 5 (best)"),
        ("1,A,2011-05-01,0,fine,", "stars", "is not on the scale"),
        ("1,A,2011-05-01,,,", "text", "nothing there"),
        ("1,A,2011-05-01,5,fine", "(whole line)", "columns instead of"),
    ],
)
def test_a_bad_line_says_what_is_wrong_with_it(reviewed, line, column, reason):
    drop(reviewed, "reviews.csv", line, "2,A,2011-05-01,5,fine,")
    reviewed.ingest(DELIVERED)
    rows = reviewed.read("SELECT problem_column, problem, raw_text IS NOT NULL FROM raw_reviews ORDER BY line")
    assert rows[0][0] == column
    assert reason in rows[0][1]
    assert rows[0][2]
    assert rows[1] == (None, None, False)


def test_chinese_reviews_in_gb18030(reviewed):
    reviewed.mapping["reviews"]["csv"] = {"encoding": "gb18030"}
    drop(reviewed, "reviews.csv", "1,茶杯,2011-05-01,5,质量很好，物流很快！𠮷,王", encoding="gb18030")
    reviewed.ingest(DELIVERED)
    assert reviewed.read("SELECT item_id, text FROM raw_reviews") == [("茶杯", "质量很好，物流很快！𠮷")]


def test_a_file_of_which_nothing_reads_or_that_is_empty_is_refused(reviewed):
    drop(reviewed, "reviews_1.csv", "1,A,2011-05-01,9,fine,")
    drop(reviewed, "reviews_2.csv")
    with pytest.raises(DeliveryError) as refused:
        reviewed.ingest(DELIVERED)
    assert "reviews_1.csv: none of its 1 lines can be read; the first: line 2, column stars: rating 9" in str(
        refused.value
    )
    assert "reviews_2.csv: the file is empty" in str(refused.value)
    reviewed.mapping["reviews"]["allow_empty"] = True
    (reviewed.path / "orders" / "reviews_1.csv").unlink()
    assert reviewed.ingest(DELIVERED).rows["raw_reviews"] == 0


def test_the_same_bytes_are_taken_in_once_and_lost_lines_are_read_again(reviewed):
    drop(reviewed, "reviews.csv", "1,A,2011-05-01,5,fine,K17")
    reviewed.ingest(DELIVERED)
    before = reviewed.read("SELECT * FROM raw_reviews")
    drop(reviewed, "reviews_again.csv", "1,A,2011-05-01,5,fine,K17")
    assert reviewed.ingest(datetime(2011, 7, 1, tzinfo=UTC)).rows["raw_reviews"] == 0
    shutil.rmtree(reviewed.lake.folder("raw_reviews"))
    reviewed.ingest(datetime(2011, 8, 1, tzinfo=UTC))
    assert reviewed.read("SELECT * FROM raw_reviews") == before


def test_reviews_that_are_known_by_delivery(reviewed):
    reviewed.mapping["reviews"]["available"] = {"rule": "delivery"}
    drop(reviewed, "reviews.csv", "1,A,2011-05-01,5,fine,")
    reviewed.ingest(DELIVERED)
    assert reviewed.read("SELECT available_at FROM raw_reviews") == [(datetime(2011, 6, 1),)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rating": None, "text": None}, "map `rating`, `text` or both"),
        ({"scale": [3, 3]}, "worst and best are both 3"),
    ],
    ids=["says nothing", "no scale"],
)
def test_a_mapping_that_cannot_be_meant_is_refused(change, said):
    reviews = {name: value for name, value in (REVIEWS | change).items() if value is not None}
    with pytest.raises(ValidationError, match=said):
        SourceMapping.model_validate({"name": "s", "timezone": "UTC", "currency": "GBP", "reviews": reviews})
