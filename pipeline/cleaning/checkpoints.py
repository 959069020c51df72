"""Summaries of the ledgers at the ends of quarters, so that a night reads one of them and not all days before it.

What belongs here: making them and discarding them. What does not: reading them, which only the as-of view does
(`pipeline/as_of.sql`, `pipeline/first_day.sql`): it takes the newest that its night may know, and the ledger since.

A summary holds what became known up to the end of its quarter, so it is right as long as nothing more is written to the
ledger before that day. Whoever writes there drops what stands from that day on first (`drop_checkpoints`), and makes
what is missing when all is written (`keep_checkpoints`). A run killed in between leaves fewer summaries, never wrong ones.
"""

from datetime import date, timedelta
from pathlib import Path
from typing import Final

from pipeline.lake import Lake

LEDGERS: Final = {"item_sightings": "item_sightings_until", "demand_changes": "demand_changes_until"}
"""Ledgers that are summed up, and the table of their summaries."""

_SQL = {table: Path(__file__).with_name(f"{table}.sql").read_text(encoding="utf-8") for table in LEDGERS.values()}


def keep_checkpoints(lake: Lake) -> int:
    """Make the summaries that are missing: of each quarter that brought something and was over before the newest day.

    Args:
        lake: the home's lake; nothing may be half written in it.

    Returns:
        Summaries made.
    """
    made = 0
    for ledger, table in LEDGERS.items():
        days = [date.fromisoformat(partition["known_on"]) for partition in lake.partitions(ledger)]
        ends = sorted({end for day in days if (end := _quarter_end(day)) < days[-1]})
        standing = {date.fromisoformat(partition["known_until"]) for partition in lake.partitions(table)}
        for end in ends:
            if end not in standing:
                _sum_up(lake, ledger, end)
                made += 1
    return made


def drop_checkpoints(lake: Lake, from_day: date) -> int:
    """Discard the summaries that facts known from a day on would make wrong; to be called before they are written.

    Args:
        lake: the home's lake.
        from_day: first day on which something written next becomes known.

    Returns:
        Summaries discarded.
    """
    dropped = 0
    for table in LEDGERS.values():
        for partition in lake.partitions(table):
            if date.fromisoformat(partition["known_until"]) >= from_day:
                lake.discard(table, partition["known_until"])
                dropped += 1
    return dropped


def _sum_up(lake: Lake, ledger: str, end: date) -> None:
    """Write one summary, from the one before it and the ledger since."""
    table = LEDGERS[ledger]
    with lake.connect() as con:
        lake.attach(con, ledger, table)
        con.execute("SET VARIABLE known_until = $1::DATE", [end])
        con.execute(
            f"SET VARIABLE summed_until = (SELECT max(known_until) FROM {table} WHERE known_until < getvariable('known_until'))"
        )
        lake.write(con, table, {"known_until": end.isoformat()}, _SQL[table], part=end.isoformat())


def _quarter_end(day: date) -> date:
    month = (day.month - 1) // 3 * 3 + 3
    return date(day.year + month // 12, month % 12 + 1, 1) - timedelta(days=1)
