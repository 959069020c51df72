"""One night of a small generated shop, run once through the command line for all end-to-end tests."""

from datetime import date
from pathlib import Path

import pytest

from pipeline.cli import main


@pytest.fixture(scope="session")
def night() -> date:
    return date(2023, 12, 20)
