"""A mapping's cells as SQL expressions over a file's text columns.

Every text of the mapping enters as a quoted value or as a column that was found in the file's header: nothing of a YAML
file is run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from pipeline.ingestion.mapping import ISO, Cell, FileMapping, sql_text

NUMBER = "DECIMAL(18,4)"
_COMMA_NUMBER = r"[+-]?(\d{1,3}(\.\d{3})+|\d+)(,\d+)?"


@dataclass(frozen=True)
class Cells:
    """SQL for the cells of one file.

    Attributes:
        mapping: how the file is written.
        columns: SQL identifier of each file column that is read.
        zone: time zone of its times.
        clean: the columns are trimmed already, and NULL where empty.
    """

    mapping: FileMapping
    columns: Mapping[str, str]
    zone: str = "UTC"
    clean: bool = False

    def text(self, cell: Cell | None, *, trim: bool = True) -> str:
        """The cell as text; NULL where there is nothing."""
        if cell is None:
            return "NULL::VARCHAR"
        if cell.constant is not None:
            return sql_text(cell.constant)
        if cell.column is not None:
            return self._column(cell.column) if trim else self.columns[cell.column]
        if cell.join is not None:
            parts = ", ".join(self._column(name) for name in cell.join)
            return f"nullif(concat_ws({sql_text(cell.by)}, {parts}), '')"
        return f"CAST({self.number(cell)} AS VARCHAR)"

    def number(self, cell: Cell) -> str:
        """The cell as a decimal number; NULL where it does not read as one."""
        if cell.divide is not None:
            over, under = (f"CAST({self.number(part)} AS DOUBLE)" for part in cell.divide)
            return f"TRY_CAST(round({over} / nullif({under}, 0), 4) AS {NUMBER})"
        if cell.sum is not None:
            return "(" + " + ".join(f"coalesce({self._number(self._column(name))}, 0)" for name in cell.sum) + ")"
        return self._number(self.text(cell))

    def not_a_number(self, cell: Cell) -> str:
        """Whether something stands there that does not read as a number."""
        if cell.divide is not None:
            return "(" + " OR ".join(self.not_a_number(part) for part in cell.divide) + ")"
        texts = [self._column(name) for name in cell.sum] if cell.sum is not None else [self.text(cell)]
        return "(" + " OR ".join(f"({text} IS NOT NULL AND {self._number(text)} IS NULL)" for text in texts) + ")"

    def local_time(self, cell: Cell) -> str:
        """The cell as a timestamp as written there, whatever the zone; NULL where it does not read as one."""
        text = self.text(cell)
        tries = [
            f"TRY_CAST({text} AS TIMESTAMP)" if pattern == ISO else f"TRY_STRPTIME({text}, {sql_text(pattern)})"
            for pattern in self.mapping.datetime_formats
        ]
        return tries[0] if len(tries) == 1 else f"coalesce({', '.join(tries)})"

    def utc_time(self, cell: Cell) -> str:
        """The cell as a timestamp in UTC. A time that states its own offset is taken by it."""
        local = utc_sql(self.local_time(cell), self.zone)
        if ISO not in self.mapping.datetime_formats:
            return local
        text = self.text(cell)
        # the marks of an offset stand at the end; most times are 2010-12-01 08:26:00, which is seen at once
        plain = f"strlen({text}) = 19 AND {text}[17] = ':'"
        states_offset = (
            f"strlen({text}) > 16 AND (suffix({text}, 'Z') OR {text}[-3] IN ('+', '-') OR {text}[-5] IN ('+', '-') "
            f"OR {text}[-6] IN ('+', '-'))"
        )
        return (
            f"CASE WHEN {plain} THEN {local} "
            f"WHEN {states_offset} THEN timezone('UTC', TRY_CAST({text} AS TIMESTAMPTZ)) ELSE {local} END"
        )

    def date(self, cell: Cell) -> str:
        """The cell as a date."""
        return f"CAST({self.local_time(cell)} AS DATE)"

    def as_delivered(self, names: Sequence[str], hidden: Sequence[str]) -> str:
        """The named file columns of a line as JSON, those of `hidden` left out."""
        shown = [name for name in dict.fromkeys(names) if name not in hidden]
        if not shown:
            return "'{}'"
        return (
            "CAST(to_json({" + ", ".join(f"{sql_text(name)}: {self.columns[name]}" for name in shown) + "}) AS VARCHAR)"
        )

    def _column(self, name: str) -> str:
        column = self.columns[name]
        return column if self.clean else f"nullif(trim({column}), '')"

    def _number(self, text: str) -> str:
        if self.mapping.decimal_comma:
            point = f"replace(replace({text}, '.', ''), ',', '.')"
            return (
                f"CASE WHEN regexp_full_match({text}, {sql_text(_COMMA_NUMBER)}) THEN TRY_CAST({point} AS {NUMBER}) END"
            )
        return f"TRY_CAST({text} AS {NUMBER})"


def utc_sql(local: str, zone: str) -> str:
    """A local timestamp in UTC, as SQL.

    A CASE over the zone's changes of offset, newest first, costs a tenth of DuckDB's own conversion, which takes longer
    than reading the file. An hour that occurs twice counts as the first; one that does not exist as if the clock had not
    been put forward. Times outside 1970 to 2037 take the nearest offset.
    """
    (_, first), *later = _offset_changes(zone)
    if not later:
        return _less(local, first)
    cases = " ".join(
        f"WHEN {local} >= TIMESTAMP '{since.isoformat(sep=' ')}' THEN {_less(local, offset)}"
        for since, offset in reversed(later)
    )
    return f"CASE {cases} ELSE {_less(local, first)} END"


def _less(local: str, seconds: int) -> str:
    return f"({local} - INTERVAL '{seconds} seconds')" if seconds else local


@cache
def _offset_changes(zone: str) -> tuple[tuple[datetime, int], ...]:
    """Offsets of a zone in seconds, each with the local time from which it holds."""
    info = ZoneInfo(zone)

    def offset(moment: datetime) -> int:
        return round((moment.replace(tzinfo=UTC).astimezone(info).utcoffset() or timedelta()).total_seconds())

    found = [(datetime.min, offset(datetime(1970, 1, 1)))]
    day = datetime(1970, 1, 1)
    while day.year < 2038:
        following = day + timedelta(days=1)
        if offset(following) != found[-1][1]:
            early, late = day, following
            while late - early > timedelta(seconds=1):
                middle = (early + (late - early) / 2).replace(microsecond=0)
                early, late = (middle, late) if offset(middle) == found[-1][1] else (early, middle)
            # by the clock before the change and the clock after it: the later one, so that an hour that occurs twice
            # is the first of the two
            found.append((late + timedelta(seconds=max(found[-1][1], offset(late))), offset(late)))
        day = following
    return tuple(found)
