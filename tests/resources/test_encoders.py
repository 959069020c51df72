"""Pretrained encoders in MLflow: which one a night starts from."""

from datetime import date, timedelta

import pytest
import torch

from assets.training import _encoders
from pipeline.models.base import Compute
from pipeline.models.networks.encoder import Encoder
from pipeline.settings import Settings
from resources.tracking import Tracking

NIGHT = date(2024, 6, 30)
KIND = "quantile_mlp"


@pytest.fixture
def store(tracking: Tracking, settings: Settings) -> Tracking:
    """Encoders of three nights, each of weights that say how many days ago."""
    for ago in (200, 181, 30):
        made = NIGHT - timedelta(days=ago)
        with tracking.training_run(as_of=made, kind="ensemble", compute=Compute(), settings=settings) as run:
            tracking.register_encoder(run, Encoder(KIND, made, {"w": torch.tensor([float(ago)])}, 5, losses=(1.0,)))
    return tracking


def found(store: Tracking, settings: Settings, night: date = NIGHT, **training: object) -> float | None:
    content = settings.model_dump()
    content["training"] |= {"pretrain_steps": 5} | training
    encoder = _encoders(store, Settings.model_validate(content), night).get(KIND)
    return None if encoder is None else float(encoder.weights["w"][0])


def test_a_night_starts_from_the_newest_of_earlier_nights_until_it_is_too_old(
    store: Tracking, settings: Settings
) -> None:
    assert found(store, settings) == 30
    assert found(store, settings, NIGHT - timedelta(days=30)) == 181, "its own would be there when it is run again"
    assert found(store, settings, NIGHT + timedelta(days=151)) == 30
    assert found(store, settings, NIGHT + timedelta(days=152)) is None, "half a year old: time to pretrain again"
    assert found(store, settings, NIGHT, pretrain_steps=0) is None


def test_a_damaged_encoder_gives_way_to_an_older_one(store: Tracking, settings: Settings) -> None:
    newest = max(store.store.artifacts.rglob("encoder.json"), key=lambda path: path.stat().st_mtime)
    newest.write_text("{}", encoding="utf-8")
    assert found(store, settings) == 181
