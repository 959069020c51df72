"""The shared fixtures: homes load, and fast tests may not ask for slow fixtures."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.examples.generated_shop import GeneratedShop
from pipeline.examples.shop_files import WrittenFile
from pipeline.settings import load_settings


def test_the_small_home_holds_the_files_of_the_small_shop(
    small_home: Path, small_shop: GeneratedShop, small_files: tuple[WrittenFile, ...]
) -> None:
    here = {path.name: path.read_bytes() for path in (small_home / "orders").iterdir()}
    assert here == {file.path.name: file.path.read_bytes() for file in small_files}
    assert load_settings(small_home).shop.currency == "CNY"
    assert 10_000 < len(small_shop.lines) < 20_000


def test_a_home_takes_settings_over_the_defaults(make_home: Callable[..., Path], small_shop: GeneratedShop) -> None:
    home = make_home(small_shop, by="day", forms=("csv.gz",), training={"max_steps": 3})
    assert load_settings(home).training.max_steps == 3
    assert load_settings(home).training.hidden == 8
    assert len(list((home / "orders").glob("orders_*.csv.gz"))) > 190


@pytest.mark.parametrize(
    ("fixture", "mark", "refused"),
    [("real_orders", "", True), ("real_orders", "real_orders", False), ("small_shop", "", False)],
)
def test_fast_tests_may_not_ask_for_slow_fixtures(
    pytestconfig: pytest.Config, fixture: str, mark: str, refused: bool
) -> None:
    (shared,) = (p for p in pytestconfig.pluginmanager.get_plugins() if hasattr(p, "SLOW_FIXTURES"))
    item: Any = SimpleNamespace(
        nodeid="test_x", fixturenames=[fixture], get_closest_marker=lambda name: name if name == mark else None
    )
    if refused:
        with pytest.raises(pytest.UsageError, match="test_x asks for real_orders"):
            shared.pytest_collection_modifyitems([item])
    else:
        shared.pytest_collection_modifyitems([item])
