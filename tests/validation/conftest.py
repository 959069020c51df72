"""The small home of the ingestion tests."""

import importlib.util
from pathlib import Path

import pytest

_path = Path(__file__).parents[1] / "ingestion" / "conftest.py"
_spec = importlib.util.spec_from_file_location("small_home", _path)
_small = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_small)


@pytest.fixture
def home(tmp_path: Path) -> "_small.Home":
    return _small.Home(tmp_path)
