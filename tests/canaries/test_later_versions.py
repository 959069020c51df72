"""A night of the past uses no model that was trained on what came after it, and decides nothing by its training."""

import logging
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.forecasting.replay import forecast_night
from pipeline.lake import Lake
from pipeline.model_settings import TrainingSettings
from pipeline.models.base import Compute
from pipeline.settings import Settings
from pipeline.training.cadence import Trained, decide
from resources.tracking import ModelVersion, Tracking
from tests.canaries.nights import differing, night_panel, trained
from tests.canaries.shops import a_day, random_shop, small_settings, write

TRAINED, NIGHT, LATER = a_day(50), a_day(60), a_day(75)
SHAPED = "0123456789abcdef"


def register(tracking: Tracking, lake: Lake, settings: Settings, night: date) -> ModelVersion:
    """A version that was trained on what a night knew, and became champion."""
    panel = night_panel(lake, settings, night)
    with tracking.training_run(as_of=night, kind="lstm", compute=Compute(), settings=settings) as run:
        run.log_data(panel.fingerprint(), {"series": panel.series})
        return tracking.register(run, trained(panel, settings), panel, promote=True)


def said(tracking: Tracking, lake: Lake, settings: Settings) -> dict[str, bytes]:
    """The files of the night's forecasts, by the champion that the night could know."""
    version = tracking.champion(NIGHT)
    assert version is not None
    vintage = forecast_night(
        lake, settings, NIGHT, tracking.load(version), version.model_version, trained_as_of=version.as_of, force=True
    ).vintage
    return {table: path.read_bytes() for table, path in vintage.files(lake).items()}


def test_a_version_trained_later_changes_no_byte_of_a_past_night(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    small = small_settings()
    lake = write(Lake(tmp_path, small.compute), random_shop(3))
    tracking = Tracking(tmp_path, small.shop.name)
    first = register(tracking, lake, small, TRAINED)
    before = said(tracking, lake, small)
    later = register(tracking, lake, small, LATER)
    assert differing(before, said(tracking, lake, small)) == []
    assert tracking.champion(NIGHT) == first

    # the leak: whatever is champion today
    real = Tracking.champion
    monkeypatch.setattr(Tracking, "champion", lambda self, as_of=None: real(self))
    assert tracking.champion(NIGHT) == later
    assert differing(before, said(tracking, lake, small)) == ["forecast_totals", "forecasts"]


trainings = st.lists(
    st.builds(
        Trained,
        model_version=st.integers(1, 9).map(lambda number: f"canary/{number}"),
        as_of=st.integers(0, 120).map(a_day),
        kind=st.sampled_from(["full", "update"]),
        parent=st.just(""),
        settings_hash=st.sampled_from([SHAPED, "another"]),
    ),
    max_size=8,
)


@given(known=trainings, night=st.integers(0, 120).map(a_day), drift=st.sampled_from(["", "psi:units 0.4 > 0.25"]))
def test_whether_a_night_trains_does_not_depend_on_later_trainings(
    known: list[Trained], night: date, drift: str
) -> None:
    by_then = [one for one in known if one.as_of <= night]
    champion = by_then[0].model_version if by_then else None
    then, now = (
        decide(some, night, TrainingSettings(), shaped_by=SHAPED, champion=champion, drift=drift)
        for some in (by_then, known)
    )
    assert then == now
