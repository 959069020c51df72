"""The served model: a long frame in, the night's forecast out, as a standard MLflow model."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import HistoryError, ModelError
from pipeline.models import registry
from pipeline.models.base import Compute
from pipeline.models.panel import Panel
from pipeline.settings import QUANTILE_COLUMNS, Settings
from pipeline.tracking.serving import ServingContext, forecast_frame
from resources.tracking import Tracking


def long_frame(panel: Panel, *, ahead: bool) -> pd.DataFrame:
    """The panel as a caller of the served model would send it."""
    days = panel.history + (panel.horizon if ahead else 0)
    units = np.full((panel.series, days), np.nan)
    units[:, : panel.history] = panel.units
    return pd.DataFrame(
        {
            "item_id": np.repeat(panel.item_id, days),
            "day": np.tile(pd.date_range(panel.first_day, periods=days), panel.series),
            "units": units.reshape(-1),
            "price": panel.price[:, :days].reshape(-1).astype(float),
            "promotion_mailer": panel.promotion[:, :days, 0].reshape(-1).astype(float),
        }
    )


@pytest.mark.parametrize("kind", ["seasonal_naive", pytest.param("ensemble", marks=pytest.mark.slow)])
def test_the_version_is_a_standard_mlflow_model_that_forecasts_as_the_night_did(
    kind: str, home: Path, settings: Settings, panel: Panel, tmp_path: Path
) -> None:
    """In a process of its own that has only what MLflow gives it: the code comes from the version, not the checkout."""
    small = {"training": {"max_steps": 3, "pretrain_steps": 1, "hidden": 4, "batch_size": 8}}
    settings = Settings.model_validate(settings.model_dump() | small)
    fitted = registry.make(kind, settings).fit(panel, folder=tmp_path / "training", compute=Compute())
    tracking = Tracking(home, "Test Shop")
    with tracking.training_run(as_of=panel.as_of, kind=kind, compute=Compute(), settings=settings) as run:
        run.log_data("a" * 32, {})
        run.log_fitted(fitted)
        version = tracking.register(run, fitted, panel, promote=True)
    frame = long_frame(panel, ahead=True)
    folder = home
    frame.to_parquet(folder / "frame.parquet")
    script = f"""
import mlflow, pandas, pathlib
mlflow.set_tracking_uri({tracking.store.uri!r})
model = mlflow.pyfunc.load_model("models:/{version.name}@champion")
import pipeline
assert pathlib.Path(pipeline.__file__).is_relative_to({str(tracking.store.artifacts)!r}), pipeline.__file__
frame = pandas.read_parquet({str(folder / "frame.parquet")!r})
model.predict(frame, params={{"horizon": 14}}).to_parquet({str(folder / "out.parquet")!r})
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    served = pd.read_parquet(folder / "out.parquet")
    expected = forecast_frame(panel, fitted.forecast(panel, 14))
    pd.testing.assert_frame_equal(served, expected, check_dtype=False)
    assert list(served.columns[-len(QUANTILE_COLUMNS) :]) == list(QUANTILE_COLUMNS)


def test_the_served_panel_is_the_one_that_the_frame_was_cut_from(panel: Panel, tmp_path: Path) -> None:
    ServingContext.of(panel).save(tmp_path / "context")
    served = ServingContext.load(tmp_path / "context").panel(long_frame(panel, ahead=True), panel.horizon)
    for name in Panel.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(served, name), getattr(panel, name), err_msg=name)


def test_the_served_model_knows_no_price_before_the_first_and_carries_the_last_one_on(panel: Panel) -> None:
    frame = long_frame(panel, ahead=False)
    first_price = pd.Timestamp("2024-02-01")
    frame.loc[frame["day"] < first_price, "price"] = np.nan
    served = ServingContext.of(panel).panel(frame, 7)
    before = (first_price - pd.Timestamp(panel.first_day)).days
    assert np.isnan(served.price[:, :before]).all()
    assert (served.price[:, panel.history :] == panel.price[:, [panel.history - 1]]).all()


def test_an_item_unknown_in_training_has_no_text_and_no_category(panel: Panel) -> None:
    frame = long_frame(panel, ahead=False).replace({"item_id": {"item 1": "a new one"}})
    served = ServingContext.of(panel).panel(frame, 7)
    assert served.item_id.tolist() == ["a new one", "item 0", "item 2"]
    assert not served.text[0].any()
    assert served.category.tolist() == [0, 0, 0]
    np.testing.assert_array_equal(served.text[1:], panel.text[[0, 2]])
    assert served.item_text.tolist() == ["", "text 0", "text 2"]


def test_a_member_that_cannot_answer_where_it_is_served_is_an_error(
    panel: Panel, settings: Settings, tmp_path: Path
) -> None:
    """The night would go on without it; whoever asks for a version wants that version's forecast."""
    from pipeline.tracking.served_model import AlmanacModel

    members = {name: {"on": name in {"seasonal_naive", "croston"}} for name in settings.members.model_dump()}
    settings = Settings.model_validate(settings.model_dump() | {"members": members})
    fitted = registry.make("ensemble", settings).fit(panel, folder=tmp_path / "training", compute=Compute())
    fitted.save(tmp_path / "forecaster")
    ServingContext.of(panel).save(tmp_path / "context")
    places = SimpleNamespace(artifacts={part: str(tmp_path / part) for part in ("forecaster", "context")})
    model = AlmanacModel()
    model.load_context(places)
    assert len(model.predict(long_frame(panel, ahead=True), {"horizon": 7})) == 7 * panel.series
    next((tmp_path / "forecaster" / "croston").glob("*.json")).write_text("{}", encoding="utf-8")
    model.load_context(places)
    with pytest.raises(ModelError, match="croston"):
        model.predict(long_frame(panel, ahead=True), {"horizon": 7})


def test_days_without_a_row_had_no_demand(panel: Panel) -> None:
    frame = long_frame(panel, ahead=False)
    served = ServingContext.of(panel).panel(frame[frame["units"] > 4], 7)
    expected = np.where(panel.units > 4, panel.units, 0)
    assert served.units.sum() == expected.sum()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="units"), "lacks units"),
        (lambda frame: frame.assign(units=np.nan), "no row has `units`"),
        (lambda frame: frame.assign(day=frame["day"] + pd.Timedelta(days=25)), "train a newer version"),
    ],
    ids=["no units column", "no history", "a night beyond the calendar"],
)
def test_what_cannot_be_served_is_said(panel: Panel, change: Any, message: str) -> None:
    with pytest.raises((ModelError, HistoryError), match=message):
        ServingContext.of(panel).panel(change(long_frame(panel, ahead=False)), 7)
