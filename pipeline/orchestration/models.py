"""Model versions for people: the list, one of them in full, and the way back to an earlier one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb

from pipeline.backtesting.backtest import DEGRADED
from pipeline.errors import ModelError
from pipeline.lake import Lake
from pipeline.migrations import bring_up_to_date, is_up_to_date
from pipeline.publishing.model_tables import Described, Row
from pipeline.settings import load_settings
from pipeline.training.record import Rollback
from pipeline.training.verdict import CHALLENGE
from resources.champions import refuse_later
from resources.lake import home_lock
from resources.tracking import ModelVersion, Tracking

_VERSIONS = (Path(__file__).parent.parent / "training" / "models.sql").read_text(encoding="utf-8")
_TABLES = ("model_versions", "champion_decisions", "champion_evidence", "vintages")


@dataclass(frozen=True)
class RolledBack:
    """What a roll-back did.

    Attributes:
        version: version that serves now.
        replaced: version that served until then.
        as_of: first night that it serves.
        until: night from which on a champion that was trained later serves all the same; None when there is none.
    """

    version: str
    replaced: str
    as_of: date
    until: date | None


def list_models(home: Path) -> list[Row]:
    """The versions of a home, oldest first, with the pooled WQL of their backtest where there is one.

    Raises:
        ModelError: no version was trained yet.
    """
    with _opened(home) as (con, store):
        versions = _versions(con, store, home)
        champion = store.champion_name()
    listed = []
    for one in versions:
        decided = {True: "promoted", False: "refused"}.get(one["promoted"], "")
        listed.append(
            {
                "model_version": one["model_version"],
                "as_of": one["as_of"],
                "kind": one["kind"],
                "parent": one["parent"],
                "champion": "champion" if champion == one["model_version"] else "",
                "decision": f"{decided} ({one['rule']})" if decided else "",
                "wql": one["wql"],
                "seconds": one["trained_seconds"],
                "device": one["device"],
                "reason": one["reason"],
            }
        )
    return listed


def describe_model(home: Path, model_version: str) -> Described:
    """One version in full.

    Args:
        home: the home.
        model_version: its name, for example `almanac-my-shop/3`, or its number.

    Raises:
        ModelError: there is no such version.
    """
    with _opened(home) as (con, store):
        known = {one["model_version"]: one for one in _versions(con, store, home)}
        name = _name(store, model_version)
        if name not in known:
            store.version(name)  # says which there are
            raise ModelError(f"{name}: registered, but not written down yet; the next night does that")
        champion = store.champion_name()
        lineage = [known[name]]
        while (parent := lineage[0]["parent"]) in known:
            lineage.insert(0, known[parent])
        about = "WHERE challenger = $1 OR champion = $1"
        return Described(
            version=known[name],
            is_champion=champion == name,
            lineage=lineage,
            decisions=_rows(con, f"FROM champion_decisions {about} ORDER BY as_of, made_at, challenger", name),
            evidence=_rows(con, f"FROM champion_evidence {about} ORDER BY as_of, challenger, origin", name),
            settings=store.recipe(known[name]["run_id"]) or {},
        )


def roll_back(home: Path, to: str | None = None, as_of: date | None = None) -> RolledBack:
    """Put an earlier version back as champion, from a night on; the nights before it stay as they are.

    Args:
        home: the home.
        to: version, by name or number; default: the champion before the present one.
        as_of: first night that it serves; default: the newest night that was trained or forecast.

    Raises:
        ModelError: no champion to roll back from, or no version to roll back to, or one that cannot be read.
        HomeBusyError: another run holds the home.
    """
    lake = Lake(home, load_settings(home).compute)
    with home_lock(home):
        bring_up_to_date(lake)
        with _opened(home) as (con, store):
            night = as_of or _newest_night(con)
            present = store.champion_name(night) if night else None
            if night is None or present is None:
                raise ModelError(
                    f"{home}: no champion to roll back from" + (f" on the night of {night}" if night else "")
                )
            target = store.version(_name(store, to)) if to else _before(store, present, night)
            if to:
                store.load(target)  # what cannot serve must not be put back
            if target.model_version == present:
                raise ModelError(f"{target.model_version} is the champion of the night of {night} already")
            refuse_later(target.model_version, target.as_of, night)
            told = f"rolled back from {present}" + ("" if to is None else f" to {target.model_version}, by name")
            done = Rollback(night, target.model_version, present, told)
            # the row first: killed in between, the same command does the same again
            done.write(lake, made_at=datetime.now(UTC).replace(tzinfo=None))
            until = store.roll_back(target, night)
    return RolledBack(target.model_version, present, night, until)


def _before(store: Tracking, present: str, night: date) -> ModelVersion:
    """The champion before, or the one before that, if an older Almanac stored what this one cannot read."""
    unreadable: list[str] = []
    name = present
    while (found := store.before(name, night)) is not None:
        try:
            store.load(found)
        except ModelError as error:
            unreadable.append(str(error))
            name = found.model_version
        else:
            return found
    told = f" that can be read ({'; '.join(unreadable)})" if unreadable else ""
    raise ModelError(
        f"{present}, champion of the night of {night}, is the first of its home{told}: there is none to roll "
        "back to; name a version with --to (`almanac models` lists them)"
    )


def _newest_night(con: duckdb.DuckDBPyConnection) -> date | None:
    nights = "SELECT as_of FROM model_versions UNION ALL SELECT as_of FROM vintages"
    found: date | None = con.execute(f"SELECT max(as_of) FROM ({nights})").fetchall()[0][0]
    return found


@contextmanager
def _opened(home: Path) -> Iterator[tuple[duckdb.DuckDBPyConnection, Tracking]]:
    """The tables of versions and the MLflow store; the home is held only where an older Almanac wrote it."""
    settings = load_settings(home)
    lake = Lake(home, settings.compute)
    if not is_up_to_date(lake):
        with home_lock(home):
            bring_up_to_date(lake)
    with lake.connect() as con:
        lake.attach(con, *_TABLES)
        yield con, Tracking(home, settings.shop.name)


def _versions(con: duckdb.DuckDBPyConnection, store: Tracking, home: Path) -> list[Row]:
    """Versions with their scores."""
    found = _rows(con, _VERSIONS)
    if not found:
        raise ModelError(f"{home}: no model version was trained yet; run `almanac run --home {home}`")
    for one in found:
        wql = store.score(one["run_id"], "wql")
        if store.score(one["run_id"], DEGRADED):
            one["reason"] = "; ".join(filter(None, ("backtest lacked members", one["reason"])))
        one["wql"] = one["compared_wql"] if wql is None and one["rule"] == CHALLENGE else wql
    return found


def _name(store: Tracking, given: str) -> str:
    return f"{store.name}/{given}" if given.isdecimal() else given


def _rows(con: duckdb.DuckDBPyConnection, sql: str, *values: str) -> list[Row]:
    result = con.execute(sql, list(values))
    names = [str(column[0]) for column in result.description or []]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
