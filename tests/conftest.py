"""Fixtures that all tests share: a small generated shop with known truth, homes made from it, and the real orders.

Two tiers: whatever takes more than a moment is a slow fixture and only tests marked `slow` (or `real_orders`) may ask
for it; collection fails otherwise, so that the fast tier stays fast.
"""

import os
from collections.abc import Callable
from datetime import date
from pathlib import Path

import hypothesis
import pytest
import yaml

from pipeline.examples.generated_shop import GeneratedShop, ShopSpec, generate
from pipeline.examples.shop_files import WrittenFile, write_shop

# Great Expectations would report usage; two cores are shared with other tests and workers
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# CI judges the change, not the luck of the draw; everywhere else every run tries other examples
hypothesis.settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")

SLOW_FIXTURES = frozenset({"real_orders", "night_home"})
"""Fixtures that take more than a moment; others are added here as they are written."""

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
REAL_ORDERS = SHARED / "data" / "online_retail_II" / "orders"

SMALL_SHOP = ShopSpec(seed=11, first_day=date(2022, 1, 1), days=200, items=40, lines_per_day=60)

MakeHome = Callable[..., Path]
"""Makes a home in a temporary folder; see the fixture `make_home`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse fast tests that ask for slow fixtures."""
    wrong = [
        f"{item.nodeid} asks for {', '.join(sorted(slow))}"
        for item in items
        if (slow := SLOW_FIXTURES & set(getattr(item, "fixturenames", ())))
        and not any(item.get_closest_marker(mark) for mark in ("slow", "real_orders"))
    ]
    if wrong:
        raise pytest.UsageError(
            "fast tests ask for slow fixtures; mark them `slow` or use a smaller fixture:\n  " + "\n  ".join(wrong)
        )


@pytest.fixture(scope="session")
def small_shop() -> GeneratedShop:
    """A shop of 40 items and 200 days with all dirt, and the truth about it."""
    return generate(SMALL_SHOP)


@pytest.fixture(scope="session")
def make_home(tmp_path_factory: pytest.TempPathFactory) -> MakeHome:
    """A factory of homes of generated shops: `make_home()`, `make_home(spec, **settings)` → folder of the home.

    Keyword arguments are sections of almanac.yaml that are merged over the defaults for tests, for example
    `training={"max_steps": 20}`. The order files stand in `orders/`; nothing is ingested.
    """

    def make(
        shop: GeneratedShop | ShopSpec | None = None,
        *,
        by: str = "month",
        forms: tuple[str, ...] = ("csv",),
        **settings: object,
    ) -> Path:
        made = shop if isinstance(shop, GeneratedShop) else generate(shop or SMALL_SHOP)
        home = tmp_path_factory.mktemp("home")
        write_shop(made, home / "orders", by=by, forms=forms)
        write_settings(home, **settings)
        return home

    return make


@pytest.fixture(scope="session")
def small_home(make_home: MakeHome, small_shop: GeneratedShop) -> Path:
    """The home of `small_shop` with its order files, not ingested. Shared: copy it before changing it."""
    return make_home(small_shop)


@pytest.fixture(scope="session")
def small_files(small_shop: GeneratedShop, tmp_path_factory: pytest.TempPathFactory) -> tuple[WrittenFile, ...]:
    """The files of `small_shop` (the same bytes as those of `small_home`) and what is in each."""
    return write_shop(small_shop, tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="session")
def real_orders() -> Path:
    """Folder of the real order files of Online Retail II, where the machine has them."""
    if not REAL_ORDERS.is_dir():
        pytest.skip(f"no real orders: {REAL_ORDERS} is missing (see the README of data/sources)")
    return REAL_ORDERS


@pytest.fixture(scope="session")
def night() -> date:
    """The night of `night_home`."""
    return date(2023, 1, 31)


@pytest.fixture(scope="session")
def night_shop() -> GeneratedShop:
    """The shop of `night_home`, with the truth about it."""
    return generate(ShopSpec(seed=5, first_day=date(2022, 1, 1), days=420, items=40, lines_per_day=120))


@pytest.fixture(scope="session")
def night_home(make_home: MakeHome, night_shop: GeneratedShop, night: date) -> Path:
    """A home after one night through the command line, run once for all; tests leave it as they found it."""
    from pipeline.cli import main

    members = {"lightgbm": {"on": True}, "quantile_mlp": {"on": True}}
    home = make_home(night_shop, forms=("csv", "csv.gz"), forecast={"horizon_days": 91}, members=members)
    assert main(["run", "--home", str(home), "--as-of", night.isoformat()]) == 0
    return home


def write_settings(home: Path, **sections: object) -> None:
    """Write almanac.yaml of a test's home: a generated shop, small budgets, and the given sections over them."""
    settings: dict[str, object] = {
        "shop": {
            "name": "Test shop",
            "country": "CN",
            "timezone": "Asia/Shanghai",
            "currency": "CNY",
            "exchange_rates": {"HKD": 0.92},
            "closed_on": ["01-01"],
        },
        "sources": [{"mapping": "generated-shop", "folder": "orders"}],
        "training": {"max_steps": 30, "pretrain_steps": 5, "max_seconds": 120.0, "hidden": 8, "batch_size": 64},
        "members": {"lightgbm": {"on": False}},
        "backtest": {"origins": 2, "max_items": 40, "min_sale_days": 20},
        "forecast": {"horizon_days": 28, "sample_paths": 20},
        "compute": {"threads": 2, "memory_limit": "500MB"},
    }
    for name, section in sections.items():
        default = settings.get(name)
        settings[name] = {**default, **section} if isinstance(default, dict) and isinstance(section, dict) else section
    (home / "almanac.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
