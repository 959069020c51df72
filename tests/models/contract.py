"""What every forecaster's answer has to keep, see `pipeline.models.base`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import ModelError
from pipeline.models.base import Compute, Fitted, Forecast
from pipeline.models.panel import Panel
from pipeline.models.quantiles import GRID_LEVELS
from pipeline.models.seasonal_naive import SeasonalNaive
from pipeline.settings import QUANTILES


def answer_of(fitted: Fitted, panel: Panel, horizon: int) -> Forecast:
    """The forecaster's answer with its grid, under the contract: shapes, finite, non-negative, non-crossing, whole units."""
    forecast = fitted.forecast(panel, horizon, grid=True)
    assert isinstance(fitted, Fitted)
    assert forecast.grid is not None
    assert forecast.mean.shape == (panel.series, horizon)
    assert forecast.quantiles.shape == (panel.series, horizon, len(QUANTILES))
    assert forecast.grid.shape == (panel.series, horizon, len(GRID_LEVELS))
    for values in (forecast.mean, forecast.quantiles, forecast.grid):
        assert np.isfinite(values).all()
        assert (values >= 0).all()
    assert (forecast.quantiles == np.rint(forecast.quantiles)).all()
    assert (np.diff(forecast.quantiles) >= 0).all()
    # the ensemble's grid is a sum of products: its last digits may round the other way
    assert (np.diff(forecast.grid) >= -1e-9).all()
    return forecast


def check_refused_starts(update: Callable[[Any], object], champion: Any, panel: Panel, folder: Path) -> None:
    """An update refuses to go on from another kind of forecaster, and from one that has seen all days of the panel."""
    with pytest.raises(ModelError, match=r"cannot go on from a 'seasonal_naive'"):
        update(SeasonalNaive().fit(panel, folder=folder, compute=Compute(threads=1)))
    with pytest.raises(ModelError, match=r"has seen all days up to"):
        update(replace(champion, trained_on={**champion.trained_on, "as_of": panel.as_of.isoformat()}))
