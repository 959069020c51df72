"""Verification: the stored forecasts of a night, made again and compared byte for byte."""

from datetime import date
from pathlib import Path

from pipeline.errors import HistoryError, ModelError
from pipeline.forecasting.replay import Replayed, pinned, replay
from pipeline.forecasting.vintages import vintages
from pipeline.lake import Lake
from pipeline.migrations import bring_up_to_date
from pipeline.settings import load_settings
from resources.compute import pick_compute
from resources.lake import home_lock
from resources.progress import REPORTER
from resources.tracking import Tracking


def verify_night(home: Path, as_of: date | None = None) -> list[Replayed]:
    """Replay every vintage of a night, with the version, device and threads that made it.

    Args:
        home: the home.
        as_of: the night; default: the newest one forecast.

    Raises:
        HistoryError: the night was never forecast.
        HomeBusyError: another run holds the home.
    """
    settings = load_settings(home)
    lake = Lake(home, settings.compute)
    with home_lock(home):
        bring_up_to_date(lake)
        found = vintages(lake)
        nights = sorted({one.as_of for one in found})
        night = as_of or (nights[-1] if nights else None)
        wanted = [one for one in found if one.as_of == night]
        if not wanted:
            raise HistoryError(_none(home, nights, as_of))
        store = Tracking(home, settings.shop.name)
        replayed = []
        for vintage in wanted:
            used = pinned(pick_compute(settings.compute.model_copy(update={"device": _device(vintage.device)})))
            try:
                version = store.version(vintage.model_version)
                fitted, words = store.load(version, used), (store.recipe(version.run_id) or {}).get("text")
            except ModelError as error:  # the night's other vintages are compared all the same
                replayed.append(Replayed(vintage, False, False, (str(error),)))
            else:
                replayed.append(
                    replay(lake, settings, vintage, fitted, text_model=words, device=used.device, progress=REPORTER)
                )
        REPORTER.close()
    return replayed


def _device(wanted: str) -> str:
    """The device that made a vintage; without a GPU its replay runs on the CPU, within tolerance."""
    import torch

    return wanted if wanted == "cpu" or torch.cuda.is_available() else "cpu"


def _none(home: Path, nights: list[date], as_of: date | None) -> str:
    if not nights:
        return f"{home}: no night was forecast yet; run `almanac run --home {home}`"
    near = min(nights, key=lambda night: abs((night - as_of).days)) if as_of else nights[-1]
    return (
        f"{home}: the night of {as_of} was not forecast; there are {len(nights)} nights from {nights[0]} to {nights[-1]}, "
        f"the nearest is {near}"
    )
