"""Nights made once and replayed at will: a vintage is kept as it was made, and can be shown to come out the same again.

What a replay needs stands in the vintage's row: version, snapshot of the facts, settings, device, threads, libraries. On a
CPU the same row gives the same bytes. On a GPU some operations have no fixed order of summing (`NONDETERMINISTIC`):
a vintage made there is verified within `TOLERANCE`, and so is one that is replayed on another device.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from pipeline.enrichment.language_model import find_language_model
from pipeline.errors import AlmanacError, DamagedFileError, HistoryError
from pipeline.forecasting.nightly import ForecastReport, make_forecasts, night_view
from pipeline.forecasting.vintages import (
    FORECAST_TABLES,
    State,
    Vintage,
    dated_back,
    file_hash,
    forecast_settings_hash,
    forget_vintage,
    libraries,
    now,
    vintages,
    write_vintage,
)
from pipeline.lake import Lake, sql_path
from pipeline.models.base import Compute, Fitted, Progress, silent
from pipeline.settings import QUANTILE_COLUMNS, Settings
from pipeline.tables import TABLES

THREADS = 1
"""Threads that forecasts are made with on any machine: matrix kernels split their sums by the number of threads. A second one
saves a tenth of the time, and where another program wants the core too it waits: 3 s became 15 to 95."""
NONDETERMINISTIC = ("LSTM kernels of cuDNN", "matrix products in reduced precision on a GPU")
"""Operations that may give other last digits each time on a GPU."""
TOLERANCE = 0.001
"""Relative difference of a mean (of at least one unit) within which a replay on a GPU counts as the same."""
UNITS_OFF = 2.0
"""Quantiles may differ by two units, those of large sums by `TOLERANCE`: a day of a path that lies near a half rounds either way,
and a sum may hold two of them."""


def pinned(compute: Compute) -> Compute:
    """What forecasts are made with, given what the machine has: its device, but always the same threads."""
    return replace(compute, threads=THREADS)


@dataclass(frozen=True)
class NightForecast:
    """What forecasting a night came to.

    Attributes:
        vintage: the night's vintage.
        report: what making it did; None when a vintage that stands was kept.
        told: what a person should know of a vintage that was kept or made again, in words.
    """

    vintage: Vintage
    report: ForecastReport | None = None
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class Replayed:
    """What replaying a vintage came to.

    Attributes:
        vintage: the vintage.
        same_bytes: the files came out the same, byte for byte.
        same: they did, or hold the same rows, or rows within the stated tolerance of a GPU.
        told: what differs and why, or what was compared, in words.
    """

    vintage: Vintage
    same_bytes: bool
    same: bool
    told: tuple[str, ...]


def forecast_night(
    lake: Lake,
    settings: Settings,
    as_of: date,
    fitted: Fitted,
    model_version: str,
    *,
    trained_as_of: date,
    text_model: str | None = None,
    is_named: bool = False,
    compute: Compute | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> NightForecast:
    """Forecast a night with a version, unless its vintage stands: what a night said is never changed in silence.

    Args:
        lake: the home's lake.
        settings: the home's settings.
        as_of: the night.
        fitted: the version's forecaster.
        model_version: the version.
        trained_as_of: night whose knowledge it was trained on.
        text_model: see `make_forecasts`.
        is_named: a person named the version.
        compute: what `fitted` uses of the machine.
        force: make it anew even so.
        progress: told how many series are done.

    Raises:
        HistoryError: no order was known by then, nothing was sold within the active days, or the night's files are gone and
            cannot be made again as they were.
        ModelError: the forecaster's answer breaks the contract.
    """
    used = compute or pinned(Compute())
    standing = next((one for one in vintages(lake, as_of) if one.model_version == model_version), None)
    with night_view(lake, settings, as_of, fitted) as view:
        if standing is not None and not force:
            changed = _changed(lake, standing, view.snapshot, settings)
            state = standing.state(lake)
            if state == "stands":
                kept = "the vintage stays as it was made, --force makes it anew"
                return NightForecast(standing, told=tuple(f"{change}; {kept}" for change in changed))
            if changed:
                raise HistoryError(_lost(lake, standing, state, changed))
        if standing is not None:
            forget_vintage(lake, standing)
        report = make_forecasts(view, lake, settings, fitted, model_version, text_model=text_model, progress=progress)
    made = Vintage(
        as_of=as_of,
        model_version=model_version,
        trained_as_of=trained_as_of,
        is_named=is_named,
        data_snapshot=report.data_snapshot,
        series=report.series,
        forecast_rows=report.rows,
        total_rows=report.total_rows,
        forecasts_hash="",
        totals_hash="",
        settings_hash=forecast_settings_hash(settings),
        device=used.device,
        threads=used.threads,
        libraries=libraries(),
        made_at=now(),
        degraded=report.degraded,
    )
    days, totals = (file_hash(path) for path in made.files(lake).values())
    made = replace(made, forecasts_hash=days, totals_hash=totals)
    write_vintage(lake, made)
    if standing is None or force or made.hashes == standing.hashes:
        return NightForecast(made, report, _other_words(lake, settings, model_version, text_model))
    other = f"the night of {as_of} by {model_version} was made again from the same facts, and its bytes are NOT those of before"
    return NightForecast(made, report, (other, *_other_libraries(standing)))


def replay(
    lake: Lake,
    settings: Settings,
    vintage: Vintage,
    fitted: Fitted,
    *,
    text_model: str | None = None,
    device: str = "cpu",
    progress: Progress = silent,
) -> Replayed:
    """Make a vintage again beside the stored one, and compare; nothing of the home is changed.

    Args:
        lake: the home's lake.
        settings: the home's settings.
        vintage: what to replay.
        fitted: the forecaster of its version.
        text_model: see `make_forecasts`.
        device: where `fitted` runs.
        progress: told how many series are done.
    """
    state = vintage.state(lake)
    if state in {"removed", "missing"}:
        way_out = "" if state == "removed" else f"; {_make_again(lake, vintage)}"
        return Replayed(vintage, False, False, (_harm(lake, vintage, state) + way_out,))
    with lake.scratch() as scratch:
        again = Lake(scratch, lake.compute)
        try:
            with night_view(lake, settings, vintage.as_of, fitted) as view:
                snapshot = view.snapshot
                report = make_forecasts(
                    view,
                    again,
                    settings,
                    fitted,
                    vintage.model_version,
                    text_model=text_model,
                    home=lake.home,
                    progress=progress,
                )
        except AlmanacError as error:
            return Replayed(vintage, False, False, (str(error),))
        stored, made = vintage.files(lake), vintage.files(again)
        if state == "stands" and all(file_hash(made[table]) == one for table, one in vintage.hashes.items()):
            return Replayed(vintage, True, True, ())
        exact = {vintage.device, device} == {"cpu"}
        try:
            told = [
                told
                for table in FORECAST_TABLES
                if (told := _difference(lake, table, stored[table], made[table], exact))
            ]
        except DamagedFileError as error:
            return Replayed(vintage, False, False, (str(error), _make_again(lake, vintage)))
    if not told:
        how = (
            "the same rows" if exact else f"rows within {TOLERANCE} of a mean (on a GPU: {', '.join(NONDETERMINISTIC)})"
        )
        return Replayed(vintage, False, True, (how, *_changed(lake, vintage, snapshot, settings)))
    changed = _changed(lake, vintage, snapshot, settings)
    if state == "altered":
        told.append(f"{_harm(lake, vintage, state)}; {_make_again(lake, vintage, force=bool(changed))}")
    if report.degraded != vintage.degraded:
        told.append(f"members left out then: {vintage.degraded or 'none'}; left out now: {report.degraded or 'none'}")
    told += [*changed, *_other_libraries(vintage)]
    return Replayed(vintage, False, False, tuple(told))


def _changed(lake: Lake, vintage: Vintage, snapshot: str, settings: Settings) -> tuple[str, ...]:
    """What is no longer as it was when a vintage was made."""
    told = []
    if vintage.data_snapshot != snapshot:
        late = list(dated_back(lake, [vintage]))
        why = (
            f"{few(late)} came later and dates lines back to it (`available` in the mapping says when lines count as known)"
            if late
            else "no delivery since dates lines back to it; a file of the lake's ledgers was changed or removed by hand, or "
            "`calendar`, `closed_on` or a mapping was changed, or a newer Almanac reads them otherwise"
        )
        told.append(f"the facts known on the night of {vintage.as_of} have changed since: {why}")
    if vintage.settings_hash not in {"", forecast_settings_hash(settings)}:
        told.append("the settings that shape a forecast have changed since (forecast, shop, calendar, language_model)")
    return tuple(told)


def _other_words(lake: Lake, settings: Settings, model_version: str, text_model: str | None) -> tuple[str, ...]:
    """That a version reads the vectors of a language model that is the shop's no longer."""
    if not text_model:
        return ()
    try:
        now_read = find_language_model(settings.language_model, home=lake.home).model_id
    except AlmanacError:
        return ()  # whoever encodes texts says so
    if now_read == text_model:
        return ()
    return (
        f"{model_version} learned from the text vectors of {text_model} and goes on reading those, though texts are encoded "
        f"with {now_read} now: items whose texts came since have no words for it, until a version with {now_read} is champion",
    )


def _other_libraries(vintage: Vintage) -> tuple[str, ...]:
    """What made a vintage, where it is not what would make it now."""
    now_used = libraries()
    return () if vintage.libraries == now_used else (f"made with {vintage.libraries}, made again with {now_used}",)


def _harm(lake: Lake, vintage: Vintage, state: State) -> str:
    """What became of a vintage's files, in words."""
    if state == "removed":
        return f"retention removed its forecasts on {vintage.removed_on}"
    if state == "missing":
        gone = ", ".join(str(path) for path in vintage.files(lake).values() if not path.exists())
        return f"{gone}: gone, though the vintage was never removed"
    return "the stored files are not what was written: somebody changed them, or a newer Almanac wrote them anew"


def _make_again(lake: Lake, vintage: Vintage, *, force: bool = False) -> str:
    """The command that makes a vintage again."""
    named = f"run --home {lake.home} --as-of {vintage.as_of} --model-version {vintage.model_version}"
    own = f"backfill --home {lake.home} --from {vintage.as_of} --to {vintage.as_of}"
    command = f"almanac {named if vintage.is_named else own}"
    return f"`{command} --force` makes it anew" if force else f"`{command}` makes it again"


def _lost(lake: Lake, vintage: Vintage, state: State, changed: tuple[str, ...]) -> str:
    """Why a vintage whose files do not stand is left so, and the way out."""
    return (
        f"{_harm(lake, vintage, state)}; and made again they would not be the same: {'; '.join(changed)}. The vintage of "
        f"{vintage.as_of} by {vintage.model_version} is left as it is: restore its files from a backup, or "
        f"{_make_again(lake, vintage, force=True)} from what is known of that night now"
    )


def few(names: Sequence[str]) -> str:
    """The first three of some names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


def _difference(lake: Lake, table: str, stored: Path, made: Path, exact: bool) -> str:
    """How two files of a forecast table differ, in words; nothing when they do not."""
    names = [name for name in TABLES[table].column_names if name != "as_of"]
    key = [name for name in TABLES[table].key if name not in {"as_of", "model_version"}]
    values = ("mean", *QUANTILE_COLUMNS)
    off = [f"abs(a.mean - b.mean) > {TOLERANCE} * greatest(abs(a.mean), 1)"]
    off += [f"abs(a.{name} - b.{name}) > greatest({UNITS_OFF}, {TOLERANCE} * a.{name})" for name in QUANTILE_COLUMNS]
    differs = " OR ".join([f"a.{name} <> b.{name}" for name in values] if exact else off)
    rest = (
        [] if not exact else [f"a.{name} <> b.{name}" for name in names if name not in {*key, *values, "data_snapshot"}]
    )
    with lake.connect() as con:
        for alias, path in (("stored", stored), ("made", made)):
            con.execute(f"CREATE VIEW {alias} AS FROM read_parquet('{sql_path(path)}', hive_partitioning = false)")
        count, worst = con.execute(
            f"SELECT count(*) FILTER (a.mean IS NULL OR b.mean IS NULL OR {' OR '.join([differs, *rest])}), "
            f"max(abs(a.mean - b.mean)) FROM stored AS a FULL JOIN made AS b USING ({', '.join(key)})"
        ).fetchall()[0]
    return f"{table}: {count:,} rows differ, a mean by up to {worst or 0:.6g} units" if count else ""
