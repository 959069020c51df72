"""Fill a published file with what a night knows: an empty one whole, a standing one with what changed.

Both go the same way. Tables of the lake are compared partition by partition with what the file remembers of them, and those
that differ are replaced; what is summed over the ledgers is compared row by row from the first day that may have changed.
An empty file remembers nothing, so that all partitions and all days differ.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.as_of import AsOfView
from pipeline.enrichment.reviews import make_reviewed_weeks
from pipeline.lake import Lake
from pipeline.publishing.comments import add_comments
from pipeline.publishing.parts import Fingerprints, changed, files_of, fingerprints, partitions
from pipeline.publishing.plan import BEFORE_ALL, CALENDAR, Plan, new_values, up_to
from pipeline.settings import Settings
from pipeline.tables import TABLES

BY_DELIVERY = ("raw_files", "quarantined_order_lines", "quarantined_reviews", "data_quality", "cleaning_report")
BY_NIGHT = (
    *("vintages", "similar_items"),
    *("model_versions", "champion_decisions", "champion_evidence", "drift", "backtest_scores"),
)
FORECASTS = ("forecasts", "forecast_totals")
BACKTESTS = ("backtest_forecasts", "backtest_sums")
SEASONS = ("item_seasons",)
FROM_LAKE = (*BY_DELIVERY, *BY_NIGHT, *BACKTESTS, *SEASONS, *FORECASTS)
STATES = (
    *("items", "demand_daily", "demand_revisions", "prices_daily", "shop_days", "item_reviews"),
    *("calendar_daily", "calendar_events", "publication", "published_parts"),
)
PUBLISHED = (*STATES, *FROM_LAKE)
"""Tables of the published file."""

_SQL = {path.stem: path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("*.sql")}
_ROWS = dict.fromkeys(FORECASTS, _SQL["forecast_rows"]) | {
    "vintages": _SQL["vintage_rows"],
    "item_seasons": _SQL["season_rows"],
}
_VIEWS = ("views", "rising", "as_known", "seasons")
_DAYS = ("demand_daily", "prices_daily", "shop_days")
_LIMITED_BY = {"forecast_totals": "total_rows", "forecasts": "forecast_rows"}


@dataclass
class Filled:
    """What filling did.

    Attributes:
        nights: nights whose forecasts the file holds.
        left_out: older nights that stay in the lake only.
        added: partitions whose rows were written, by table of the lake.
        parts: partitions that the file is made from now, by table.
    """

    nights: int = 0
    left_out: int = 0
    added: dict[str, list[str]] = field(default_factory=dict)
    parts: dict[str, Fingerprints] = field(default_factory=dict)


def fill(view: AsOfView, lake: Lake, settings: Settings, plan: Plan) -> Filled:
    """Bring the file that is attached as `published` to what the night knows.

    Args:
        view: what the night knows, from `plan.since` on.
        lake: the home's lake.
        settings: the home's settings.
        plan: from where on the file differs.
    """
    con = view.con
    con.execute("SET VARIABLE horizon_days = $1::INTEGER", [settings.forecast.horizon_days])
    if plan.why_full:
        for name in PUBLISHED:
            columns = ", ".join(f'"{column.name}" {column.type}' for column in TABLES[name].published_columns)
            con.execute(f'CREATE TABLE published."{name}" ({columns})')
    filled = _FromLake(con, lake, plan).fill(settings.publishing.max_forecast_rows)
    make_reviewed_weeks(con, settings, home=lake.home)
    _fill_states(con, lake, plan)
    if plan.why_full:
        con.execute("USE published")
        for name in _VIEWS:
            con.execute(_SQL[name])
        add_comments(con, PUBLISHED)
        con.execute("USE memory")
    _record_parts(con, filled.parts | plan.known)
    return filled


class _FromLake:
    """Tables that are taken over from the lake, partition by partition."""

    def __init__(self, con: duckdb.DuckDBPyConnection, lake: Lake, plan: Plan) -> None:
        self.con, self.lake, self.plan = con, lake, plan
        self.found = {table: partitions(lake, table) for table in FROM_LAKE}
        self.filled = Filled()

    def fill(self, max_forecast_rows: int) -> Filled:
        """Take over what the night may know, vintages before the forecasts that they are joined to."""
        later = self._later_deliveries()
        for table in BY_DELIVERY:
            marks = fingerprints(self.found[table])
            self._replace(table, {value: mark for value, mark in marks.items() if value not in later})
        for table in BY_NIGHT:
            self._replace(table, up_to(self.found[table], self.plan.as_of))
        for table in BACKTESTS:
            # the newest only: its rows are many, and the scores of all are kept
            self._replace(table, dict(list(up_to(self.found[table], self.plan.as_of).items())[-1:]))
        for table in SEASONS:
            # the newest only, as its current vintage says it: rows are many, and they are of the year and not of a night
            newest = list(up_to(self.found[table], self.plan.as_of).items())[-1:]
            current = self.filled.parts["vintages"]
            self._replace(table, {night: f"{mark} {current[night]}" for night, mark in newest if night in current})
        for table in FORECASTS:
            self._replace(table, self._nights_that_fit(table, max_forecast_rows))
        return self.filled

    def _later_deliveries(self) -> set[str]:
        """Deliveries of which the night knew nothing yet: they stay out, also of the counts."""
        found = self.found["raw_files"]
        _, unseen = changed(fingerprints(found), self.plan.recorded.get("raw_files", {}))
        rows = self.lake.select("raw_files", files=files_of(found, unseen))
        later = self.con.execute(f"SELECT file_hash FROM ({rows}) WHERE first_known_on > $1", [self.plan.as_of])
        return {row[0] for row in later.fetchall()}

    def _nights_that_fit(self, table: str, max_rows: int) -> Fingerprints:
        """Nights of forecasts to publish, each marked by how its files and its rows in `vintages` stand."""
        sql = _SQL["vintages"].replace("{rows}", _LIMITED_BY[table])
        oldest, nights, fitting = self.con.execute(sql, {"max_rows": max_rows}).fetchall()[0]
        if table == "forecasts":
            self.filled.nights, self.filled.left_out = fitting, nights - fitting
        vintages = self.filled.parts["vintages"]
        return {
            night: f"{mark} {vintages[night]}"
            for night, mark in up_to(self.found[table], self.plan.as_of).items()
            if night in vintages and oldest is not None and night >= oldest.isoformat()
        }

    def _replace(self, table: str, wanted: Fingerprints) -> None:
        """Replace the rows of the partitions that differ from what the file was made from."""
        removed, added = changed(wanted, self.plan.recorded.get(table, {}))
        declared = TABLES[table]
        (column,) = declared.partition
        kind = next(c.type for c in declared.columns if c.name == column)
        if removed:
            self.con.execute(
                f'DELETE FROM published."{table}" WHERE "{column}" IN (SELECT unnest($1::{kind}[]))', [removed]
            )
        if added:
            rows = self.lake.select(table, files=files_of(self.found[table], added))
            query = _ROWS.get(table, "FROM ({rows})").replace("{rows}", rows)
            # forecasts are large and stored in the order of their keys; a sort would spill to disk
            order = "" if table in FORECASTS else f" ORDER BY {_key(table)}"
            self.con.execute(f'INSERT INTO published."{table}" BY NAME FROM ({query}){order}')
        self.filled.added[table] = added
        self.filled.parts[table] = wanted


def _fill_states(con: duckdb.DuckDBPyConnection, lake: Lake, plan: Plan) -> None:
    """Replace the rows that differ, of tables that are sums over the ledgers.

    Demand is stored by day: what a night deletes and adds then lies at the end of the file, in few blocks.
    """
    con.execute("SET VARIABLE changed_from = $1::DATE", [plan.since or BEFORE_ALL])
    con.execute("SET VARIABLE known_before = $1::DATE", [plan.published])
    began = _first_day(con)
    for table in _DAYS:
        _replace_rows(con, table, f"FROM {table}", "day >= getvariable('changed_from')", order="day, " + _key(table))
    ledger = plan.found["demand_changes"]
    files = files_of(ledger, new_values(ledger, plan.published, plan.as_of))
    revisions = _SQL["revision_rows"].replace("{ledger}", lake.select("demand_changes", files=files))
    order = "known_on, " + _key("demand_revisions")
    _replace_rows(con, "demand_revisions", revisions, "known_on > getvariable('known_before')", order=order)
    _replace_rows(con, "items", _SQL["item_rows"], "true", order="item_id")
    _replace_rows(con, "item_reviews", "FROM reviewed_weeks", "true", order="week_start, item_id")
    con.execute("SET VARIABLE calendar_from = $1::DATE", [_calendar_from(con, plan, began)])
    for table in ("calendar_daily", "calendar_events"):
        rows = _SQL["calendar_rows"].replace("{table}", table)
        _replace_rows(con, table, rows, "day >= getvariable('calendar_from')", order="day, " + _key(table))


def _calendar_from(con: duckdb.DuckDBPyConnection, plan: Plan, began: date | None) -> date:
    """First day whose calendar may differ: that after the last one published, unless the calendar itself has changed.

    An event that was announced since, a calendar computed anew and another first day of the shop change any day.
    """
    announced = con.execute(
        "SELECT count(*) FROM calendar_occurrences WHERE announced_on > getvariable('known_before')"
    ).fetchall()[0][0]
    same = all(plan.recorded.get(table, {}) == fingerprints(plan.found[table]) for table in CALENDAR)
    if announced or not same or plan.since is None or began != _first_day(con):
        return BEFORE_ALL
    last = con.execute("SELECT max(day) FROM published.calendar_daily").fetchall()[0][0]
    return last + timedelta(days=1) if last else BEFORE_ALL


def _first_day(con: duckdb.DuckDBPyConnection) -> date | None:
    day: date | None = con.execute("SELECT min(day) FROM published.shop_days").fetchall()[0][0]
    return day


def _replace_rows(con: duckdb.DuckDBPyConnection, table: str, rows: str, open_rows: str, *, order: str) -> None:
    """Replace the rows of a table that differ from what they should be."""
    names = [column.name for column in TABLES[table].published_columns]
    same = " AND ".join(f'before."{name}" IS NOT DISTINCT FROM after."{name}"' for name in names)
    places = {"table": table, "rows": rows, "open": open_rows, "same": same, "order": order}
    sql = _SQL["changed_rows"]
    for place, text in places.items():
        sql = sql.replace(f"{{{place}}}", text)
    con.execute(sql)


def _record_parts(con: duckdb.DuckDBPyConnection, parts: Mapping[str, Fingerprints]) -> None:
    """Write down which partitions the file is made from."""
    rows = [(table, value, mark) for table, marks in parts.items() for value, mark in marks.items()]
    names = [column.name for column in TABLES["published_parts"].columns]
    columns: Sequence[Iterable[str]] = list(zip(*rows, strict=True)) or [[]] * len(names)
    con.register(
        "_parts", pa.table({name: pa.array(list(c), pa.string()) for name, c in zip(names, columns, strict=True)})
    )
    _replace_rows(con, "published_parts", "FROM _parts", "true", order="table_name, value")
    con.unregister("_parts")


def _key(table: str) -> str:
    return ", ".join(f'"{name}"' for name in TABLES[table].key)
