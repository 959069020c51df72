"""A home whose MLflow store is a copy: making a fresh database runs all of MLflow's migrations, seconds each time."""

import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from pipeline.models.panel import Panel
from pipeline.settings import Settings
from resources.mlflow_store import MlflowStore
from resources.tracking import Tracking


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = MlflowStore(tmp_path_factory.mktemp("template"))
    store.client.search_registered_models()
    return store.database


@pytest.fixture
def home(tmp_path: Path, empty_store: Path) -> Path:
    database = MlflowStore(tmp_path / "home").database
    database.parent.mkdir(parents=True)
    shutil.copy(empty_store, database)
    return tmp_path / "home"


@pytest.fixture
def settings() -> Settings:
    return Settings.model_validate(
        {
            "shop": {"name": "Test Shop", "country": "GB", "timezone": "Europe/London", "currency": "GBP"},
            "sources": [{"mapping": "online-retail-ii"}],
        }
    )


@pytest.fixture
def tracking(home: Path) -> Tracking:
    return Tracking(home, "Test Shop")


@pytest.fixture
def panel() -> Panel:
    return make_panel()


def make_panel(*, series: int = 3, history: int = 120, horizon: int = 28, seed: int = 1) -> Panel:
    """Series with a week's rhythm, prices that move, one promotion, and a closed day."""
    random = np.random.default_rng(seed)
    days = np.arange(history + horizon)
    level = 3 + 2 * np.arange(series)[:, None] + 2 * (days % 7 == 5)
    units = random.poisson(level)[:, :history].astype(np.float32)
    units[:, 0] = 1
    promotion = np.zeros((series, history + horizon, 1), dtype=np.float32)
    promotion[0, 10:20] = 0.5
    promotion[1, history + 3 : history + 6] = 1.0
    return Panel(
        item_id=np.array([f"item {number}" for number in range(series)]),
        location=np.array([""] * series),
        first_day=date(2024, 1, 1),
        units=units,
        units_winsorised=units,
        price=np.round(1 + random.random((series, history + horizon)), 2).astype(np.float32),
        promotion=promotion,
        promotion_kinds=("mailer",),
        calendar=np.stack([days % 7, np.sin(days)], axis=1).astype(np.float32),
        calendar_names=("weekday", "wave"),
        closed=days == 50,
        first_sold=np.zeros(series, dtype=np.int64),
        text=random.random((series, 4)).astype(np.float32),
        category=np.arange(series, dtype=np.int64) % 2,
        category_names=("", "gifts"),
        item_text=np.array([f"text {number}" for number in range(series)]),
    )
