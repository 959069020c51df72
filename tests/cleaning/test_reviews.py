"""The ledger of reviews: what is new, what is said again, what is edited, and from when a night knows it."""

import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import yaml

from pipeline.cleaning.reviews import take_over_reviews
from pipeline.errors import DeliveryError
from pipeline.ingestion import ingest
from pipeline.lake import Lake
from pipeline.settings import ComputeSettings, Settings

COLUMNS = {"item_id": "item", "reviewed_at": "time", "rating": "stars", "text": "text", "customer": "customer"}


class Shop:
    """A home whose only source is reviews."""

    def __init__(self, home: Path, *, with_id: bool = True, **reviews: object) -> None:
        mapping = {"files": "reviews*", **COLUMNS, **({"review_id": "id"} if with_id else {}), **reviews}
        source = {"name": "shop", "timezone": "Asia/Shanghai", "currency": "CNY", "reviews": mapping}
        home.mkdir(exist_ok=True)
        (home / "shop.yaml").write_text(yaml.safe_dump(source), encoding="utf-8")
        self.home = home
        self.lake = Lake(home, ComputeSettings(threads=2))
        self.settings = Settings.model_validate(
            {
                "shop": {"name": "S", "country": "CN", "timezone": "Asia/Shanghai", "currency": "CNY"},
                "sources": [{"mapping": "shop.yaml"}],
            }
        )

    def deliver(self, on: str, *lines: str, name: str | None = None):
        folder = self.home / "orders"
        folder.mkdir(exist_ok=True)
        text = "\n".join(("id,item,time,stars,text,customer", *lines)) + "\n"
        (folder / (name or f"reviews_{on}.csv")).write_text(text, encoding="utf-8")
        ingest(self.lake, self.settings, delivered_at=datetime.fromisoformat(on).replace(tzinfo=UTC))
        return self.take_over()

    def take_over(self):
        return take_over_reviews(self.lake, self.settings.shop)

    def read(self, sql: str) -> list[tuple]:
        with self.lake.connect() as con:
            self.lake.attach(con)
            return con.execute(sql).fetchall()

    def ledger(self) -> list[tuple]:
        return self.read("SELECT * FROM reviews ORDER BY ALL")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "home")


def test_reviews_enter_with_their_sentences_and_the_day_of_the_shop(shop):
    report = shop.deliver(
        "2022-03-10", "1,A,2022-03-01 23:30,5,Soft. Warm!,K", "2,A,2022-03-02 00:30,,👍,K", "3,A,2022-03-01,7,x,K"
    )
    assert (report.lines, report.kept, report.quarantined, report.repeated) == (3, 2, 1, 0)
    assert shop.read("SELECT review_id, version, reviewed_on, rating, sentences, known_on FROM reviews ORDER BY 1") == [
        ("1", 1, date(2022, 3, 1), 5.0, ["soft", "warm"], date(2022, 3, 1)),
        ("2", 1, date(2022, 3, 2), None, [], date(2022, 3, 2)),
    ]
    assert shop.read("SELECT file_name, line, problem_column, raw_text FROM quarantined_reviews") == [
        (
            *("reviews_2022-03-10.csv", 4, "stars"),
            '{"item":"A","time":"2022-03-01","stars":"7","text":"x","id":"3"}',
        )
    ]


def test_what_is_delivered_again_counts_once_and_an_edited_review_is_known_from_its_delivery(shop):
    shop.deliver("2022-03-10", "1,A,2022-03-01,5,Soft.,K", "2,B,2022-03-02,4,Fine,K")
    report = shop.deliver(
        "2022-04-10", "1,A,2022-03-01,1,It broke.,K", "2,B,2022-03-02,4,fine!,K", "3,B,2022-04-01,3,,"
    )
    assert (report.kept, report.edited, report.repeated) == (2, 1, 1)
    versions = "SELECT version, rating, sentences, known_on FROM reviews WHERE review_id = '1' ORDER BY version"
    assert shop.read(versions) == [
        (1, 5.0, ["soft"], date(2022, 3, 1)),
        (2, 1.0, ["it broke"], date(2022, 4, 10)),
    ]
    # back to what it was: a third version
    assert shop.deliver("2022-05-10", "1,A,2022-03-01,5,Soft.,K").edited == 1
    assert shop.read(versions)[2] == (3, 5.0, ["soft"], date(2022, 5, 10))
    before = shop.ledger()
    assert shop.deliver("2022-06-10", "1,A,2022-03-01,5,Soft.,K", "3,B,2022-04-01,3,,").kept == 0
    assert shop.ledger() == before


def test_a_review_that_stands_in_a_file_twice_counts_as_it_stands_last(shop):
    report = shop.deliver("2022-03-10", "1,A,2022-03-01,5,Soft.,K", "1,A,2022-03-01,2,Hard.,K")
    assert (report.kept, report.repeated) == (1, 1)
    assert shop.read("SELECT rating, sentences FROM reviews") == [(2.0, ["hard"])]


def test_without_ids_as_many_reviews_as_say_the_same_are_told_apart(tmp_path):
    shop = Shop(tmp_path / "home", with_id=False)
    shop.deliver("2022-03-10", ",A,2022-03-01,5,Fine,", ",A,2022-03-01,5,Fine,")
    # the file of the next day holds them again, one more of the kind, and the same of another item
    report = shop.deliver("2022-03-11", *[",A,2022-03-01,5,Fine,"] * 3, ",B,2022-03-01,5,Fine,")
    assert (report.kept, report.repeated, report.edited) == (2, 2, 0)
    assert shop.read("SELECT item_id, count(DISTINCT review_id) FROM reviews GROUP BY 1 ORDER BY 1") == [
        ("A", 3),
        ("B", 1),
    ]


def test_reviews_known_by_delivery(tmp_path):
    shop = Shop(tmp_path / "home", available={"rule": "delivery"})
    shop.deliver("2022-03-10", "1,A,2022-03-01,5,Soft.,K")
    assert shop.read("SELECT reviewed_on, known_on FROM reviews") == [(date(2022, 3, 1), date(2022, 3, 10))]


def test_one_file_or_many_give_the_same_ledger(tmp_path):
    lines = [f"{n},I{n % 3},2022-03-{n + 1:02},{n % 5 + 1},Text {n}.,K{n}" for n in range(20)]
    whole, split = Shop(tmp_path / "whole"), Shop(tmp_path / "split")
    whole.deliver("2022-04-01", *lines)
    for start in range(0, 20, 6):
        split.deliver("2022-04-01", *lines[start : start + 6], name=f"reviews_{start:02}.csv")
    told = "SELECT review_id, version, item_id, reviewed_on, rating, sentences, known_on FROM reviews ORDER BY ALL"
    assert whole.read(told) == split.read(told)


@pytest.mark.parametrize("lost", ["ledger", "quarantine", "report", "everything"])
def test_what_was_deleted_by_hand_is_made_again(shop, lost):
    shop.deliver("2022-03-10", "1,A,2022-03-01,5,Soft.,K", "9,A,2022-03-01,8,x,K")
    shop.deliver("2022-04-10", "1,A,2022-03-01,1,Broke.,K")
    before = shop.ledger(), shop.read("FROM quarantined_reviews")
    folders = {"ledger": ("reviews",), "quarantine": ("quarantined_reviews",), "report": ("review_report",)}
    for table in folders.get(lost, ("reviews", "quarantined_reviews", "review_report")):
        shutil.rmtree(shop.lake.folder(table))
    report = shop.take_over()
    assert bool(report.warnings) == (lost in {"ledger", "quarantine"})
    assert (shop.ledger(), shop.read("FROM quarantined_reviews")) == before
    assert shop.take_over().deliveries == 0


def test_what_cannot_be_made_again_is_named(shop):
    shop.deliver("2022-03-10", "1,A,2022-03-01,5,Soft.,K")
    for table in ("reviews", "raw_reviews"):
        shutil.rmtree(shop.lake.folder(table))
    with pytest.raises(DeliveryError, match="restore lake/raw_reviews/file_hash="):
        shop.take_over()


def test_a_home_without_reviews_has_none(shop):
    report = shop.take_over()
    assert (report.deliveries, report.rows) == (0, {"reviews": 0, "quarantined_reviews": 0, "review_report": 0})
