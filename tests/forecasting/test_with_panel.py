"""The night with the real panel and a real forecaster, small."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.as_of import as_of_view
from pipeline.enrichment.calendar import build_calendar
from pipeline.forecasting import nightly
from pipeline.forecasting.nightly import make_forecasts
from pipeline.lake import Lake
from pipeline.models.base import Compute
from pipeline.models.registry import make
from pipeline.training.panel import build_panel
from tests.forecasting.fakes import AS_OF, some_settings, write_demand


def test_a_night_of_seasonal_naive_repeats_last_week_and_does_not_depend_on_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, settings = Lake(tmp_path), some_settings()
    days = [AS_OF - timedelta(days=n) for n in range(150)]
    write_demand(
        lake,
        [(item, "", day, size * day.isoweekday()) for size, item in enumerate("abcde", 1) for day in days],
        known_on=AS_OF,
    )
    build_calendar(lake, settings, days[-1], AS_OF + timedelta(days=91))

    def night() -> list[Any]:
        with as_of_view(lake, AS_OF) as view:
            panel = build_panel(view, settings, horizon=91)
            fitted = make("seasonal_naive", settings).fit(panel, folder=tmp_path / "fit", compute=Compute())
            make_forecasts(view, lake, settings, fitted, "naive/1")
        with lake.connect() as con:
            lake.attach(con, "forecasts", "forecast_totals")
            return [con.execute(f"FROM {table}").fetchall() for table in ("forecasts", "forecast_totals")]

    whole = night()
    assert len(whole[0]) == 5 * 91
    first = {row[0]: row[5] for row in whole[0] if row[2] == date(2017, 11, 27)}
    assert first == {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "e": 5.0}
    monkeypatch.setattr(nightly, "SLICE", 2)
    assert night() == whole
