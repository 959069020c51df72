"""One night's forecasts: every active item, a season ahead, days and sums.

The series go through the fitted forecaster in slices of rows, so that memory does not grow with the assortment:
68,000 items × 91 days are 6.2 million rows, written as they come. Nothing here depends on where a slice ends.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.as_of import AsOfView, as_of_view
from pipeline.errors import ModelError
from pipeline.forecasting.periods import KINDS, periods
from pipeline.forecasting.rows import distribution, repeated, stamped
from pipeline.forecasting.seasons import Seasons
from pipeline.forecasting.similar import similar_items
from pipeline.forecasting.totals import TOTAL, Group, Totals
from pipeline.forecasting.vintages import part_of
from pipeline.lake import Lake
from pipeline.models.base import Fitted, Forecast, Progress, silent
from pipeline.models.ensemble import launches_of
from pipeline.models.panel import Panel
from pipeline.models.paths import Paths, SeriesPaths, finest
from pipeline.models.quantiles import whole_units
from pipeline.settings import QUANTILES, Settings
from pipeline.training.panel import active_series, announced_series, build_panel

SLICE = 2048
"""Series forecast at once: about 200 MB with four years of history and a grid of 40 levels."""


@dataclass(frozen=True)
class ForecastReport:
    """What a night's forecasting did.

    Attributes:
        as_of: the night.
        model_version: version that made the forecasts.
        data_snapshot: hash of the facts they were made from.
        series: series forecast.
        rows: rows of `forecasts`.
        total_rows: rows of `forecast_totals`.
        similar_rows: rows of `similar_items`.
        season_rows: rows of `item_seasons`.
        expected_units: expected units of all series over the horizon.
        first_day: first day forecast.
        last_day: last day forecast.
        seconds: duration.
        degraded: members of the model that were left out, and why; empty when all answered.
    """

    as_of: date
    model_version: str
    data_snapshot: str
    series: int
    rows: int
    total_rows: int
    similar_rows: int
    season_rows: int
    expected_units: float
    first_day: date
    last_day: date
    seconds: float
    degraded: str = ""


@contextmanager
def night_view(lake: Lake, settings: Settings, as_of: date, fitted: Fitted) -> Iterator[AsOfView]:
    """What a forecaster reads of a night: the facts known then, as far back as it looks.

    Raises:
        HistoryError: no order was known by then.
    """
    since = as_of - timedelta(days=fitted.lookback_days - 1)
    with as_of_view(lake, as_of, by_location=settings.shop.by_location, since=since) as view:
        yield view


def make_forecasts(
    view: AsOfView,
    lake: Lake,
    settings: Settings,
    fitted: Fitted,
    model_version: str,
    *,
    text_model: str | None = None,
    home: Path | None = None,
    progress: Progress = silent,
) -> ForecastReport:
    """Forecast every item sold within `forecast.active_days` or announced, and the sums of those forecasts.

    Writes one part, named after the model version, of the night's partition of `forecasts`, `forecast_totals`, `similar_items`
    and `item_seasons`; a repeat gives the same bytes, and a killed run leaves what stood before.

    Args:
        view: what was known on the night (see `night_view`).
        lake: where the forecasts are written.
        settings: horizon, active days, sample paths, by location or not.
        fitted: the champion.
        model_version: its version, as the rows name it.
        text_model: language model whose vectors it learned, '' for none: those of another would say nothing to it;
            default: that of the settings.
        home: folder that a relative language model is relative to; default: the lake's.
        progress: told how many series are done.

    Raises:
        HistoryError: nothing was sold within the active days before the night.
        ModelError: the forecaster answers with the wrong shape or with numbers that are not finite.
    """
    began = time.perf_counter()
    forecast = settings.forecast
    series = active_series(view, forecast.active_days)
    if launches_of(fitted):
        series = sorted(series + announced_series(view, forecast.horizon_days))
    first_day = view.as_of + timedelta(days=1)
    stamp = {"model_version": model_version, "data_snapshot": view.snapshot}
    partition = {"as_of": view.as_of.isoformat()}
    part = part_of(model_version)
    rows = total_rows = done = 0
    similar: list[pa.Table] = []
    seasons = Seasons(fitted)
    units = 0.0
    failed: dict[str, str] = {}
    totals = Totals(
        forecast.horizon_days,
        forecast.sample_paths,
        item_periods=periods(first_day, forecast.horizon_days, KINDS[1:]),
        group_periods=periods(first_day, forecast.horizon_days, KINDS),
    )
    with (
        lake.stream("forecasts", partition, part) as write_days,
        lake.stream("forecast_totals", partition, part) as write_totals,
    ):
        for panel in _panels(view, settings, series, fitted.lookback_days, home or lake.home, model_id=text_model):
            answer = _checked(
                fitted.forecast(panel, forecast.horizon_days, grid=True), panel, forecast.horizon_days, model_version
            )
            failed |= answer.failed
            paths = Paths(
                view.as_of,
                model_version,
                fitted.dependence,
                finest(answer)[1],
                forecast.horizon_days,
                forecast.sample_paths,
            )
            days = _days(panel, answer, first_day)
            items = totals.add(
                SeriesPaths(paths, panel.item_id, panel.location, answer),
                _groups(panel, by_location=settings.shop.by_location),
            )
            write_days(stamped(days, stamp))
            write_totals(stamped(items, stamp))
            rows, total_rows = rows + len(days), total_rows + len(items)
            similar.append(similar_items(panel, fitted))
            seasons.add(panel)
            units += float(answer.mean.sum())
            done += panel.series
            progress("forecast", done, len(series))
        groups = totals.groups()
        write_totals(stamped(groups, stamp))
        total_rows += len(groups)
    # where there are none, those of an earlier forecast by this version go
    beside = {"similar_items": pa.concat_tables(similar), "item_seasons": seasons.rows(view)}
    for name, table in beside.items():
        lake.write(view.con, name, partition, stamped(table, {"model_version": model_version}), part)
    return ForecastReport(
        as_of=view.as_of,
        model_version=model_version,
        data_snapshot=view.snapshot,
        series=done,
        rows=rows,
        total_rows=total_rows,
        similar_rows=len(beside["similar_items"]),
        season_rows=len(beside["item_seasons"]),
        expected_units=units,
        first_day=first_day,
        last_day=first_day + timedelta(days=forecast.horizon_days - 1),
        seconds=time.perf_counter() - began,
        degraded="; ".join(f"{name}: {why}" for name, why in sorted(failed.items())),
    )


def _panels(
    view: AsOfView,
    settings: Settings,
    series: list[tuple[str, str]],
    history_days: int,
    home: Path,
    *,
    model_id: str | None,
) -> Iterator[Panel]:
    """The series' panels, one per slice."""
    for start in range(0, len(series), SLICE):
        yield build_panel(
            view,
            settings,
            horizon=settings.forecast.horizon_days,
            series=series[start : start + SLICE],
            model_id=model_id,
            history_days=history_days,
            home=home,
        )


def _checked(answer: Forecast, panel: Panel, horizon: int, model_version: str) -> Forecast:
    """The forecast under the contract: right shapes, finite, non-negative, non-crossing, whole quantiles."""
    shape = (panel.series, horizon)
    got = (answer.mean.shape, answer.quantiles.shape)
    if got != (shape, (*shape, len(QUANTILES))):
        raise ModelError(
            f"{model_version}: forecast of {shape[0]} series × {shape[1]} days has the shapes {got[0]} and {got[1]}"
        )
    for what, values in (("mean", answer.mean), ("quantiles", answer.quantiles), ("grid", answer.grid)):
        if values is not None and not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0][0])
            raise ModelError(
                f"{model_version}: {what} not finite for item {str(panel.item_id[row])!r}; train a new version "
                "or put the champion alias back on an earlier one"
            )
    return replace(
        answer, mean=np.maximum(answer.mean.astype(np.float64), 0.0), quantiles=whole_units(answer.quantiles)
    )


def _groups(panel: Panel, *, by_location: bool) -> list[list[Group]]:
    """Per series, the groups that it is summed into."""
    categories = [Group("category", name, "") for name in panel.category_names]
    locations = {name: Group("location", "", name) for name in set(panel.location.tolist())} if by_location else {}
    return [
        [TOTAL, categories[category], *([locations[location]] if by_location else [])]
        for category, location in zip(panel.category.tolist(), panel.location.tolist(), strict=True)
    ]


def _days(panel: Panel, answer: Forecast, first_day: date) -> pa.Table:
    """Rows of `forecasts`: series × days."""
    horizon = answer.mean.shape[1]
    start = np.datetime64(first_day, "D")
    ahead = np.tile(np.arange(1, horizon + 1, dtype=np.int32), panel.series)
    columns: dict[str, Any] = {
        "item_id": repeated(panel.item_id.tolist(), horizon),
        "location": repeated(panel.location.tolist(), horizon),
        "target_date": pa.array(start + (ahead - 1).astype("timedelta64[D]")),
        "horizon_days": pa.array(ahead),
    }
    return pa.table(columns | distribution(answer.mean, answer.quantiles))


def weekly_totals(lake: Lake, as_of: date, model_version: str) -> list[dict[str, Any]]:
    """The whole shop by week, as a night's version forecast it: a few rows for people to look at."""
    with lake.connect() as con:
        found = con.execute(
            f"SELECT period_start AS week, mean, q10, q50, q90 FROM ({lake.select('forecast_totals')}) "
            "WHERE level = 'total-week' AND as_of = $1 AND model_version = $2 ORDER BY week",
            [as_of, model_version],
        )
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
