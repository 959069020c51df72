"""Reviews in the published file, from files in the drop folder on: a generated shop whose customers write."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import yaml

from pipeline.as_of import as_of_view, known_days
from pipeline.cleaning.clean import clean
from pipeline.cleaning.reviews import take_over_reviews
from pipeline.enrichment.calendar import build_calendar
from pipeline.enrichment.review_features import review_array
from pipeline.enrichment.reviews import encode_reviews
from pipeline.examples.generated_shop import GeneratedShop
from pipeline.forecasting.vintages import part_of
from pipeline.ingestion import ingest
from pipeline.lake import Lake
from pipeline.publishing.publish import publish, published_file
from pipeline.settings import load_settings
from pipeline.tables import TABLES
from pipeline.validation import validate_lines
from tests.conftest import MakeHome
from tests.publishing.shop import write_vintage_of

GOOD = ("质量很好", "great price", "物流很快！", "a lovely gift", "looks beautiful <b>indeed</b>", "👍")
BAD = ("质量很差，用几天就坏了", "too expensive", "the box was damaged", "too small for me", "发货太慢", "x" * 10_000)
MAPPING = {
    "name": "voices",
    "timezone": "Asia/Shanghai",
    "currency": "CNY",
    "reviews": {
        "files": "voices_*.csv",
        "csv": {"encoding": "gb18030"},
        "item_id": "item",
        "reviewed_at": "time",
        "rating": "stars",
        "text": "text",
        "review_id": "id",
        "customer": "customer",
    },
}


class Voices:
    """The home of a generated shop with a second source, of reviews whose truth is known."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "voices.yaml").write_text(yaml.safe_dump(MAPPING), encoding="utf-8")
        settings = yaml.safe_load((home / "almanac.yaml").read_text(encoding="utf-8"))
        settings["sources"].append({"mapping": "voices.yaml", "folder": "voices"})
        (home / "almanac.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        (home / "voices").mkdir()
        self.settings = load_settings(home)
        self.lake = Lake(home, self.settings.compute)
        self.truth: list[tuple[str, str, date, float | None]] = []

    def write(self, items: list[str], first: date, days: int, on: date) -> None:
        """Drop a file of random reviews of some days, delivered on a day, and take it in."""
        random = np.random.default_rng(first.toordinal())
        lines = ["id,item,time,stars,text,customer"]
        for number in range(days * 3):
            item, likes = str(random.choice(items)), bool(random.random() < 0.7)
            stars = None if number % 6 == 0 else float(4 + random.integers(0, 2) if likes else random.integers(1, 3))
            at = first + timedelta(days=number // 3)
            text = " ".join(random.choice(GOOD if likes else BAD, 2))
            lines.append(f'{at}-{number},{item},{at} 10:00,{"" if stars is None else stars},"{text}",C{number}')
            self.truth.append((item, f"{at}-{number}", at, stars))
        lines.append(f"bad,{items[0]},{first},11,,")
        (self.home / "voices" / f"voices_{first}.csv").write_text("\n".join(lines), encoding="gb18030")
        ingest(self.lake, self.settings, delivered_at=datetime.combine(on, datetime.min.time(), UTC))
        take_over_reviews(self.lake, self.settings.shop)
        encode_reviews(self.lake, self.settings)

    def publish(self, night: date) -> list[tuple[Any, ...]]:
        if not self.lake.part_path("vintages", {"as_of": night.isoformat()}, part_of("lstm/1")).exists():
            write_vintage_of(self.lake, night, {self.truth[0][0]: ("", "", 3.0, 1.0)})
        publish(self.lake, self.settings, night)
        with duckdb.connect(str(published_file(self.home)), read_only=True) as con:
            return con.execute("FROM item_reviews ORDER BY ALL").fetchall()


@pytest.fixture(scope="module")
def voices(make_home: MakeHome, small_shop: GeneratedShop) -> tuple[Voices, list[str]]:
    """A home with half a year of orders and the reviews of its first 120 days."""
    shop = Voices(make_home(small_shop, forecast={"horizon_days": 91}))
    (shop.home / "voices" / "voices_0.csv").write_text("id,item,time,stars,text,customer\n1,x,2022-01-01,5,,\n")
    ingest(shop.lake, shop.settings, delivered_at=datetime(2022, 12, 1, tzinfo=UTC))
    validate_lines(shop.lake, shop.settings)
    clean(shop.lake, shop.settings)
    take_over_reviews(shop.lake, shop.settings.shop)
    build_calendar(shop.lake, shop.settings, *known_days(shop.lake))
    with as_of_view(shop.lake, date(2022, 7, 1)) as view:
        items = [item for (item,) in view.con.execute("SELECT item_id FROM items ORDER BY 1 LIMIT 8").fetchall()]
    shop.write(items, date(2022, 1, 2), 120, on=date(2022, 12, 1))
    return shop, items


NIGHT = date(2022, 4, 30)


@pytest.mark.slow
def test_the_published_table_adds_up_to_what_was_written(voices: tuple[Voices, list[str]]) -> None:
    shop, items = voices
    found = shop.publish(NIGHT)
    names = TABLES["item_reviews"].column_names
    rows = [dict(zip(names, row, strict=True)) for row in found if row[0] in items]
    known = [one for one in shop.truth if one[2] <= NIGHT]
    assert sum(row["reviews"] for row in rows) == len(known)
    assert sum(row["rated"] for row in rows) == sum(stars is not None for *_, stars in known)
    total = sum(row["mean_rating"] * row["rated"] for row in rows if row["rated"])
    assert total == pytest.approx(sum(stars for *_, stars in known if stars is not None))
    assert all(row["week_start"].isoweekday() == 1 for row in rows)
    assert all(-1 <= row["sentiment"] <= 1 for row in rows if row["sentiment"] is not None)
    assert any(row["size_share"] for row in rows)
    assert all(row["read"] <= row["reviews"] for row in rows)
    with duckdb.connect(str(published_file(shop.home)), read_only=True) as con:
        bad = con.execute("SELECT problem_column, reason FROM quarantined_reviews").fetchall()
        comments = con.execute(
            "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'item_reviews'"
        ).fetchall()
    assert bad == [("stars", "rating 11 is not on the scale of 1 (worst) to 5 (best)")]
    assert {name for name, _ in comments} == set(names)
    assert all(comment for _, comment in comments)


@pytest.mark.slow
def test_later_reviews_do_not_move_an_earlier_night(voices: tuple[Voices, list[str]]) -> None:
    shop, items = voices

    def known() -> tuple[list[tuple[Any, ...]], bytes, str]:
        table = shop.publish(NIGHT)
        with as_of_view(shop.lake, NIGHT) as view:
            features = review_array(view.con, items, date(2022, 1, 1), 120, shop.settings, home=shop.home)
            assert features is not None
            return table, features.tobytes(), view.snapshot

    before = known()
    shop.write(items, NIGHT + timedelta(days=1), 40, on=date(2022, 12, 2))
    assert known() == before
    later = shop.publish(NIGHT + timedelta(days=40))
    assert len(later) > len(before[0])
    assert shop.publish(NIGHT) == before[0]
