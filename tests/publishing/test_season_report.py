import re
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import PublishError
from pipeline.lake import Lake
from pipeline.publishing.publish import publish
from pipeline.publishing.season_report import report_file, write_season_report
from tests.forecasting.fakes import some_settings
from tests.publishing.shop import ITEMS, NIGHT, write_shop


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = write_shop(Lake(tmp_path_factory.mktemp("report")))
    publish(lake, some_settings(), NIGHT)
    return lake


def test_the_page_shows_rising_items_scores_and_is_self_contained_and_small(lake):
    report = write_season_report(lake, some_settings())
    page = report_file(lake.home).read_text(encoding="utf-8")
    assert report.items == ("10", "11")
    assert page.count("<img ") == 3
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "$" not in re.sub(r"base64,[^\"]+", "", page)
    assert report.bytes < 1_000_000
    assert "auto_ets" in page
    assert f"A backtest before the night of {NIGHT}" in page
    assert '<th class="text">model</th>' in page
    assert "<th>wql</th>" in page
    assert "278 → 1,092 units" in page


def test_texts_are_escaped_wherever_they_come_from(lake):
    write_season_report(lake, some_settings(name="<script>alert(1)</script> & Sons"))
    page = report_file(lake.home).read_text(encoding="utf-8")
    tags = set()

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            tags.add(tag)

    Reader().feed(page)
    assert not tags & {"script", "b bauble"}
    assert "tree &lt;b&gt;bauble&lt;/b&gt;" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; Sons" in page


def test_the_same_night_gives_the_same_page(lake):
    write_season_report(lake, some_settings())
    before = report_file(lake.home).read_bytes()
    write_season_report(lake, some_settings())
    assert report_file(lake.home).read_bytes() == before


def test_a_season_in_which_nothing_rises_and_no_backtest_ran_still_has_a_page(tmp_path: Path):
    falling = {item: (text, category, rate, 0.2) for item, (text, category, rate, _) in ITEMS.items()}
    lake = write_shop(Lake(tmp_path), items=falling)
    for file in [*lake.folder("backtest_scores").rglob("*.parquet"), *lake.folder("data_quality").rglob("*.parquet")]:
        file.unlink()
    publish(lake, some_settings(), NIGHT)
    report = write_season_report(lake, some_settings())
    page = report.file.read_text(encoding="utf-8")
    assert report.items == ()
    assert "No item is expected to sell more than it did." in page
    assert "No backtest was run before this night." in page
    assert "No item is announced, and none was first sold lately." in page


def test_new_items_stand_beside_what_they_sell_like(tmp_path: Path):
    lake = write_shop(Lake(tmp_path))
    new = {
        "item_id": ["20", "x904631", "x904631"],
        "location": [""] * 3,
        "rank": [1, 2, 1],
        "similar_item_id": ["10", "10", "11"],
        "similarity": [0.9, 0.7, 0.8],
        "on_sale_from": [NIGHT + timedelta(days=9), *[NIGHT - timedelta(days=4)] * 2],
        "days_on_sale": [None, 5, 5],
        "launch_share": [1.0, 0.6, 0.6],
        "model_version": ["lstm/1"] * 3,
    }
    with lake.connect() as con:
        lake.write(con, "similar_items", {"as_of": NIGHT.isoformat()}, pa.table(new))
    publish(lake, some_settings(), NIGHT)
    page = write_season_report(lake, some_settings()).file.read_text(encoding="utf-8")
    _, _, part = page.partition("<h2>New items</h2>")
    cells = re.findall(r"<td[^>]*>(.*?)</td>", part.partition("<h2>")[0])
    assert cells == [
        *("x904631", "年糕 rice cake", "since 2017-11-22", "364", "340 to 389"),
        "tree &lt;b&gt;bauble&lt;/b&gt; · advent candle &amp; holder",
        *("20", "garden hose", "from 2017-12-05", "163.8", "148 to 180", "advent candle &amp; holder"),
    ]


def test_without_a_published_file_the_message_says_what_to_run(tmp_path: Path):
    with pytest.raises(PublishError, match="nothing is published yet"):
        write_season_report(Lake(tmp_path), some_settings())
