"""The real orders of Online Retail II, cleaned: what is known to be in them must come out right."""

from datetime import date
from pathlib import Path

import pytest

from pipeline.as_of import AsOfView, as_of_view
from pipeline.cleaning.clean import CleaningReport, clean
from pipeline.lake import Lake
from pipeline.settings import Settings, ShopSettings, SourceSettings

pytestmark = pytest.mark.real_orders

_RAW = """
WITH delivered AS (
    SELECT *, row_number() OVER () + 1 AS line
    FROM read_csv($csv$, all_varchar = true, nullstr = ['', 'nan'])
)
SELECT
    Invoice AS order_id,
    row_number() OVER (PARTITION BY Invoice, StockCode ORDER BY line) AS line_no,
    StockCode AS item_id, Description AS item_text, NULL AS category, Quantity::BIGINT AS quantity,
    Price::DECIMAL(18, 4) AS unit_price, 'GBP' AS currency, "Customer ID" AS customer_key, NULL AS location,
    Country AS country, NULL AS channel,
    InvoiceDate::TIMESTAMP AT TIME ZONE 'Europe/London' AT TIME ZONE 'UTC' AS ordered_at, ordered_at AS available_at,
    'online-retail-ii' AS source, line, 1 AS version,
    row_number() OVER (
        PARTITION BY Invoice, StockCode, Description, Quantity, InvoiceDate, Price, "Customer ID", Country ORDER BY line
    ) > 1 AS is_repeat,
    NULL AS problem_column, NULL AS problem, NULL AS raw_text
FROM delivered
"""


@pytest.fixture(scope="module")
def cleaned(real_orders: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, CleaningReport]:
    """A lake with the real orders of July 2010 to January 2011, cleaned."""
    home = tmp_path_factory.mktemp("real")
    lake = Lake(home)
    with lake.connect() as con:
        for file in sorted(real_orders.glob("*.csv.gz")):
            month = file.name.removeprefix("orders_").removesuffix(".csv.gz")
            if not "2010-07" <= month <= "2011-01":
                continue
            key = {"file_hash": month.replace("-", "")}
            lake.write(con, "raw_order_lines", key, _RAW.replace("$csv$", f"'{file}'"))
            lake.write(
                con,
                "raw_files",
                key,
                f"SELECT 'online-retail-ii' AS source, 'orders' AS content, '{file.name}' AS file_name, 0 AS bytes, "
                f"0 AS lines, NULL AS first_ordered_at, NULL AS last_ordered_at, DATE '{month}-01' AS first_known_on, "
                f"DATE '{month}-28' AS last_known_on, NULL AS delivered_at",
            )
            counts = f"SELECT '{file.name}' AS file_name, 'online-retail-ii' AS source, 'lines' AS measure, 0 AS value"
            lake.write(con, "data_quality", key, counts)
    settings = Settings(
        shop=ShopSettings(name="Gifts", country="GB", timezone="Europe/London", currency="GBP"),
        sources=(SourceSettings(mapping="online-retail-ii"),),
    )
    return lake, clean(lake, settings)


@pytest.fixture(scope="module")
def view(cleaned: tuple[Lake, CleaningReport]) -> AsOfView:
    """What was known on 2011-01-31."""
    with as_of_view(cleaned[0], date(2011, 1, 31)) as opened:
        yield opened


def _rows(view: AsOfView, query: str) -> list[tuple]:
    return view.con.execute(query).fetchall()


def test_74215_pieces_ordered_and_cancelled_minutes_later_leave_no_peak(view: AsOfView) -> None:
    day = _rows(view, "SELECT units, units_gross FROM demand_daily WHERE item_id = '23166' AND day = '2011-01-18'")

    assert day == [(0, 74215)]
    assert _rows(view, "SELECT max(units) FROM demand_daily WHERE item_id = '23166'")[0][0] < 1000


def test_nothing_is_lost(cleaned: tuple[Lake, CleaningReport]) -> None:
    lake, report = cleaned
    with lake.connect() as con:
        lake.attach(con)
        accepted = con.execute("SELECT count(*) FROM raw_order_lines WHERE NOT is_repeat").fetchall()[0][0]
        kept = con.execute("SELECT count(*) FROM order_lines").fetchall()[0][0]

    assert accepted == kept == report.lines == sum(n for m, (n, _) in report.measures.items() if m.startswith("lines:"))


def test_most_cancelled_pieces_find_their_order(cleaned: tuple[Lake, CleaningReport]) -> None:
    _, report = cleaned
    cancelled = -report.measures["lines:cancellation"][1]

    assert report.measures["netted"][1] + report.measures["unmatched_cancellations"][1] == cancelled
    assert report.measures["netted"][1] > 0.8 * cancelled


def test_saturdays_and_the_christmas_week_are_closed(view: AsOfView) -> None:
    by_weekday = dict(_rows(view, "SELECT isodow(day), avg(is_closed::INT) FROM shop_days GROUP BY ALL"))
    christmas = _rows(view, "SELECT bool_and(is_closed) FROM shop_days WHERE day BETWEEN '2010-12-24' AND '2011-01-03'")

    assert by_weekday[6] > 0.97
    assert all(by_weekday[weekday] < 0.15 for weekday in (1, 2, 3, 4, 5, 7))
    assert christmas == [(True,)]


def test_a_day_without_demand_is_not_always_a_closed_one(view: AsOfView) -> None:
    closed = {day for (day,) in _rows(view, "SELECT day FROM shop_days WHERE is_closed AND isodow(day) <> 6")}
    sold = {day for (day,) in _rows(view, "SELECT DISTINCT day FROM demand_daily WHERE units > 0")}

    assert not closed & sold


def test_no_fee_is_an_item_and_no_remark_a_text(view: AsOfView) -> None:
    fees = _rows(view, "SELECT item_id FROM demand_daily WHERE item_id IN ('POST', 'DOT', 'M', 'AMAZONFEE', 'D', 'S')")
    remarks = _rows(
        view,
        "SELECT item_id, item_text FROM items WHERE item_text IN ('', '?', 'damages', 'check', 'nan') AND first_sold IS NOT NULL",
    )

    assert fees == []
    assert remarks == []


def test_outliers_are_few_and_not_the_season(view: AsOfView) -> None:
    share = _rows(view, "SELECT avg(is_outlier::INT) FROM demand_daily WHERE units > 0")[0][0]
    season, rest = (
        _rows(view, f"SELECT avg(is_outlier::INT) FROM demand_daily WHERE units > 0 AND {months}")[0][0]
        for months in ("month(day) IN (11, 12)", "month(day) NOT IN (11, 12)")
    )

    assert 0 < share < 0.003
    assert season < 1.5 * rest
