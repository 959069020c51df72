"""Item master data and promotions."""

import math
from datetime import UTC, date, datetime

import pytest

ITEMS = {
    "files": "items*.csv",
    "item_id": "id",
    "item_text": {"join": ["name", "size"], "by": ", "},
    "category": "cat",
    "known_from": date(2010, 1, 1),
}
PROMOTIONS = {
    "files": "promo*.csv",
    "item_id": "item",
    "location": "store",
    "week": {"number": "week", "first_day": date(2010, 1, 4)},
    "kinds": [
        {"kind": "display", "column": "display", "none": ["0"]},
        {"kind": "mailer", "column": "mailer", "none": ["0"]},
    ],
    "announced_days_before": 7,
}


def test_items_are_known_from_the_stated_day_and_later_ones_from_their_delivery(home):
    home.mapping = {**home.mapping, "orders": None, "items": ITEMS}
    home.drop("items_1.csv", "id,name,size,cat\n1,tea,,Food\n2,cup,big,\n1,green tea,,\n,lost,,\n")
    report = home.ingest(datetime(2011, 1, 1, tzinfo=UTC))
    assert (report.files[0].lines, report.files[0].unreadable, report.rows["raw_items"]) == (4, 1, 2)
    home.drop("items_2.csv", "id,name,size,cat\n1,black tea,,Food\n")
    home.ingest(datetime(2011, 6, 1, tzinfo=UTC))
    assert home.read("SELECT item_id, item_text, category, known_on FROM raw_items ORDER BY item_id, known_on") == [
        ("1", "green tea", "Food", date(2010, 1, 1)),
        ("1", "black tea", "Food", date(2011, 6, 1)),
        ("2", "cup, big", None, date(2010, 1, 1)),
    ]


LAUNCHES = {
    **ITEMS,
    "item_text": "name",
    "price": "price",
    "on_sale_from": "from",
    "datetime_formats": ["%d.%m.%Y", "iso"],
}


def test_launches_say_from_when_and_for_how_much(home):
    home.mapping = {**home.mapping, "orders": None, "items": LAUNCHES}
    home.drop(
        "items.csv",
        "id,name,cat,price,from\n1,tea,,2.50,24.12.2010\n2,cup,,,2011-01-05\n3,pot,,dear,soon\n4,urn,,,\n1,,,3.00,\n",
    )
    home.ingest(datetime(2011, 1, 1, tzinfo=UTC))
    rows = home.read("SELECT item_id, item_text, unit_price, currency, on_sale_from FROM raw_items ORDER BY item_id")
    assert [row[:2] for row in rows] == [("1", "tea"), ("2", "cup"), ("3", "pot"), ("4", "urn")]
    assert [row[2] for row in rows[:2]] == [3.0, None]
    assert math.isnan(rows[2][2])  # something stands there, and is no price
    assert {row[3] for row in rows} == {home.mapping["currency"]}
    assert [row[4] for row in rows] == [date(2010, 12, 24), date(2011, 1, 5), None, None]


PROMO = "item,store,week,display,mailer\nA,1,1,9,0\nA,2,1,3,B\nA,1,2,0,B\nB,3,2,,B\nB,4,x,1,1\n"


def test_promotions_by_week_become_shares_of_the_locations(home):
    home.mapping = {**home.mapping, "orders": None, "promotions": PROMOTIONS}
    home.drop("promo.csv", PROMO)
    report = home.ingest()
    assert (report.files[0].lines, report.files[0].unreadable) == (5, 1)
    rows = home.read(
        "SELECT item_id, location, kind, starts_on, ends_on, share, known_on FROM raw_promotions ORDER BY ALL"
    )
    first, second = (date(2010, 1, 4), date(2010, 1, 10)), (date(2010, 1, 11), date(2010, 1, 17))
    assert rows == [
        ("A", "", "display", *first, 0.5, date(2009, 12, 28)),
        ("A", "", "mailer", *first, 0.25, date(2009, 12, 28)),
        ("A", "", "mailer", *second, 0.25, date(2010, 1, 4)),
        ("B", "", "mailer", *second, 0.25, date(2010, 1, 4)),
    ]


def test_promotions_keep_their_locations_in_a_shop_that_forecasts_by_location(home):
    home.by_location = True
    home.mapping = {**home.mapping, "orders": None, "promotions": PROMOTIONS}
    home.drop("promo.csv", PROMO)
    home.ingest()
    rows = home.read("SELECT item_id, location, kind, share FROM raw_promotions WHERE item_id = 'A' ORDER BY ALL")
    assert rows == [
        ("A", "1", "display", 1.0),
        ("A", "1", "mailer", 1.0),
        ("A", "2", "display", 1.0),
        ("A", "2", "mailer", 1.0),
    ]


@pytest.mark.parametrize(
    ("start", "end", "unreadable"), [("2010-05-01", "2010-05-03", 0), ("2010-05-03", "2010-05-01", 1)]
)
def test_promotions_by_date(home, start, end, unreadable):
    mapping = {key: value for key, value in PROMOTIONS.items() if key not in ("week", "location")}
    home.mapping = {**home.mapping, "orders": None, "promotions": {**mapping, "starts_on": "from", "ends_on": "to"}}
    home.drop("promo.csv", f"item,from,to,display,mailer\nA,{start},{end},1,\nB,2010-06-01,2010-06-02,1,\n")
    assert home.ingest().files[0].unreadable == unreadable
    assert ("B", date(2010, 6, 1), date(2010, 6, 2), 1.0, 3) in home.read(
        "SELECT item_id, starts_on, ends_on, share, line FROM raw_promotions"
    )


def test_planned_prices_are_the_mean_of_the_places_and_what_is_none_is_not_taken_for_one(home):
    home.mapping = {**home.mapping, "orders": None, "promotions": {**PROMOTIONS, "price": "price"}}
    home.drop(
        "promo.csv",
        "item,store,week,display,mailer,price\nA,1,1,1,B,2.00\nA,2,1,1,B,4.00\nA,3,1,1,B,soon\nB,1,1,1,0,\nC,1,1,1,0,soon\n",
    )
    home.ingest()
    assert home.read("SELECT item_id, kind, unit_price::VARCHAR, currency FROM raw_promotions ORDER BY ALL") == [
        ("A", "display", "3.0", "GBP"),
        ("A", "mailer", "3.0", "GBP"),
        ("B", "display", None, None),
        ("C", "display", "nan", "GBP"),
    ]
