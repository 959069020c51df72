"""Homes written by an older Almanac, brought up to date; homes of a newer one refused.

The lake's format is a number in `lake/format.json`. Each migration is one step, may be killed and begun again, and loses
nothing: what it rewrites is replaced file by file. A home without the file that has tables is of format 1.
"""

import json
import os
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import PermanentError
from pipeline.forecasting.vintages import FORECAST_TABLES, Vintage, file_hash, part_of, write_vintage
from pipeline.lake import Lake
from pipeline.tables import TABLES

FORMAT = 5
"""Format of the lake that this version writes."""
_FILE = "format.json"


def bring_up_to_date(lake: Lake) -> tuple[int, ...]:
    """Migrate a home's lake to the format of this version; for the start of a run.

    Returns:
        Formats that it went through; empty when it was up to date.

    Raises:
        PermanentError: a newer Almanac wrote it.
    """
    found = _format(lake)
    if found > FORMAT:
        raise PermanentError(
            f"{lake.root / _FILE}: this home was written by a newer Almanac (format {found}, this version reads up to "
            f"{FORMAT}); upgrade Almanac, or work on a backup of the home from before"
        )
    steps = tuple(range(found + 1, FORMAT + 1))
    for step in steps:
        _STEPS[step](lake)
        _write_format(lake, step)
    return steps


def is_up_to_date(lake: Lake) -> bool:
    """Whether a home's lake is of this version's format: what only reads need not hold the home to migrate it."""
    return _format(lake) == FORMAT


def _format(lake: Lake) -> int:
    try:
        return int(json.loads((lake.root / _FILE).read_text(encoding="utf-8"))["format"])
    except FileNotFoundError:
        written = lake.root.is_dir() and any(not path.name.startswith(".") for path in lake.root.iterdir())
        if not written:
            _write_format(lake, FORMAT)
        return 1 if written else FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise PermanentError(
            f'{lake.root / _FILE}: cannot be read ({error}); it holds {{"format": {FORMAT}}} in a home of this version'
        ) from error


def _write_format(lake: Lake, number: int) -> None:
    lake.root.mkdir(parents=True, exist_ok=True)
    new = lake.root / f".{_FILE}.{os.getpid()}"
    new.write_text(json.dumps({"format": number}) + "\n", encoding="utf-8")
    new.replace(lake.root / _FILE)


def _vintages_apart(lake: Lake) -> None:
    """To format 2: `made_at` leaves the forecasts for a row in `vintages`, and model versions say what kind they are."""
    trained: dict[str, date] = {}
    for path in sorted(lake.folder("model_versions").glob("as_of=*/*.parquet")):
        table = pq.ParquetFile(path).read()
        as_of = _night_of(path)
        for version in table["model_version"].to_pylist():
            trained[str(version)] = as_of
        for name, value in (("kind", "full"), ("parent", ""), ("reason", "")):
            if name not in table.column_names:
                table = table.append_column(name, pa.repeat(pa.scalar(value), len(table)))
        with lake.connect() as con:
            lake.write(con, "model_versions", {"as_of": as_of.isoformat()}, table, path.stem)
    for path in sorted(lake.folder("forecasts").glob("as_of=*/*.parquet")):
        _make_vintage(lake, path, trained)


def _make_vintage(lake: Lake, path: Path, trained: dict[str, date]) -> None:
    as_of = _night_of(path)
    partition = {"as_of": as_of.isoformat()}
    head = pq.ParquetFile(path).read_row_group(0)
    version, snapshot = head["model_version"][0].as_py(), head["data_snapshot"][0].as_py()
    if lake.part_path("vintages", partition, part_of(version)).exists():
        return
    # the time when it was made is read before the files that carry it are rewritten, and kept in case of a kill
    note = lake.root / f".made_at.{as_of}.{part_of(version)}.json"
    if not note.exists():
        note.write_text(json.dumps(head["made_at"][0].as_py().isoformat()), encoding="utf-8")
    made_at = json.loads(note.read_text(encoding="utf-8"))
    rows: dict[str, int] = {}
    for table in FORECAST_TABLES:
        old = pq.ParquetFile(lake.part_path(table, partition, path.stem))
        if "made_at" in old.schema_arrow.names:
            with lake.stream(table, partition, path.stem) as write:
                for group in range(old.num_row_groups):
                    write(old.read_row_group(group))
        rows[table] = old.metadata.num_rows
    days = pq.ParquetFile(lake.part_path("forecasts", partition, path.stem))
    horizon = max(
        pc.max(days.read_row_group(g, ["horizon_days"])["horizon_days"]).as_py() for g in range(days.num_row_groups)
    )
    hashes = [file_hash(lake.part_path(table, partition, path.stem)) for table in FORECAST_TABLES]
    write_vintage(
        lake,
        Vintage(
            as_of=as_of,
            model_version=version,
            trained_as_of=trained.get(version, as_of),
            is_named=False,
            data_snapshot=snapshot,
            series=rows["forecasts"] // horizon,
            forecast_rows=rows["forecasts"],
            total_rows=rows["forecast_totals"],
            forecasts_hash=hashes[0],
            totals_hash=hashes[1],
            settings_hash="",
            device="cpu",
            threads=2,
            libraries="{}",
            made_at=datetime.fromisoformat(made_at),
        ),
    )
    note.unlink()


def _night_of(path: Path) -> date:
    return date.fromisoformat(path.parent.name.removeprefix("as_of="))


def _vintages_say_whether_degraded(lake: Lake) -> None:
    """To format 3: vintages say which members were left out; until then there was one."""
    for path in sorted(lake.folder("vintages").glob("as_of=*/*.parquet")):
        table = pq.ParquetFile(path).read()
        if "degraded" in table.column_names:
            continue
        table = table.append_column("degraded", pa.array([""] * len(table), pa.string()))
        with lake.connect() as con:
            lake.write(con, "vintages", {"as_of": _night_of(path).isoformat()}, table, path.stem)


def _decisions_by_rule(lake: Lake) -> None:
    """To format 3: decisions say by which rule and when they were made; until then there were no challenges."""
    with lake.connect() as con:
        found = con.execute(f"SELECT model_version, made_at FROM ({lake.select('model_versions')})").fetchall()
    made: dict[object, datetime] = dict(found)
    for path in sorted(lake.folder("champion_decisions").glob("as_of=*/*.parquet")):
        table = pq.ParquetFile(path).read()
        if "rule" in table.column_names:
            continue
        rules = ["renewal" if champion else "first" for champion in table["champion"].to_pylist()]
        times = [made.get(challenger) for challenger in table["challenger"].to_pylist()]
        table = table.append_column("rule", pa.array(rules, pa.string()))
        table = table.append_column("origins", pa.array([0] * len(table), pa.int64()))
        table = table.append_column("made_at", pa.array(times, pa.timestamp("us")))
        with lake.connect() as con:
            lake.write(con, "champion_decisions", {"as_of": _night_of(path).isoformat()}, table, path.stem)


def _to_three(lake: Lake) -> None:
    _decisions_by_rule(lake)
    _vintages_say_whether_degraded(lake)


def _planned_prices(lake: Lake) -> None:
    """To format 4: promotions may carry a planned price; until then none was read."""
    for name in ("raw_promotions", "promotions"):
        _with_nulls(lake, name, {"unit_price", "currency"})


def _launches(lake: Lake) -> None:
    """To format 5: item master data may say from when an item is on sale and for how much; until then nothing was read of it."""
    _with_nulls(lake, "raw_items", {"unit_price", "currency", "on_sale_from"})


def _with_nulls(lake: Lake, name: str, columns: set[str]) -> None:
    """Give all files of a table some columns that they lack, empty."""
    for path in sorted(lake.folder(name).glob("*/*.parquet")):
        table = pq.ParquetFile(path).read()
        added = [
            field
            for field in TABLES[name].arrow_schema
            if field.name in columns and field.name not in table.column_names
        ]
        if not added:
            continue
        for field in added:
            table = table.append_column(field, pa.nulls(len(table), field.type))
        partition, _, value = path.parent.name.partition("=")
        with lake.connect() as con:
            lake.write(con, name, {partition: value}, table, path.stem)


_STEPS: dict[int, Callable[[Lake], None]] = {2: _vintages_apart, 3: _to_three, 4: _planned_prices, 5: _launches}
"""What brings a lake to each format from the one before."""
